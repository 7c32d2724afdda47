/* A request's head: is it sound, may whoever sent it, and what answers it. Runs on the socket
 * thread.
 */
#include "server/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ECHO_BYTES = 1000 };

const char *head_value(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* libmicrohttpd has refused a malformed one. */
uint64_t head_announced_bytes(const struct exchange *x)
{
    const char *text = head_value(x, "Content-Length");
    return text ? strtoull(text, NULL, 10) : 0;
}

/* ---- refusals ---- */

void head_refuse(struct exchange *x, int status, const char *message)
{
    struct error err;
    error_set(&err, ERROR_INPUT, "%s", message);
    x->is_decided = true;
    answer_error(x, status, &err);
}

void head_refuse_too_large(struct exchange *x)
{
    char text[96];
    snprintf(text, sizeof text, "the request is larger than the maximum of %zu bytes",
             x->server->options.max_body_bytes);
    head_refuse(x, 413, text);
}

static void refuse_route(struct exchange *x)
{
    if (!*x->methods) {
        head_refuse(x, 404, "there is nothing at this path");
        return;
    }
    head_refuse(x, 405, "this path does not answer to that method");
    reply_header(&x->head, "Allow", x->methods);
}

/* ---- where the body ends ---- */

struct framing {
    unsigned n_lengths, n_encodings, n_hosts;
};

static enum MHD_Result count_header(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct framing *f = context;
    (void)kind;
    (void)value;
    f->n_lengths += !strcasecmp(name, "Content-Length");
    f->n_encodings += !strcasecmp(name, "Transfer-Encoding");
    f->n_hosts += !strcasecmp(name, "Host");
    return MHD_YES;
}

/* Two answers to where a body ends or whom it is for are how requests are smuggled past a proxy. */
static bool is_sound(struct exchange *x)
{
    struct framing f = {0};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_header, &f);
    const char *encoding = head_value(x, "Transfer-Encoding");
    x->is_chunked = encoding != NULL;
    const char *why = f.n_lengths > 1                ? "there are two Content-Length headers"
                      : f.n_lengths && f.n_encodings ? "there are both a Content-Length and a "
                                                       "Transfer-Encoding header"
                      : f.n_hosts > 1                ? "there are two Host headers"
                      : f.n_encodings > 1            ? "there are two Transfer-Encoding headers"
                                                     : NULL;
    if (!why && encoding && strcasecmp(encoding, "chunked"))
        why = "only the Transfer-Encoding 'chunked' is understood";
    if (!why)
        return true;
    x->is_broken = true;
    head_refuse(x, 400, why);
    reply_header(&x->head, "Connection", "close");
    return false;
}

/* A target in absolute form ("http://localhost:8000/health"), as for a proxy: what it names goes
 * before the Host header (RFC 9112, 3.2.2). */
static bool split_target(struct exchange *x)
{
    static const char *const schemes[] = {"http://", "https://"};
    x->host = head_value(x, "Host");
    for (size_t i = 0; i < 2; i++) {
        const size_t n_scheme = strlen(schemes[i]);
        if (strncasecmp(x->path, schemes[i], n_scheme))
            continue;
        const char *authority = x->path + n_scheme;
        size_t n = strcspn(authority, "/");
        if (!n || n >= sizeof x->authority) {
            head_refuse(x, 400, "the request's target names no host that can be");
            return false;
        }
        memcpy(x->authority, authority, n);
        x->host = x->authority;
        x->path = authority[n] ? authority + n : "/";
    }
    return true;
}

/* ---- pages ---- */

/* The browser's question before a page's request (CORS preflight, "Fetch" 4.8), or what a path
 * answers to. */
static void answer_options(struct exchange *x)
{
    const char *asked = head_value(x, "Access-Control-Request-Headers");
    x->is_decided = true;
    x->has_ended = true;
    x->head.status = 204;
    x->head.n_bytes = 0;
    reply_header(&x->head, "Allow", x->methods);
    if (!x->origin)
        return;
    reply_header(&x->head, "Access-Control-Allow-Methods", x->methods);
    if (asked && strlen(asked) <= MAX_ECHO_BYTES)
        reply_header(&x->head, "Access-Control-Allow-Headers", asked);
    if (head_value(x, "Access-Control-Request-Private-Network"))
        reply_header(&x->head, "Access-Control-Allow-Private-Network", "true");
    reply_header(&x->head, "Access-Control-Max-Age", "600");
}

/* ---- all of it ---- */

/* The handler's own word on who may call it. */
static void ask_handler(struct exchange *x)
{
    struct handler_request request;
    struct error err = {0};
    if (!x->handler->may)
        return;
    answer_request(x, &request);
    int status = x->handler->may(x->handler_context, &request, &err);
    if (status)
        head_refuse(x, status, err.message);
}

static void check_route(struct exchange *x)
{
    const char *encoding = head_value(x, "Content-Encoding");
    if (!x->handler && *x->methods && !strcmp(x->method, "OPTIONS"))
        answer_options(x);
    else if (!x->handler)
        refuse_route(x);
    else if (encoding && strcasecmp(encoding, "identity"))
        head_refuse(
            x, 415,
            "a compressed request body is not understood: send it without Content-Encoding");
    else if (head_announced_bytes(x) > x->server->options.max_body_bytes)
        head_refuse_too_large(x);
    else
        ask_handler(x);
}

void head_check(struct exchange *x)
{
    if (!is_sound(x) || !split_target(x))
        return;
    const char *origin = head_value(x, "Origin");
    const char *why = guard_refusal(&x->server->guard, x->host, origin);
    x->api = route_api(x->server, x->path);
    if (why) {
        head_refuse(x, 403, why);
        return;
    }
    x->origin = origin;
    route_find(x);
    check_route(x);
}
