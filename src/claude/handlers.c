/* See handlers.h. */
#include "claude/handlers.h"

#include <stdlib.h>
#include <string.h>

enum { BODY_MAX_BYTES = 256 << 20 }; /* the net below: the context bounds an answer already */

static const char type_json[] = "application/json";

/* ---- errors ---- */

static void write_error(int status, const struct error *err, const char *request_id,
                        struct reply_head *head, struct buf *body)
{
    reply_header(head, "Content-Type", type_json);
    claude_error_body(body, status, err, request_id);
}

const struct handler_api claude_api = {"", claude_error_status, write_error};

/* ---- a message ---- */

struct message {
    struct claude_call *call;
    bool wants_sign; /* the client may be gone, and nothing was sent since */
    struct buf body; /* of an answer that is sent whole, once it is done */
    size_t n_read;
};

static bool message_head(void *reply, struct reply_head *out)
{
    struct message *m = reply;
    if (claude_call_is_stream(m->call)) {
        reply_header(out, "Content-Type", "text/event-stream; charset=utf-8");
        reply_header(out, "Cache-Control", "no-cache");
        return true;
    }
    if (!claude_call_done(m->call))
        return false;
    char block[4096];
    size_t n;
    while ((n = claude_call_read(m->call, block, sizeof block)) > 0)
        buf_append(&m->body, block, n);
    m->body.failed |= claude_call_broken(m->call);
    out->status = claude_call_status(m->call);
    out->n_bytes = (int64_t)m->body.len;
    reply_header(out, "Content-Type", type_json);
    return true;
}

static ptrdiff_t read_whole(struct message *m, char *dst, size_t max)
{
    if (buf_failed(&m->body))
        return REPLY_FAILED;
    size_t n = m->body.len - m->n_read < max ? m->body.len - m->n_read : max;
    if (!n)
        return REPLY_END;
    memcpy(dst, m->body.data + m->n_read, n);
    m->n_read += n;
    return (ptrdiff_t)n;
}

/* A comment, between two events: there where nothing is left to read. */
static size_t put_sign(struct message *m, char *dst, size_t max)
{
    static const char comment[] = ":\n\n";
    if (!m->wants_sign || max < sizeof comment)
        return 0;
    m->wants_sign = false;
    memcpy(dst, comment, sizeof comment - 1);
    return sizeof comment - 1;
}

static ptrdiff_t message_read(void *reply, char *dst, size_t max)
{
    struct message *m = reply;
    if (!claude_call_is_stream(m->call))
        return read_whole(m, dst, max);
    const bool done = claude_call_done(m->call); /* asked first: nothing follows what is read */
    size_t n = claude_call_read(m->call, dst, max);
    if (n)
        m->wants_sign = false;
    else if (!done)
        n = put_sign(m, dst, max);
    if (n)
        return (ptrdiff_t)n;
    return !done ? REPLY_NONE_NOW : claude_call_broken(m->call) ? REPLY_FAILED : REPLY_END;
}

static void message_tick(void *reply, int64_t now_ms)
{
    struct message *m = reply;
    claude_call_tick(m->call, now_ms);
}

static void message_probe(void *reply)
{
    struct message *m = reply;
    m->wants_sign = true;
}

static void message_usage(void *reply, struct reply_usage *out)
{
    struct message *m = reply;
    struct engine_usage u;
    claude_call_usage(m->call, &u);
    *out = (struct reply_usage){
        3, {{"tokens in", u.n_prompt}, {"of them cached", u.n_cached}, {"out", u.n_generated}}};
}

static void message_end(void *reply)
{
    struct message *m = reply;
    if (m->call)
        claude_call_end(m->call);
    buf_deinit(&m->body);
    free(m);
}

/* Some editors put a byte order mark before the JSON; it says nothing. */
static const char *skip_mark(const struct handler_request *r, size_t *n)
{
    static const char mark[] = "\xef\xbb\xbf";
    const size_t n_mark = r->n_body >= 3 && !memcmp(r->body, mark, 3) ? 3 : 0;
    *n = r->n_body - n_mark;
    return r->body + n_mark;
}

