/* See model_name.h. */
#include "cli/model_name.h"

#include "base/path.h"
#include "base/printable.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Hugging Face's cache keeps a model at models--<owner>--<name>/snapshots/<commit>. */
static struct path_word name_in_cache(const char *path, size_t len, struct path_word commit)
{
    static const char begin[] = "models--", above[] = "snapshots";
    const struct path_word snapshots = path_last_word(path, &len),
                           model = path_last_word(path, &len);
    if (snapshots.len != strlen(above) || memcmp(snapshots.text, above, snapshots.len) != 0 ||
        model.len <= strlen(begin) || memcmp(model.text, begin, strlen(begin)) != 0)
        return commit;
    const char *name = model.text + strlen(begin), *end = model.text + model.len;
    for (const char *at = name; at + 2 < end; at++)
        if (at[0] == '-' && at[1] == '-')
            name = at + 2;
    return (struct path_word){name, (size_t)(end - name)};
}

void model_name(char *out, size_t size, const char *path, const struct weights *w)
{
    static const char part[] = "-00001-of-00001";
    const bool is_folder = weights_format(w) == WEIGHTS_SAFETENSORS;
    struct stat st;
    char *real = realpath(path, NULL); /* "." has a name, too */
    path = real ? real : path;
    size_t len = strlen(path);
    struct path_word word = path_last_word(path, &len);
    if (is_folder && !stat(path, &st) && S_ISREG(st.st_mode))
        word = path_last_word(path, &len);
    if (is_folder)
        word = name_in_cache(path, len, word);
    size_t n = printable_strip(out, size, word.text, word.len);
    if (!is_folder && n > 5 && !strcasecmp(out + n - 5, ".gguf"))
        out[n -= 5] = 0;
    if (!is_folder && weights_n_files(w) > 1 && n > strlen(part))
        out[n - strlen(part)] = 0;
    free(real);
}
