/* See fake_handlers.h. Each message has a thread of its own that makes its bytes, as an engine's
 * would. */
#include "fake_handlers.h"

#include "server/file_reply.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct call {
    struct fake *f;
    void (*wake)(void *context);
    void *context;
    bool is_stream, hangs, is_endless, breaks;
    const char *slow; /* the operation that takes slow_ms */
    int slow_ms;
    int n_races; /* left */
    int n_events, event_ms;
    size_t n_bytes;
    int status;
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf out;
    size_t n_read; /* of out */
    bool done, ended;
};

/* What another thread could do between the server's question and its falling asleep. */
static void race(struct call *call)
{
    pthread_mutex_lock(&call->lock);
    bool now = call->n_races > 0 && call->out.len == call->n_read;
    if (now) {
        buf_puts(&call->out, call->is_stream ? "event: race\n\n" : "{\"type\":\"race\"}");
        call->done = !--call->n_races;
    }
    pthread_mutex_unlock(&call->lock);
    if (now)
        call->wake(call->context);
}

static bool is_ended(struct call *call)
{
    pthread_mutex_lock(&call->lock);
    bool ended = call->ended;
    pthread_mutex_unlock(&call->lock);
    return ended;
}

static void call_put(struct call *call, const char *text)
{
    pthread_mutex_lock(&call->lock);
    buf_puts(&call->out, text);
    pthread_mutex_unlock(&call->lock);
    call->wake(call->context);
}

static void nap(struct call *call, int ms)
{
    for (int i = 0; i < ms && !is_ended(call); i++) {
        usleep(1000);
        if (i % 4 == 0)
            call->wake(call->context); /* without news */
    }
}

static void make_bytes(struct call *call)
{
    char *block = malloc(call->n_bytes + 1);
    for (size_t i = 0; i < call->n_bytes; i++)
        block[i] = (char)('a' + i % 26);
    block[call->n_bytes] = 0;
    call_put(call, block);
    free(block);
}

static void *call_thread(void *arg)
{
    struct call *call = arg;
    while (call->hangs && !is_ended(call))
        usleep(1000);
    if (call->hangs)
        return NULL;
    if (call->n_bytes)
        make_bytes(call);
    for (int i = 0; i < call->n_events; i++) {
        char event[64];
        nap(call, call->event_ms);
        snprintf(event, sizeof event, "event: e\ndata: {\"n\":%d}\n\n", i);
        call_put(call, event);
    }
    if (!call->is_stream) {
        nap(call, call->event_ms);
        call_put(call, call->status == 200 ? "{\"type\":\"message\"}" : "{\"type\":\"error\"}");
    }
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_mutex_unlock(&call->lock);
    call->wake(call->context);
    return NULL;
}

static bool understand_slow(struct call *call, const char *text)
{
    static const char *const names[] = {"start", "head", "read", "usage", "end"};
    call->hangs = call->is_stream = sscanf(text, "hang-slow-tick %d", &call->slow_ms) == 1;
    if (call->hangs) {
        call->slow = "tick";
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char format[32];
        snprintf(format, sizeof format, "slow-%s %%d", names[i]);
        if (sscanf(text, format, &call->slow_ms) == 1) {
            call->slow = names[i];
            return true;
        }
    }
    return false;
}

static bool understand(struct call *call, const char *text)
{
    int n, ms;
    if (sscanf(text, "stream %d %d", &n, &ms) == 2) {
        call->is_stream = true;
        call->n_events = n;
        call->event_ms = ms;
    } else if (sscanf(text, "bytes %zu", &call->n_bytes) == 1) {
        call->is_stream = true;
    } else if (sscanf(text, "break %zu", &call->n_bytes) == 1) {
        call->is_stream = call->breaks = true;
    } else if (sscanf(text, "whole %d", &ms) == 1) {
        call->event_ms = ms;
    } else if (!strcmp(text, "fail")) {
        call->status = 500;
    } else if (!strcmp(text, "endless")) {
        call->is_stream = call->is_endless = call->hangs = true;
    } else if (!strcmp(text, "race-stream") || !strcmp(text, "race-whole")) {
        call->is_stream = !strcmp(text, "race-stream");
        call->n_races = call->is_stream ? 4 : 1;
        call->hangs = true;
    } else if (!strcmp(text, "hang-stream") || !strcmp(text, "hang-whole")) {
        call->hangs = true;
        call->is_stream = !strcmp(text, "hang-stream");
    } else {
        return understand_slow(call, text);
    }
    return true;
}

