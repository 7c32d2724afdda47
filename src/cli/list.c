/* `pensieve list`: the catalogue, what of it is in the store, and what else lies there. */
#include "base/buf.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/store.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

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
    case STORE_RECORDED:
        return "recorded";
    case STORE_CHECKED:
        return "yes";
    }
    return "?";
}

/* "491 MB", or "?". */
static const char *list_size(char text[16], uint64_t n_bytes)
{
    snprintf(text, 16, n_bytes ? "%.0f MB" : "?", (double)n_bytes / 1e6);
    return text;
}

static void list_model(const struct store_model *m)
{
    char size[16], memory[16] = "?", context[16] = "?";
    const uint64_t n_memory = store_model_memory(m, STORE_USUAL_CONTEXT);
    if (m->n_bytes && m->kv_bytes)
        snprintf(memory, sizeof memory, "%.1f GB", (double)n_memory / 1e9);
    if (m->context)
        snprintf(context, sizeof context, "%uk", (unsigned)(m->context / 1024));
    printf("%-22s %11s  %8s  %7s  %-5s  %-9s  %-11s  %s%s\n", m->name, list_size(size, m->n_bytes),
           memory, context, m->has_tools ? "yes" : "no", state_text(store_model_state(m, NULL)),
           m->licence, m->title, m->was_tried ? "" : "; not tried here");
}

static bool list_other(void *context, const struct store_other *other)
{
    char shown[4 * NAME_MAX + 1], size[16]; /* anybody may have named a file */
    (void)context;
    printable_copy(shown, sizeof shown, other->name, strlen(other->name));
    printf("%-22s %11s  %8s  %7s  %-5s  %-9s  %-11s  %s\n", shown, list_size(size, other->n_bytes),
           "", "", "", "yes", "?", other->is_folder ? "a folder" : "");
    return true;
}

int cli_list(int argc, char **argv)
{
    const struct command command = {
        .name = "list",
        .synopsis = "[options]",
        .about = "The models of the catalogue with their size, the memory that they take with 32k "
                 "tokens\n"
                 "of conversation, their context, whether their templates know tools, whether they "
                 "are in\n"
                 "the store and their licence; then the other models there. \"recorded\": as it "
                 "was when\n"
                 "it was fetched, as no copy of its SHA-256 is known.",
    };
    struct settings settings;
    int n_args, exit_code;
    struct error err;
    struct buf dir;
    if (!options_parse(&command, argc, argv, &settings, &n_args, &exit_code))
        return exit_code;
    printf("%-22s %11s  %8s  %7s  %-5s  %-9s  %-11s  %s\n", "NAME", "SIZE", "MEMORY", "CONTEXT",
           "TOOLS", "IN STORE", "LICENCE", "TITLE");
    for (size_t i = 0; i < store_n_models(); i++)
        list_model(store_model_at(i));
    buf_init(&dir, MAX_PATH_BYTES);
    bool ok = store_dir(&dir, &err);
    if (ok) {
        store_others_visit(list_other, NULL);
        printf("\nstore: ");
        output_line(dir.data, dir.len);
        putchar('\n');
    }
    buf_deinit(&dir);
    return ok ? CLI_OK : cli_report("list", &err);
}
