/* What can be asked, and which call of the claude answers it. Knows no sockets. */
#include "server/state.h"

#include <string.h>

static void finish_json(struct exchange *x, bool ok, const struct error *err)
{
    if (!ok) {
        exchange_answer_error(x, err);
        return;
    }
    x->status = 200;
    x->content_type = "application/json";
}

static void run_messages(struct exchange *x)
{
    struct error err = {0};
    x->call = claude_call_start(x->server->claude, x->body.data ? x->body.data : "", x->body.len,
                                x->request_id, exchange_wake, x, &err);
    if (!x->call)
        exchange_answer_error(x, &err);
}

static void run_count_tokens(struct exchange *x)
{
    struct error err = {0};
    bool ok = claude_count_tokens(x->server->claude, x->body.data ? x->body.data : "", x->body.len,
                                  &x->answer, &err);
    finish_json(x, ok, &err);
}

static void run_models(struct exchange *x)
{
    struct error err = {.code = ERROR_NO_MEMORY, .message = "out of memory for the answer"};
    finish_json(x, claude_models(x->server->claude, &x->answer), &err);
}

static void run_model(struct exchange *x)
{
    struct error err = {0};
    const char *id = x->path + strlen(x->route->path);
    finish_json(x, claude_model(x->server->claude, id, &x->answer, &err), &err);
}

static void run_metrics(struct exchange *x)
{
    struct error err = {.code = ERROR_NO_MEMORY, .message = "out of memory for the answer"};
    finish_json(x, claude_metrics(x->server->claude, &x->answer), &err);
    if (x->status == 200)
        x->content_type = "text/plain; version=0.0.4; charset=utf-8";
}

static void run_health(struct exchange *x)
{
    buf_puts(&x->answer, "{\"status\":\"ok\"}");
    x->status = 200;
    x->content_type = "application/json";
}

static void run_root(struct exchange *x)
{
    buf_puts(&x->answer, "Pensieve speaks the Anthropic Messages API: POST /v1/messages\n");
    x->status = 200;
    x->content_type = "text/plain; charset=utf-8";
}

static const struct route routes[] = {
    {"POST", "/v1/messages", false, true, true, run_messages},
    {"POST", "/v1/messages/count_tokens", false, true, true, run_count_tokens},
    {"GET", "/v1/models", false, false, false, run_models},
    {"GET", "/v1/models/", true, false, false, run_model},
    {"GET", "/metrics", false, false, true, run_metrics},
    {"GET", "/health", false, false, false, run_health},
    {"GET", "/", false, false, false, run_root},
};

static bool path_matches(const struct route *r, const char *path)
{
    size_t n = strlen(r->path);
    return r->is_prefix ? !strncmp(path, r->path, n) && path[n] : !strcmp(path, r->path);
}

/* HEAD is GET without the body, which the socket thread leaves out. */
const struct route *route_find(const char *method, const char *path, const char **allow)
{
    const char *wanted = strcmp(method, "HEAD") ? method : "GET";
    *allow = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!path_matches(&routes[i], path))
            continue;
        if (!strcmp(routes[i].method, wanted))
            return &routes[i];
        *allow = strcmp(routes[i].method, "GET") ? routes[i].method : "GET, HEAD";
    }
    return NULL;
}
