/* `pensieve serve`: loads a model, listens, and waits for a signal. */
#include "base/log.h"
#include "cli/commands.h"
#include "cli/loaded.h"
#include "cli/options.h"
#include "claude/claude.h"
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_PORT = 8000 };

struct serve_options {
    struct server_options server;
    uint32_t port, repeat_guard;
    bool has_repeat_guard;
    const char *log_level;
};

static bool set_log_level(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) {
            log_set_level((enum log_level)i);
            return true;
        }
    return false;
}

static bool parse(int argc, char **argv, struct serve_options *o, struct loaded_options *out,
                  int *exit_code)
{
    struct loaded_options load = *out;
    bool has_kv_disk = false;
    const struct option_row rows[] = {
        {"model", 'm', OPTION_TEXT, &load.model, NULL, 0, 0, "MODEL",
         "file or name (default: the first of the catalogue that\nis in the store)"},
        {"host", 0, OPTION_TEXT, &o->server.host, NULL, 0, 0, "HOST",
         "address to listen on (default: 127.0.0.1)"},
        {"port", 'p', OPTION_UINT, &o->port, NULL, 0, 65535, "PORT",
         "default: 8000; 0: any free one"},
        {"allow-remote", 0, OPTION_FLAG, &o->server.allow_remote, NULL, 0, 0, NULL,
         "let --host be an address that other machines reach.\nThere are no keys yet: anybody who "
         "reaches it may use it"},
        LOADED_OPTION_ROWS,
        LOADED_SAMPLING_ROWS,
        LOADED_KV_ROWS,
        {"kv-disk", 0, OPTION_SIZE, &load.kv_disk, &has_kv_disk, 0, 0, "SIZE",
         "disk for what has been computed, so that a restart does not\nbegin anew; 0: none "
         "(default: 8G or a tenth of the free disk)"},
        {"repeat-guard", 0, OPTION_UINT, &o->repeat_guard, &o->has_repeat_guard, 0, 1000, "N",
         "after N identical tool calls with identical results the\nnext is not handed on; 0: off "
         "(default: the model's)"},
        {"log-level", 0, OPTION_TEXT, &o->log_level, NULL, 0, 0, "LEVEL",
         "error, warn, info (a line per request; default) or debug"},
    };
    const struct command command = {
        .name = "serve",
        .synopsis = "[options]",
        .about =
            "Loads a model and answers the Anthropic Messages API until Ctrl-C. Sampling options\n"
            "hold where a request names none.",
        .options = rows,
        .n_options = sizeof rows / sizeof *rows,
    };
    int n_args;
    if (!options_parse(&command, argc, argv, 0, &n_args, exit_code))
        return false;
    load.keeps_on_disk = !has_kv_disk || load.kv_disk;
    *out = load;
    o->server.port = (uint16_t)o->port;
    if (!set_log_level(o->log_level))
        *exit_code = cli_usage_error("serve", "--log-level is error, warn, info or debug, not '%s'",
                                     o->log_level);
    else
        return true;
    return false;
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

static void announce(const struct server *server, const struct loaded *l)
{
    char url[96];
    server_url(server, url, sizeof url);
    printf("%s answers at %s\n", l->title, url);
    printf("Claude Code:  ANTHROPIC_BASE_URL=%s ANTHROPIC_AUTH_TOKEN=local claude\n", url);
    printf("Stop:         Ctrl-C\n");
    fflush(stdout);
}

static bool serve(struct claude *claude, const struct loaded *l, const struct serve_options *o,
                  const sigset_t *signals, struct error *err)
{
    int signal_number;
    struct server *server = server_create(claude, &o->server, err);
    if (!server)
        return err->code == ERROR_BUSY
                   ? error_set(err, ERROR_BUSY,
                               "port %u is already in use: stop what listens there, or choose "
                               "another with --port",
                               o->port)
                   : false;
    log_info("%s, context %u, %s", l->path, engine_n_ctx(l->engine),
             l->backend->ops->describe(l->backend));
    announce(server, l);
    sigwait(signals, &signal_number);
    log_info("stopping");
    server_destroy(server);
    return true;
}

static bool load_and_serve(const struct serve_options *o, const struct loaded_options *load,
                           const sigset_t *signals, struct error *err)
{
    struct loaded l;
    if (!loaded_open(&l, load, true, err))
        return false;
    const struct claude_options options = {
        .model_id = l.name,
        .display_name = l.title,
        .created_at = l.created_at,
        .sampling = l.sampling,
        .has_seed = load->has_seed,
        .repeat_guard = o->has_repeat_guard ? o->repeat_guard : l.repeat_guard,
    };
    struct claude *claude = claude_create(l.engine, l.tokenizer, l.chat_template, &options, err);
    bool ok = claude && serve(claude, &l, o, signals, err);
    claude_destroy(claude);
    loaded_close(&l);
    return ok;
}

int cli_serve(int argc, char **argv)
{
    struct serve_options o = {.port = DEFAULT_PORT, .log_level = "info"};
    struct loaded_options load = {0};
    struct error err = {0};
    sigset_t signals;
    int exit_code;
    if (!parse(argc, argv, &o, &load, &exit_code))
        return exit_code;
    block_signals(&signals);
    return load_and_serve(&o, &load, &signals, &err) ? CLI_OK : cli_report("serve", &err);
}
