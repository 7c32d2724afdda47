/* `pensieve run`: one prompt, its answer streamed to standard output. Straight on the engine, by
 * the road that every conversation takes. */
#include "base/buf.h"
#include "base/clock.h"
#include "chat/json_text.h"
#include "chat/prompt.h"
#include "cli/commands.h"
#include "cli/loaded.h"
#include "cli/options.h"
#include "cli/output.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT_BYTES = 64 << 20, MAX_CONVERSATION_BYTES = 1 << 16 };

struct run_options {
    struct loaded_options load;
    const char *prompt, *system; /* prompt NULL or "-": standard input */
    uint32_t max_tokens;
    bool is_raw, is_verbose;
};

/* ---- the answer, on the engine's thread ---- */

struct answer {
    int events[2]; /* a pipe: 'd' when the request is done, 's' for a signal */
    struct output_stream output;
    bool write_failed; /* `err` says why */
    char last;         /* byte written */
    int64_t started_ms, first_ms, ended_ms;
    struct engine_usage usage;
    bool failed;
    struct error err;
};

static enum engine_verdict on_token(void *context, int32_t id, const char *bytes, size_t n_bytes,
                                    float logprob)
{
    struct answer *a = context;
    (void)id, (void)logprob;
    if (!a->first_ms)
        a->first_ms = clock_now_ms();
    if (n_bytes)
        a->last = bytes[n_bytes - 1];
    a->write_failed = a->write_failed || !output_piece(&a->output, bytes, n_bytes, &a->err);
    return a->write_failed ? ENGINE_STOP : ENGINE_CONTINUE;
}

static void run_tell(int fd, char event)
{
    ssize_t n = write(fd, &event, 1);
    (void)n;
}

static void on_finished(void *context, enum engine_finish reason, const struct engine_usage *usage)
{
    struct answer *a = context;
    (void)reason;
    a->usage = *usage;
    a->ended_ms = clock_now_ms();
    run_tell(a->events[1], 'd');
}

static void on_failed(void *context, const struct error *err)
{
    struct answer *a = context;
    a->failed = true;
    if (!a->write_failed)
        a->err = *err;
    run_tell(a->events[1], 'd');
}

/* ---- signals ---- */

static volatile sig_atomic_t caught_signal;
static int signal_fd = -1;

static void on_signal(int number)
{
    int saved = errno;
    caught_signal = number;
    run_tell(signal_fd, 's');
    errno = saved;
}

/* The second one kills, as ever. */
static void catch_signals(int fd)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    signal_fd = fd;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- the prompt ---- */

static bool run_read(FILE *from, struct buf *out, struct error *err)
{
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, from)) > 0)
        buf_append(out, block, n);
    if (ferror(from))
        return error_set(err, ERROR_IO, "cannot read standard input: %s", strerror(errno));
    return !buf_failed(out) || error_set(err, ERROR_TOO_LARGE, "the prompt is too large");
}

/* As the server does with the same question. */
static bool chat_tokens(const struct loaded *l, const char *system, const struct buf *question,
                        struct token_list *tokens, struct error *err)
{
    const struct conversation_text asked = {question->data ? question->data : "", question->len};
    const struct conversation_text told = {system, system ? strlen(system) : 0};
    struct conversation c;
    struct prompt p;
    if (!json_text_is_whole(asked.data, asked.n) ||
        (system && !json_text_is_whole(told.data, told.n)))
        return error_set(err, ERROR_INPUT, "the prompt is not valid UTF-8");
    if (!prompt_init(&p, l->tokenizer, l->chat_template, &dialects_known, err))
        return false;
    conversation_init(&c, MAX_CONVERSATION_BYTES);
    bool ok = conversation_ask(&c, system ? &told : NULL, &asked) ||
              error_set(err, ERROR_NO_MEMORY, "out of memory for the prompt");
    ok = ok && prompt_tokens(&p, &c, NULL, tokens, err);
    conversation_deinit(&c);
    prompt_deinit(&p);
    return ok;
}

static bool run_prepare(const struct loaded *l, const struct run_options *o,
                        struct token_list *tokens, struct error *err)
{
    struct buf prompt;
    buf_init(&prompt, MAX_PROMPT_BYTES);
    bool ok = o->prompt && strcmp(o->prompt, "-")
                  ? buf_puts(&prompt, o->prompt) ||
                        error_set(err, ERROR_TOO_LARGE, "the prompt is too large")
                  : run_read(stdin, &prompt, err);
    if (ok && o->is_raw)
        ok = tokenizer_encode(l->tokenizer, prompt.data ? prompt.data : "", prompt.len,
                              TOKENIZER_SPECIAL | TOKENIZER_BOS, tokens, err);
    else if (ok)
        ok = chat_tokens(l, o->system, &prompt, tokens, err);
    buf_deinit(&prompt);
    return ok;
}

/* ---- running ---- */

