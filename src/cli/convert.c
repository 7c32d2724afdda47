/* `pensieve convert`: makes a model of another type out of a file or a folder, and shows how it
 * goes. The path of what was made is all that goes to standard output, so that scripts can use
 * it. */
#include "base/clock.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "convert/convert.h"
#include "store/store.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONVERT_MAX_PATH = 8192, CONVERT_MAX_ABOUT = 4096, CONVERT_SHOW_MS = 200 };

/* The signal that came, or 0: what was begun is then thrown away in order. */
static volatile sig_atomic_t convert_signal;

static void convert_on_signal(int number)
{
    convert_signal = number;
}

/* What is on the screen: on a terminal one line that is rewritten, elsewhere a line per tenth. */
struct convert_screen {
    bool is_tty, is_quiet;
    bool line_open; /* the terminal's cursor stands behind a progress line */
    int64_t shown_ms;
    int tenth; /* the last one told; -1: none */
};

static void convert_on_note(void *context, const char *line)
{
    struct convert_screen *screen = context;
    char shown[1024];
    if (screen->is_quiet)
        return;
    printable_copy(shown, sizeof shown, line, strlen(line));
    fprintf(stderr, "%s%s\n", screen->line_open ? "\n" : "", shown);
    screen->line_open = false;
}

static void convert_print(const struct convert_progress *p, const char *before, const char *after)
{
    char tensor[48];
    const double left =
        p->bytes_per_second > 0 ? (double)(p->n_total - p->n_done) / p->bytes_per_second : 0;
    printable_copy(tensor, sizeof tensor, p->tensor, strlen(p->tensor));
    fprintf(stderr, "%s  %3d %%  %.0f of %.0f MB  %.1f MB/s  %.0f s left  %s%s", before,
            (int)(p->n_done * 100 / p->n_total), (double)p->n_done / 1e6, (double)p->n_total / 1e6,
            p->bytes_per_second / 1e6, left, tensor, after);
}

static void convert_on_progress(void *context, const struct convert_progress *p)
{
    struct convert_screen *screen = context;
    if (screen->is_quiet || !p->n_total)
        return;
    if (screen->is_tty) {
        const int64_t now = clock_now_ms();
        if (now - screen->shown_ms < CONVERT_SHOW_MS && p->n_done != p->n_total)
            return;
        screen->shown_ms = now;
        screen->line_open = true;
        convert_print(p, "\r", "\033[K");
        return;
    }
    const int tenth = (int)(p->n_done * 10 / p->n_total);
    if (tenth != screen->tenth)
        convert_print(p, "", "\n");
    screen->tenth = tenth;
}

static bool convert_is_stopped(void *context)
{
    (void)context;
    return convert_signal != 0;
}

struct convert_settings {
    struct convert_options make;
    bool is_quiet;
};

static const struct setting convert_rows[] = {
    {.name = "type",
     .letter = 't',
     SETTING_VALUE(TEXT, struct convert_settings, make.type),
     .metavar = "TYPE",
     .help = "what is made, see above"},
    {.name = "imatrix",
     SETTING_VALUE(TEXT, struct convert_settings, make.importance),
     .metavar = "FILE",
     .help = "llama.cpp's importance matrix of the model (.gguf or .dat):\n"
             "columns that matter more lose less"},
    {.name = "group",
     SETTING_VALUE(UINT, struct convert_settings, make.group),
     .max = 128,
     .fallback = "64",
     .metavar = "N",
     .help = "MLX: weights that share a scale: 32, 64 or 128 [{default}]"},
    {.name = "threads",
     SETTING_VALUE(UINT, struct convert_settings, make.n_threads),
     .max = 256,
     .fallback = "0",
     .metavar = "N",
     .help = "how many [0: one for each CPU]"},
    {.name = "force",
     SETTING_VALUE(FLAG, struct convert_settings, make.force),
     .help = "replace OUT if it is there"},
    {.name = "quiet",
     .letter = 'q',
     SETTING_VALUE(FLAG, struct convert_settings, is_quiet),
     .help = "show no progress"},
};
static const struct setting_table convert_table = SETTING_TABLE(convert_rows);

static void convert_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = convert_on_signal};
    struct sigaction old;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!sigaction(numbers[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then told like a full disk */
}

static int convert_run(const char *in, const char *out, const struct convert_settings *o)
{
    struct convert_screen screen = {
        .is_tty = isatty(STDERR_FILENO), .is_quiet = o->is_quiet, .tenth = -1};
    const struct convert_sink sink = {convert_on_progress, convert_on_note, convert_is_stopped,
                                      &screen};
    struct convert_result result = {0};
    struct error err = {0};
    struct buf path;
    buf_init(&path, CONVERT_MAX_PATH);
    convert_catch_signals();
    bool ok = store_resolve(in, &path, &err) &&
              convert_model(path.data, out, &o->make, &sink, &result, &err);
    buf_deinit(&path);
    if (screen.line_open)
        fputc('\n', stderr);
    if (!ok && convert_signal)
        return 128 + (int)convert_signal;
    if (!ok)
        return cli_report("convert", &err);
    if (!o->is_quiet)
        fprintf(stderr, "%zu tensors, %.0f MB of %.0f MB, %.1f s\n", result.n_tensors,
                (double)result.n_bytes_out / 1e6, (double)result.n_bytes_in / 1e6, result.seconds);
    printf("%s\n", out);
    return CLI_OK;
}

/* The paragraphs of the help, with all types. */
static bool convert_tell(struct buf *about)
{
    buf_puts(about,
             "Makes a model of another type: of a GGUF file or a folder of safetensors (Hugging\n"
             "Face's, MLX's), or a model of the store, a GGUF file or a folder for MLX. It is\n"
             "written to OUT.part, with as much memory as a few rows need, and gets its name when\n"
             "it is whole.\n\nTypes:\n");
    for (size_t i = 0; convert_target_at(i).name; i++)
        buf_printf(about, "  %-11s%s\n", convert_target_at(i).name, convert_target_at(i).about);
    buf_truncate(about, about->len ? about->len - 1 : 0);
    return !buf_failed(about);
}

int cli_convert(int argc, char **argv)
{
    struct convert_settings o = {0};
    const struct settings_part parts[] = {{&convert_table, &o}};
    const struct error no_memory = {ERROR_NO_MEMORY, -1, "out of memory"};
    struct buf about;
    buf_init(&about, CONVERT_MAX_ABOUT);
    if (!convert_tell(&about)) {
        buf_deinit(&about);
        return cli_report("convert", &no_memory);
    }
    const struct command command = {
        .name = "convert",
        .synopsis = "[options] --type TYPE IN OUT",
        .about = about.data,
        .parts = parts,
        .n_parts = 1,
        .max_args = 2,
    };
    struct settings settings;
    int n_args, exit_code;
    bool ok = options_parse(&command, argc, argv, &settings, &n_args, &exit_code);
    buf_deinit(&about);
    if (!ok)
        return exit_code;
    if (n_args != 2)
        return cli_usage_error("convert", "name a model and what is to be made of it");
    if (!o.make.type)
        return cli_usage_error("convert", "--type says what is made, like --type Q4_K_M");
    return convert_run(argv[1], argv[2], &o);
}