static bool start_message(void *claude, const struct handler_request *r, struct reply *out,
                          struct error *err)
{
    static const struct reply_ops ops = {
        .head = message_head,
        .read = message_read,
        .tick = message_tick,
        .probe = message_probe,
        .usage = message_usage,
        .end = message_end,
    };
    struct message *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for a message");
    buf_init(&m->body, BODY_MAX_BYTES);
    size_t n;
    const char *body = skip_mark(r, &n);
    m->call = claude_call_start(claude, body, n, r->request_id, r->wake, r->wake_context, err);
    if (!m->call) {
        message_end(m);
        return false;
    }
    *out = (struct reply){&ops, m};
    return true;
}

/* ---- what is answered at once ---- */

static bool reply_text(struct reply *out, const char *type, bool ok, struct buf *body,
                       struct error *err)
{
    if (ok)
        ok = reply_whole(out, 200, type, body, err);
    buf_deinit(body);
    return ok;
}

static bool start_count(void *claude, const struct handler_request *r, struct reply *out,
                        struct error *err)
{
    struct buf body;
    size_t n;
    const char *bytes = skip_mark(r, &n);
    buf_init(&body, BODY_MAX_BYTES);
    bool ok = claude_count_tokens(claude, bytes, n, &body, err);
    return reply_text(out, type_json, ok, &body, err);
}

static bool start_models(void *claude, const struct handler_request *r, struct reply *out,
                         struct error *err)
{
    struct buf body;
    (void)r;
    buf_init(&body, BODY_MAX_BYTES);
    claude_models(claude, &body);
    return reply_text(out, type_json, true, &body, err);
}

static bool start_model(void *claude, const struct handler_request *r, struct reply *out,
                        struct error *err)
{
    struct buf body;
    buf_init(&body, BODY_MAX_BYTES);
    bool ok = claude_model(claude, r->rest, &body, err);
    return reply_text(out, type_json, ok, &body, err);
}

static bool start_metrics(void *claude, const struct handler_request *r, struct reply *out,
                          struct error *err)
{
    struct buf body;
    (void)r;
    buf_init(&body, BODY_MAX_BYTES);
    claude_metrics(claude, &body);
    return reply_text(out, "text/plain; version=0.0.4; charset=utf-8", true, &body, err);
}

static bool start_health(void *claude, const struct handler_request *r, struct reply *out,
                         struct error *err)
{
    struct buf body;
    (void)claude;
    (void)r;
    buf_init(&body, BODY_MAX_BYTES);
    buf_puts(&body, "{\"status\":\"ok\"}");
    return reply_text(out, type_json, true, &body, err);
}

static bool start_root(void *claude, const struct handler_request *r, struct reply *out,
                       struct error *err)
{
    struct buf body;
    (void)claude;
    (void)r;
    buf_init(&body, BODY_MAX_BYTES);
    buf_puts(&body, "Pensieve speaks the Anthropic Messages API: POST /v1/messages\n");
    return reply_text(out, "text/plain; charset=utf-8", true, &body, err);
}

/* ---- the table ---- */

struct handler_table claude_handlers(struct claude *c)
{
    static const struct handler rows[] = {
        {"POST", "/v1/messages", HANDLER_BODY | HANDLER_WORKS, NULL, start_message},
        {"POST", "/v1/messages/count_tokens", HANDLER_BODY | HANDLER_WORKS, NULL, start_count},
        {"GET", "/v1/models", 0, NULL, start_models},
        {"GET", "/v1/models/", HANDLER_PREFIX, NULL, start_model},
        {"GET", "/metrics", HANDLER_WORKS, NULL, start_metrics},
        {"GET", "/health", 0, NULL, start_health},
        {"GET", "/", 0, NULL, start_root},
    };
    return (struct handler_table){rows, sizeof rows / sizeof *rows, c};
}