static void print_speed(const struct answer *a)
{
    double prompt_s = (double)(a->first_ms - a->started_ms) / 1000,
           answer_s = (double)(a->ended_ms - a->first_ms) / 1000;
    uint32_t n = a->usage.n_generated;
    fprintf(stderr, "prompt %u tokens in %.2f s (%.1f/s), answer %u tokens in %.2f s (%.1f/s)\n",
            a->usage.n_prompt, prompt_s, prompt_s > 0 ? a->usage.n_prompt / prompt_s : 0, n,
            answer_s, answer_s > 0 && n > 1 ? (n - 1) / answer_s : 0);
}

/* Waits for the end; a signal cancels and waits on. */
static void wait_for_end(struct engine *e, uint64_t ticket, struct answer *a)
{
    char event = 0;
    while (event != 'd')
        if (read(a->events[0], &event, 1) == 1 && event == 's')
            engine_cancel(e, ticket);
}

static bool run_generate(const struct loaded *l, const struct run_options *o,
                         const struct token_list *tokens, struct answer *a, struct error *err)
{
    const struct engine_request request = {
        .tokens = tokens->ids,
        .n_tokens = tokens->n,
        .max_tokens = o->max_tokens,
        .sampling = l->sampling,
        .sink = {a, NULL, NULL, on_token, on_finished, on_failed},
    };
    a->started_ms = clock_now_ms();
    uint64_t ticket = engine_submit(l->engine, &request, err);
    if (!ticket)
        return false;
    wait_for_end(l->engine, ticket, a);
    if (a->last && a->last != '\n' && !a->write_failed)
        a->write_failed = !output_piece(&a->output, "\n", 1, &a->err);
    if (a->write_failed || (a->failed && !caught_signal)) {
        *err = a->err;
        return false;
    }
    if (!output_end(&a->output, err))
        return false;
    if (o->is_verbose && !a->failed)
        print_speed(a);
    return true;
}

static bool run_model(const struct run_options *o, struct error *err)
{
    struct loaded l;
    struct token_list tokens = {0};
    struct answer a = {0};
    if (!loaded_open(&l, &o->load, !o->is_raw, err))
        return false;
    bool ok = run_prepare(&l, o, &tokens, err);
    if (ok && pipe(a.events))
        ok = error_set(err, ERROR_IO, "cannot make a pipe: %s", strerror(errno));
    if (ok) {
        catch_signals(a.events[1]);
        ok = run_generate(&l, o, &tokens, &a, err);
    }
    token_list_deinit(&tokens);
    loaded_close(&l); /* the pipe stays: a late signal may still write to it */
    return ok;
}

#define RUN_VALUE(kind, member) SETTING_VALUE(kind, struct run_options, member)

static const struct setting run_rows[] = {
    {.name = "system",
     .letter = 's',
     RUN_VALUE(TEXT, system),
     .metavar = "TEXT",
     .help = "a system prompt"},
    {.name = "max-tokens",
     .letter = 'n',
     RUN_VALUE(UINT, max_tokens),
     .min = 1,
     .max = 1 << 24,
     .fallback = "16777216",
     .metavar = "N",
     .help = "length of the answer at most (default: what the\ncontext leaves)"},
    {.name = "raw",
     RUN_VALUE(FLAG, is_raw),
     .help = "continue the text as it is, without the chat template"},
    {.name = "verbose",
     .letter = 'v',
     RUN_VALUE(FLAG, is_verbose),
     .help = "a line with the speed, to standard error"},
};
static const struct setting_table run_settings = SETTING_TABLE(run_rows);

static bool run_parse(int argc, char **argv, struct run_options *o, int *exit_code)
{
    const struct settings_part parts[] = {
        {&run_settings, o},
        {&loaded_compute_settings, &o->load},
        {&loaded_sampling_settings, &o->load},
        {&loaded_kv_type_settings, &o->load},
        {&loaded_kv_settings, &o->load},
    };
    const struct command command = {
        .name = "run",
        .synopsis = "[options] MODEL [PROMPT]",
        .about =
            "Streams the model's answer to standard output. Without PROMPT, or with -, the prompt\n"
            "is read from standard input. MODEL is a file, a folder or a name (see pensieve list).",
        .parts = parts,
        .n_parts = sizeof parts / sizeof *parts,
        .max_args = 2,
    };
    struct settings settings;
    int n_args;
    if (!options_parse(&command, argc, argv, &settings, &n_args, exit_code))
        return false;
    o->load.model = n_args > 0 ? argv[1] : NULL;
    o->prompt = n_args > 1 ? argv[2] : NULL;
    if (!n_args)
        *exit_code = cli_usage_error("run", "which MODEL?");
    else if (!o->prompt && isatty(STDIN_FILENO))
        *exit_code = cli_usage_error("run", "which PROMPT?");
    else if (o->is_raw && o->system)
        *exit_code = cli_usage_error("run", "--raw has no place for --system");
    else
        return true;
    return false;
}

int cli_run(int argc, char **argv)
{
    struct run_options o = {0};
    struct error err = {0};
    int exit_code;
    if (!run_parse(argc, argv, &o, &exit_code))
        return exit_code;
    if (!run_model(&o, &err))
        return cli_report("run", &err);
    return caught_signal ? 128 + caught_signal : CLI_OK;
}