static void block_in(struct call *call, const char *operation)
{
    if (!call->slow || strcmp(call->slow, operation))
        return;
    atomic_fetch_add(&call->f->n_blocked, 1);
    for (int ms = 0; ms < call->slow_ms && !atomic_load(&call->f->is_released); ms++)
        usleep(1000);
    atomic_fetch_sub(&call->f->n_blocked, 1);
}

/* ---- the reply ---- */

static bool call_done(struct call *call)
{
    pthread_mutex_lock(&call->lock);
    bool done = call->done;
    pthread_mutex_unlock(&call->lock);
    if (!done && !call->is_stream)
        race(call);
    return done;
}

static bool call_head(void *reply, struct reply_head *out)
{
    struct call *call = reply;
    block_in(call, "head");
    if (!call->is_stream && !call_done(call))
        return false;
    out->status = call->status;
    reply_header(out, "X-Fake", "1");
    if (call->is_stream)
        return reply_header(out, "Content-Type", "text/event-stream; charset=utf-8") &&
               reply_header(out, "Cache-Control", "no-cache");
    out->n_bytes = (int64_t)call->out.len;
    return reply_header(out, "Content-Type", "application/json");
}

static ptrdiff_t call_read(void *reply, char *dst, size_t max)
{
    struct call *call = reply;
    block_in(call, "read");
    if (call->is_endless) {
        memset(dst, 'x', max);
        atomic_fetch_add(&call->f->n_made, max);
        return (ptrdiff_t)max;
    }
    if (call->breaks && !call->n_bytes)
        return REPLY_FAILED;
    pthread_mutex_lock(&call->lock);
    bool done = call->done;
    size_t n = call->out.len - call->n_read < max ? call->out.len - call->n_read : max;
    if (n)
        memcpy(dst, call->out.data + call->n_read, n);
    call->n_read += n;
    pthread_mutex_unlock(&call->lock);
    if (!n && call->is_stream)
        race(call);
    if (!n && done)
        return call->breaks ? REPLY_FAILED : REPLY_END;
    return (ptrdiff_t)n;
}

static void call_tick(void *reply, int64_t now_ms)
{
    struct call *call = reply;
    (void)now_ms;
    block_in(call, "tick");
    atomic_fetch_add(&call->f->n_ticks, 1);
    if (call->is_stream && call->hangs)
        call_put(call, "event: ping\ndata: {}\n\n");
}

static void call_probe(void *reply)
{
    struct call *call = reply;
    atomic_fetch_add(&call->f->n_probes, 1);
    if (call->is_stream)
        call_put(call, ":\n\n");
}

static void call_usage(void *reply, struct reply_usage *out)
{
    struct call *call = reply;
    block_in(call, "usage");
    *out = (struct reply_usage){2, {{"things in", 7}, {"out", (uint64_t)call->n_events}}};
}

static void call_end(void *reply)
{
    struct call *call = reply;
    block_in(call, "end");
    pthread_mutex_lock(&call->lock);
    call->ended = true;
    pthread_mutex_unlock(&call->lock);
    pthread_join(call->thread, NULL);
    atomic_fetch_add(&call->f->n_ended, 1);
    pthread_mutex_destroy(&call->lock);
    buf_deinit(&call->out);
    free(call);
}

static bool start_message(void *fake, const struct handler_request *r, struct reply *out,
                          struct error *err)
{
    static const struct reply_ops ops = {call_head,  call_read,  call_tick,
                                         call_probe, call_usage, call_end};
    struct fake *f = fake;
    struct call *call = calloc(1, sizeof *call);
    char text[64] = "";
    assert(r->request_id && strlen(r->request_id) == 28);
    atomic_store(&f->n_body_bytes, r->n_body);
    memcpy(text, r->body, r->n_body < sizeof text ? r->n_body : sizeof text - 1);
    call->f = f;
    call->wake = r->wake;
    call->context = r->wake_context;
    call->status = 200;
    if (!understand(call, text)) {
        free(call);
        return error_set(err, ERROR_INPUT, "messages: not a command");
    }
    block_in(call, "start");
    pthread_mutex_init(&call->lock, NULL);
    buf_init(&call->out, 1 << 30);
    atomic_fetch_add(&f->n_started, 1);
    pthread_create(&call->thread, NULL, call_thread, call);
    call->wake(call->context); /* allowed before it returns */
    *out = (struct reply){&ops, call};
    return true;
}

