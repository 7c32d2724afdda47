/* What lies in the store beside the models of the catalogue, and removing. Opens no connection. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OTHERS_MAX_PATH = 8192 };

static bool others_ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), n_ending = strlen(ending);
    return n > n_ending && !strcasecmp(name + n - n_ending, ending);
}

/* "<stem>-00002-of-00003.gguf": the length of the stem, and which part; 0: it is none. */
static size_t others_part(const char *name, unsigned *part)
{
    const size_t tail = strlen("-00001-of-00001.gguf"), n = strlen(name);
    unsigned count;
    int end = 0;
    if (n <= tail || sscanf(name + n - tail, "-%5u-of-%5u.gguf%n", part, &count, &end) != 2 ||
        (size_t)end != tail)
        return 0;
    return n - tail;
}

static bool others_is_known(const char *name)
{
    for (size_t i = 0; i < store_n_models(); i++)
        if (!strcmp(name, store_model_at(i)->file))
            return true;
    return false;
}

/* Sizes of the files in `dir` that begin and end so. */
static uint64_t others_sum(const char *dir, const char *begin, size_t n_begin, const char *ending)
{
    uint64_t sum = 0;
    DIR *open_dir = opendir(dir);
    struct stat st;
    if (!open_dir)
        return 0;
    for (const struct dirent *e; (e = readdir(open_dir));)
        if (!strncmp(e->d_name, begin, n_begin) && others_ends_with(e->d_name, ending) &&
            !fstatat(dirfd(open_dir), e->d_name, &st, 0) && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    closedir(open_dir);
    return sum;
}

static bool others_look(const char *dir, const char *name, struct store_other *other)
{
    char path[OTHERS_MAX_PATH], config[OTHERS_MAX_PATH + 16];
    struct stat st;
    unsigned part = 1;
    if (name[0] == '.' || others_is_known(name) ||
        (size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path || stat(path, &st))
        return false;
    *other = (struct store_other){.name = name, .is_folder = S_ISDIR(st.st_mode)};
    if (other->is_folder) {
        snprintf(config, sizeof config, "%s/config.json", path);
        other->n_bytes = others_sum(path, "", 0, ".safetensors");
        return !access(config, F_OK);
    }
    const size_t n_stem = others_part(name, &part);
    other->n_bytes = n_stem ? others_sum(dir, name, n_stem, ".gguf") : (uint64_t)st.st_size;
    return S_ISREG(st.st_mode) && others_ends_with(name, ".gguf") && part == 1;
}

void store_others_visit(bool (*visit)(void *context, const struct store_other *other),
                        void *context)
{
    struct dirent **entries = NULL;
    struct store_other other;
    struct buf dir;
    buf_init(&dir, OTHERS_MAX_PATH);
    int n = store_dir(&dir, NULL) ? scandir(dir.data, &entries, NULL, alphasort) : -1;
    bool goes_on = true;
    for (int i = 0; i < n; i++) {
        if (goes_on && others_look(dir.data, entries[i]->d_name, &other))
            goes_on = visit(context, &other);
        free(entries[i]);
    }
    free(entries);
    buf_deinit(&dir);
}

/* ---- removing ---- */

/* Removes a file if it is there. */
static bool remove_file(const char *path, bool *was_there, struct error *err)
{
    if (!unlink(path)) {
        *was_there = true;
        return true;
    }
    return errno == ENOENT ||
           error_set(err, ERROR_IO, "cannot remove %.200s: %s", path, strerror(errno));
}

/* A folder has a folder in it: it may be more than a model. */
static bool remove_may(const char *path, struct error *err)
{
    DIR *dir = opendir(path);
    struct stat st;
    bool ok = true;
    if (!dir)
        return error_set(err, ERROR_IO, "cannot read %.200s: %s", path, strerror(errno));
    for (const struct dirent *e; ok && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            !fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
            ok = error_set(err, ERROR_INPUT,
                           "%.120s has a folder in it (%.80s): remove it by hand if it is no more "
                           "than a model",
                           path, e->d_name);
    closedir(dir);
    return ok;
}

/* A folder with files alone. */
static bool remove_folder(const char *path, bool *was_there, struct error *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ||
               error_set(err, ERROR_IO, "cannot read %.200s: %s", path, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    *was_there = true;
    return !rmdir(path) ||
           error_set(err, ERROR_IO, "cannot remove %.200s: %s", path, strerror(errno));
}

/* A file of a model and all that fetching leaves beside it. */
static bool remove_store_file(const struct store_model *model, const struct store_file *file,
                              bool *was_there, struct error *err)
{
    static const char *const suffixes[] = {"", ".ok", ".part"};
    struct buf path;
    buf_init(&path, OTHERS_MAX_PATH);
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof suffixes / sizeof *suffixes; i++)
        ok = store_file_path(&path, NULL, model, file, suffixes[i], err) &&
             remove_file(path.data, was_there, err);
    ok = ok && store_file_path(&path, NULL, model, file, ".part.wheels", err) &&
         remove_folder(path.data, was_there, err);
    buf_deinit(&path);
    return ok;
}

/* Takes the lock that a fetch of the model holds; it stays when it is released, as fetches leave
 * it. -1 where there is none, and so no fetch. */
static bool remove_lock(const struct store_model *model, const char *dir, int *fd,
                        struct error *err)
{
    char path[OTHERS_MAX_PATH];
    snprintf(path, sizeof path, "%s/.%s.lock", dir, model->file);
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return *fd < 0 || !flock(*fd, LOCK_EX | LOCK_NB) ||
           error_set(err, ERROR_BUSY, "%s is being fetched by another process", model->name);
}

static bool remove_model(const struct store_model *model, const char *dir, struct buf *path,
                         struct error *err)
{
    bool was_there = false;
    int lock;
    bool ok = remove_lock(model, dir, &lock, err) && buf_printf(path, "%s/%s", dir, model->file);
    for (uint32_t i = 0; ok && i < model->n_files; i++)
        ok = remove_store_file(model, &model->files[i], &was_there, err);
    if (ok && model->is_folder && rmdir(path->data) && errno != ENOENT && errno != ENOTEMPTY)
        ok = error_set(err, ERROR_IO, "cannot remove %.200s: %s", path->data, strerror(errno));
    if (lock >= 0)
        close(lock);
    return ok &&
           (was_there || error_set(err, ERROR_NOT_FOUND, "%s is not in the store", model->name));
}

/* All parts of a split file, with their marks. */
static bool remove_parts(const char *dir, const char *name, size_t n_stem, struct error *err)
{
    char path[OTHERS_MAX_PATH];
    struct dirent **entries = NULL;
    unsigned part;
    bool ok = true, was_there;
    int n = scandir(dir, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *other = entries[i]->d_name;
        if (ok && others_part(other, &part) == n_stem && !strncmp(other, name, n_stem) &&
            !strcmp(other + n_stem + strlen("-00001"), name + n_stem + strlen("-00001"))) {
            snprintf(path, sizeof path, "%s/%s", dir, other);
            ok = remove_file(path, &was_there, err);
        }
        free(entries[i]);
    }
    free(entries);
    return ok;
}

static bool remove_other(const char *name, const char *dir, struct buf *path, struct error *err)
{
    struct stat st;
    unsigned part;
    bool was_there = false;
    if (!*name || *name == '.' || strchr(name, '/'))
        return error_set(err, ERROR_INPUT,
                         "'%.120s' is no name of a model in the store (pensieve list)", name);
    buf_printf(path, "%s/%s", dir, name);
    if (stat(path->data, &st) && buf_puts(path, ".gguf") && stat(path->data, &st))
        return error_set(err, ERROR_NOT_FOUND, "'%.120s' is not in the store (pensieve list)",
                         name);
    const char *file = strrchr(path->data, '/') + 1;
    const size_t n_stem = others_part(file, &part);
    if (S_ISDIR(st.st_mode))
        return remove_may(path->data, err) && remove_folder(path->data, &was_there, err);
    if (!S_ISREG(st.st_mode) || !others_ends_with(file, ".gguf"))
        return error_set(err, ERROR_INPUT, "%.200s is no model: it is left alone", path->data);
    return n_stem ? remove_parts(dir, file, n_stem, err) : remove_file(path->data, &was_there, err);
}

bool store_remove(const char *name, struct buf *path, struct error *err)
{
    struct buf dir;
    buf_clear(path);
    buf_init(&dir, OTHERS_MAX_PATH);
    const struct store_model *model = store_model_named(name);
    bool ok = store_dir(&dir, err) && (model ? remove_model(model, dir.data, path, err)
                                             : remove_other(name, dir.data, path, err));
    if (ok && buf_failed(path))
        ok = error_set(err, ERROR_NO_MEMORY, "a path is too long");
    buf_deinit(&dir);
    return ok;
}
