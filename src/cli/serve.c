/* `pensieve serve`: loads a model, listens, and waits for a signal. */
#include "base/log.h"
#include "cli/commands.h"
#include "cli/loaded.h"
#include "cli/options.h"
#include "claude/handlers.h"
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct serve_options {
    struct loaded_options load;
    struct server_options server;
    uint32_t port, log_level, repeat_guard;
    enum setting_source repeat_guard_from;
};

#define SERVE_VALUE(kind, member) SETTING_VALUE(kind, struct serve_options, member)

static const struct setting server_rows[] = {
    {.name = "model",
     .letter = 'm',
     SERVE_VALUE(TEXT, load.model),
     .metavar = "MODEL",
     .help = "a GGUF file (of a split one, any part), a folder of\nsafetensors, or a name of the "
             "store (default: the first of\nthe catalogue that is there)"},
    {.name = "host",
     SERVE_VALUE(TEXT, server.host),
     .metavar = "HOST",
     .help = "address to listen on (default: 127.0.0.1)"},
    {.name = "port",
     .letter = 'p',
     SERVE_VALUE(UINT, port),
     .max = 65535,
     .fallback = "8000",
     .metavar = "PORT",
     .help = "default: {default}; 0: any free one"},
    {.name = "allow-remote",
     SERVE_VALUE(FLAG, server.allow_remote),
     .help = "let --host be an address that other machines reach.\nThere are no keys yet: anybody "
             "who reaches it may use it"},
    {.name = "allow-host",
     SERVE_VALUE(LIST, server.allow_hosts),
     .metavar = "NAMES",
     .help = "names under which it may be reached beside localhost,\n*.localhost and loopback "
             "addresses, for example\nhost.docker.internal,*.lan (default: none)"},
    {.name = "allow-origin",
     SERVE_VALUE(LIST, server.allow_origins),
     .fallback = "apps",
     .metavar = "ORIGINS",
     .help = "whose pages may use it beside this machine's own:\nhttps://a.example, app://*, apps "
             "(editors, desktop apps and\nbrowser extensions: no page of the web), null (local "
             "files and\nsandboxed frames, of anybody), * (all pages), none\n(default: "
             "{default})"},
};
static const struct setting_table server_settings = SETTING_TABLE(server_rows);

static const char *const log_levels[] = {[LOG_LEVEL_ERROR] = "error",
                                         [LOG_LEVEL_WARN] = "warn",
                                         [LOG_LEVEL_INFO] = "info",
                                         [LOG_LEVEL_DEBUG] = "debug",
                                         NULL};

static const struct setting answer_rows[] = {
    {.name = "repeat-guard",
     SERVE_VALUE(UINT, repeat_guard),
     SETTING_SOURCE(struct serve_options, repeat_guard_from),
     .max = 1000,
     .metavar = "N",
     .help = "after N identical tool calls with identical results the\nnext is not handed on; 0: "
             "off (default: the model's)"},
    {.name = "log-level",
     SERVE_VALUE(CHOICE, log_level),
     .choices = log_levels,
     .fallback = "info",
     .metavar = "LEVEL",
     .help = "error, warn, info (a line per request; default) or debug"},
};
static const struct setting_table answer_settings = SETTING_TABLE(answer_rows);

static bool serve_parse(int argc, char **argv, struct serve_options *o, int *exit_code)
{
    const struct settings_part parts[] = {
        {&server_settings, o},
        {&loaded_compute_settings, &o->load},
        {&loaded_sampling_settings, &o->load},
        {&loaded_kv_type_settings, &o->load},
        {&loaded_kv_settings, &o->load},
        {&loaded_kv_disk_settings, &o->load},
        {&answer_settings, o},
    };
    const struct command command = {
        .name = "serve",
        .synopsis = "[options]",
        .about =
            "Loads a model and answers the Anthropic Messages API until Ctrl-C. Sampling options\n"
            "hold where a request names none.",
        .parts = parts,
        .n_parts = sizeof parts / sizeof *parts,
    };
    struct settings settings;
    int n_args;
    if (!options_parse(&command, argc, argv, &settings, &n_args, exit_code))
        return false;
    o->load.keeps_on_disk = !o->load.from.kv_disk || o->load.kv_disk;
    o->server.port = (uint16_t)o->port;
    log_set_level((enum log_level)o->log_level);
    return true;
}

/* Ctrl-C and a polite kill; blocked before any thread starts, so that only sigwait sees them. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void serve_announce(const struct server *server, const struct loaded *l)
{
    char url[96];
    server_url(server, url, sizeof url);
    printf("%s answers at %s\n", l->title, url);
    printf("Claude Code:  ANTHROPIC_BASE_URL=%s ANTHROPIC_AUTH_TOKEN=local claude\n", url);
    printf("Stop:         Ctrl-C\n");
    if (fflush(stdout))
        clearerr(stdout); /* nobody reads it: it serves all the same */
}

/* Waits for a signal, and tells when somebody writes into the model's files meanwhile. */
static void serve_wait(const struct weights *w, const sigset_t *signals)
{
#ifdef __APPLE__
    int number;
    (void)w;
    sigwait(signals, &number); /* there is no way to wait a while only */
#else
    const struct timespec a_while = {5, 0};
    const char *path;
    bool is_told = false;
    while (sigtimedwait(signals, NULL, &a_while) < 0)
        if (!is_told && (path = weights_written_to(w))) {
            log_error("%s was written to while it is in use: if its content has changed, answers "
                      "are wrong until the server is started anew",
                      path);
            is_told = true;
        }
#endif
}

static bool serve_until_signal(struct claude *claude, const struct loaded *l,
                               const struct serve_options *o, const sigset_t *signals,
                               struct error *err)
{
    const struct handler_table tables[] = {claude_handlers(claude)};
    const struct server_doors doors = {tables, 1, &claude_api, 1};
    struct server *server = server_create(&doors, &o->server, err);
    if (!server)
        return err->code == ERROR_BUSY
                   ? error_set(err, ERROR_BUSY,
                               "port %u is already in use: stop what listens there, or choose "
                               "another with --port",
                               o->port)
                   : false;
    log_info("%s, context %u, %s", l->path, engine_n_ctx(l->engine),
             l->backend->ops->describe(l->backend));
    serve_announce(server, l);
    serve_wait(l->weights, signals);
    log_info("stopping");
    server_destroy(server);
    return true;
}

static bool load_and_serve(const struct serve_options *o, const sigset_t *signals,
                           struct error *err)
{
    struct loaded l;
    if (!loaded_open(&l, &o->load, true, err))
        return false;
    const struct claude_options options = {
        .model_id = l.name,
        .display_name = l.title,
        .created_at = l.created_at,
        .sampling = l.sampling,
        .has_seed = o->load.from.seed,
        .repeat_guard = o->repeat_guard_from ? o->repeat_guard : l.repeat_guard,
    };
    struct claude *claude = claude_create(l.engine, l.tokenizer, l.chat_template, &options, err);
    bool ok = claude && serve_until_signal(claude, &l, o, signals, err);
    claude_destroy(claude);
    loaded_close(&l);
    return ok;
}

int cli_serve(int argc, char **argv)
{
    struct serve_options o = {0};
    struct error err = {0};
    sigset_t signals;
    int exit_code;
    if (!serve_parse(argc, argv, &o, &exit_code))
        return exit_code;
    block_signals(&signals);
    return load_and_serve(&o, &signals, &err) ? CLI_OK : cli_report("serve", &err);
}