/* ---- the others ---- */

static bool answer(struct reply *out, const char *text, struct error *err)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_puts(&body, text);
    return reply_whole(out, 200, "application/json", &body, err);
}

static bool start_count(void *fake, const struct handler_request *r, struct reply *out,
                        struct error *err)
{
    char text[64];
    (void)fake;
    if (!r->n_body)
        return error_set(err, ERROR_INPUT, "the body is empty");
    snprintf(text, sizeof text, "{\"input_tokens\":%zu}", r->n_body);
    return answer(out, text, err);
}

static bool start_models(void *fake, const struct handler_request *r, struct reply *out,
                         struct error *err)
{
    (void)fake;
    (void)r;
    return answer(out, "{\"data\":[]}", err);
}

static bool start_model(void *fake, const struct handler_request *r, struct reply *out,
                        struct error *err)
{
    (void)fake;
    if (strcmp(r->rest, "org/known model"))
        return error_set(err, ERROR_NOT_FOUND, "no such model");
    return answer(out, "{\"id\":\"known\"}", err);
}

static bool start_health(void *fake, const struct handler_request *r, struct reply *out,
                         struct error *err)
{
    (void)fake;
    (void)r;
    return answer(out, "{\"status\":\"ok\"}", err);
}

/* Tells what it was asked. */
static bool start_echo(void *fake, const struct handler_request *r, struct reply *out,
                       struct error *err)
{
    char text[512];
    const char *header = handler_header(r, "x-some-header");
    (void)fake;
    snprintf(text, sizeof text, "%s %s rest=%s query=%s header=%s", r->method, r->path, r->rest,
             r->query, header ? header : "none");
    return answer(out, text, err);
}

static bool start_file(void *fake, const struct handler_request *r, struct reply *out,
                       struct error *err)
{
    (void)fake;
    return file_reply(out, r->rest, "text/plain", err);
}

static int may_with_key(void *fake, const struct handler_request *r, struct error *err)
{
    const char *key = handler_header(r, "x-api-key");
    (void)fake;
    if (key && !strcmp(key, "sesame"))
        return 0;
    error_set(err, ERROR_INPUT, "a key is missing");
    return 401;
}

struct handler_table fake_handlers(struct fake *f)
{
    static const struct handler rows[] = {
        {"POST", "/v1/messages", HANDLER_BODY | HANDLER_WORKS, NULL, start_message},
        {"POST", "/v1/messages/count_tokens", HANDLER_BODY | HANDLER_WORKS, NULL, start_count},
        {"GET", "/v1/models", 0, NULL, start_models},
        {"GET", "/v1/models/", HANDLER_PREFIX, NULL, start_model},
        {"GET", "/health", 0, NULL, start_health},
        {"GET", "/echo/", HANDLER_PREFIX, NULL, start_echo},
        {"POST", "/other/locked", HANDLER_BODY, may_with_key, start_health},
        {"GET", "/file/", HANDLER_PREFIX | HANDLER_WORKS, NULL, start_file},
        {"GET", "/", 0, NULL, start_health},
    };
    return (struct handler_table){rows, sizeof rows / sizeof *rows, f};
}

/* ---- errors ---- */

static int status_of_code(enum error_code code)
{
    return code == ERROR_NOT_FOUND ? 404 : code == ERROR_INPUT ? 400 : 500;
}

static void write_shape(const char *api, int status, const struct error *err,
                        const char *request_id, struct reply_head *head, struct buf *body)
{
    reply_header(head, "Content-Type", "application/json");
    buf_printf(body, "{\"api\":\"%s\",\"status\":%d,\"message\":\"%s\",\"request_id\":\"%s\"}", api,
               status, err->message, request_id);
}

static void write_plain(int status, const struct error *err, const char *request_id,
                        struct reply_head *head, struct buf *body)
{
    write_shape("plain", status, err, request_id, head, body);
}

static void write_other(int status, const struct error *err, const char *request_id,
                        struct reply_head *head, struct buf *body)
{
    write_shape("other", status, err, request_id, head, body);
    reply_header(head, "X-Should-Retry", "false");
}

const struct handler_api fake_apis[2] = {{"", status_of_code, write_plain},
                                         {"/other/", status_of_code, write_other}};
