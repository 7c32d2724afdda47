/* `pensieve pull`: fetches a model of the catalogue into the store and shows how it goes. The path
 * of the file is all that goes to standard output, so that scripts can use it. */
#include "base/clock.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "store/fetch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PULL_MAX_PATH = 8192, PULL_SHOW_MS = 200 };

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
    char shown[2048]; /* what pip or a server says may stand in it */
    printable_copy(shown, sizeof shown, line, strlen(line));
    fprintf(stderr, "%s%s\n", screen->line_open ? "\n" : "", shown);
    screen->line_open = false;
}

static void pull_print(const struct fetch_progress *p, const char *before, const char *after)
{
    double left =
        p->bytes_per_second > 0 ? (double)(p->n_total - p->n_done) / p->bytes_per_second : 0;
    fprintf(stderr, "%s  %3d %%  %.0f of %.0f MB  %.1f MB/s  %.0f s left%s", before,
            (int)(p->n_total ? p->n_done * 100 / p->n_total : 100), (double)p->n_done / 1e6,
            (double)p->n_total / 1e6, p->bytes_per_second / 1e6, left, after);
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
    int tenth = (int)(p->n_total ? p->n_done * 10 / p->n_total : 10);
    if (tenth != screen->tenth)
        pull_print(p, "", "\n");
    screen->tenth = tenth;
}

struct pull_options {
    bool verify;
    struct store_options store;
};

static int pull_fetch(const struct store_model *model, const struct pull_options *o)
{
    struct pull_screen screen = {.is_tty = isatty(STDERR_FILENO), .tenth = -1};
    struct fetch_sink sink = {pull_on_progress, pull_on_note, &screen};
    struct fetch_options options = {.rehash = o->verify, .sources = o->store.sources};
    struct error err = {0};
    struct buf path, advice;
    buf_init(&path, PULL_MAX_PATH);
    buf_init(&advice, 1 << 16);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then told like a full disk */
    bool ok = fetch_model(model, &options, &sink, &path, &err);
    if (screen.line_open)
        fputc('\n', stderr);
    int code = CLI_OK;
    if (ok)
        printf("%s\n", path.data);
    else
        code = cli_report("pull", &err);
    if (!ok && (err.code == ERROR_NETWORK || err.code == ERROR_FORMAT) &&
        fetch_advise(model, &advice))
        fputs(advice.data, stderr);
    buf_deinit(&advice);
    buf_deinit(&path);
    return code;
}

/* Without a name: a model that is there is enough. */
static int pull_default(const struct pull_options *o)
{
    struct error err = {0};
    struct buf path;
    buf_init(&path, PULL_MAX_PATH);
    bool there = !o->verify && store_preferred(&path, &err);
    if (there)
        printf("%s\n", path.data);
    buf_deinit(&path);
    if (there)
        return CLI_OK;
    if (!o->verify && err.code != ERROR_NOT_FOUND)
        fprintf(stderr, "%s\n", err.message);
    return pull_fetch(store_model_at(0), o);
}

static const struct setting pull_rows[] = {
    {.name = "verify",
     SETTING_VALUE(FLAG, struct pull_options, verify),
     .help = "hash a file that was checked before once more"},
};
static const struct setting_table pull_settings = SETTING_TABLE(pull_rows);

int cli_pull(int argc, char **argv)
{
    struct pull_options o = {0};
    const struct settings_part parts[] = {{&pull_settings, &o}, {&store_settings, &o.store}};
    const struct command command = {
        .name = "pull",
        .synopsis = "[options] [NAME]",
        .about =
            "Fetches a model of the catalogue (see pensieve list) into the store, file by file, "
            "checks\n"
            "each one's SHA-256 and prints the path. What is there already is not fetched again; "
            "what\n"
            "broke off goes on where it stopped. A file of which the catalogue knows no SHA-256 "
            "comes\n"
            "from its home alone, and what came is recorded and said. Without a NAME: the default\n"
            "model, unless the store has one already.",
        .parts = parts,
        .n_parts = 2,
        .max_args = 1,
    };
    const struct error unreadable = {ERROR_INTERNAL, -1, "the catalogue cannot be read"};
    struct settings settings;
    int n_args, exit_code;
    if (!options_parse(&command, argc, argv, &settings, &n_args, &exit_code))
        return exit_code;
    if (!store_n_models())
        return cli_report("pull", &unreadable);
    if (!n_args)
        return pull_default(&o);
    const struct store_model *model = store_model_find(argv[1]);
    if (!model)
        return cli_usage_error("pull", "no model named '%s' is known; pensieve list names them",
                               argv[1]);
    return pull_fetch(model, &o);
}
