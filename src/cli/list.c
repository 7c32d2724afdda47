/* `pensieve list`: the catalogue, what of it is in the store, and what else lies there. */
#include "base/buf.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/store.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_PATH_BYTES = 8192 };

static const char *state_text(enum store_state state)
{
    switch (state) {
    case STORE_ABSENT:
        return "-";
    case STORE_PARTIAL:
        return "partly";
    case STORE_UNCHECKED:
        return "unchecked";
    case STORE_CHECKED:
        return "yes";
    }
    return "?";
}

static bool is_known_file(const char *file)
{
    for (size_t i = 0; i < store_n_models(); i++)
        if (!strcmp(store_model_at(i)->file, file))
            return true;
    return false;
}

static int select_others(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && !strcasecmp(entry->d_name + n - 5, ".gguf") && !is_known_file(entry->d_name);
}

static void print_row(const char *name, uint64_t n_bytes, const char *state, const char *licence,
                      const char *title)
{
    char shown[4 * NAME_MAX + 1]; /* anybody may have named a file */
    printable_copy(shown, sizeof shown, name, strlen(name));
    printf("%-22s %8.0f MB  %-9s  %-11s  %s\n", shown, (double)n_bytes / 1e6, state, licence,
           title);
}

static void list_others(const char *dir)
{
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, select_others, alphasort);
    for (int i = 0; i < n; i++) {
        char path[MAX_PATH_BYTES + 300];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        if (!stat(path, &st) && S_ISREG(st.st_mode))
            print_row(entries[i]->d_name, (uint64_t)st.st_size, "yes", "?", "");
        free(entries[i]);
    }
    free(entries);
}

int cli_list(int argc, char **argv)
{
    const struct command command = {
        .name = "list",
        .synopsis = "[options]",
        .about =
            "The models of the catalogue with their size, licence and whether they are in the\n"
            "store, then the other model files there.",
    };
    struct settings settings;
    int n_args, exit_code;
    struct error err;
    struct buf dir;
    if (!options_parse(&command, argc, argv, &settings, &n_args, &exit_code))
        return exit_code;
    printf("%-22s %11s  %-9s  %-11s  %s\n", "NAME", "SIZE", "IN STORE", "LICENCE", "TITLE");
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *m = store_model_at(i);
        print_row(m->name, m->n_bytes, state_text(store_model_state(m, NULL)), m->licence,
                  m->title);
    }
    buf_init(&dir, MAX_PATH_BYTES);
    bool ok = store_dir(&dir, &err);
    if (ok) {
        list_others(dir.data);
        printf("\nstore: ");
        output_line(dir.data, dir.len);
        putchar('\n');
    }
    buf_deinit(&dir);
    return ok ? CLI_OK : cli_report("list", &err);
}
