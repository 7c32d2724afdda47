/* See fake_claude.h. Each call has a thread of its own that makes its bytes, as the engine's would.
 */
#include "fake_claude.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct claude_call {
    struct claude *c;
    void (*wake)(void *context);
    void *context;
    bool is_stream, hangs;
    int n_races; /* left */
    int n_events, event_ms;
    size_t n_bytes;
    int status;
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf out;
    bool done, ended;
};

/* What another thread could do between the server's question and its falling asleep. */
static void race(struct claude_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool now = call->n_races > 0 && !call->out.len;
    if (now) {
        buf_puts(&call->out, call->is_stream ? "event: race\n\n" : "{\"type\":\"race\"}");
        call->done = !--call->n_races;
    }
    pthread_mutex_unlock(&call->lock);
    if (now)
        call->wake(call->context);
}

static bool is_ended(struct claude_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool ended = call->ended;
    pthread_mutex_unlock(&call->lock);
    return ended;
}

static void put(struct claude_call *call, const char *text)
{
    pthread_mutex_lock(&call->lock);
    buf_puts(&call->out, text);
    pthread_mutex_unlock(&call->lock);
    call->wake(call->context);
}

static void nap(struct claude_call *call, int ms)
{
    for (int i = 0; i < ms && !is_ended(call); i++) {
        usleep(1000);
        if (i % 4 == 0)
            call->wake(call->context); /* without news */
    }
}

static void make_bytes(struct claude_call *call)
{
    char *block = malloc(call->n_bytes + 1);
    for (size_t i = 0; i < call->n_bytes; i++)
        block[i] = (char)('a' + i % 26);
    block[call->n_bytes] = 0;
    put(call, block);
    free(block);
}

static void *call_thread(void *arg)
{
    struct claude_call *call = arg;
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
        put(call, event);
    }
    if (!call->is_stream) {
        nap(call, call->event_ms);
        put(call, call->status == 200 ? "{\"type\":\"message\"}" : "{\"type\":\"error\"}");
    }
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_mutex_unlock(&call->lock);
    call->wake(call->context);
    return NULL;
}

static bool understand(struct claude_call *call, const char *text)
{
    int n, ms;
    if (sscanf(text, "stream %d %d", &n, &ms) == 2) {
        call->is_stream = true;
        call->n_events = n;
        call->event_ms = ms;
    } else if (sscanf(text, "bytes %zu", &call->n_bytes) == 1) {
        call->is_stream = true;
    } else if (sscanf(text, "whole %d", &ms) == 1) {
        call->event_ms = ms;
    } else if (sscanf(text, "slow-start %d", &ms) == 1) {
        usleep((useconds_t)ms * 1000);
    } else if (!strcmp(text, "fail")) {
        call->status = 500;
    } else if (!strcmp(text, "race-stream") || !strcmp(text, "race-whole")) {
        call->is_stream = !strcmp(text, "race-stream");
        call->n_races = call->is_stream ? 4 : 1;
        call->hangs = true;
    } else if (!strcmp(text, "hang-stream") || !strcmp(text, "hang-whole")) {
        call->hangs = true;
        call->is_stream = !strcmp(text, "hang-stream");
    } else {
        return false;
    }
    return true;
}

struct claude_call *claude_call_start(struct claude *c, const char *body, size_t n_bytes,
                                      const char *request_id, void (*wake)(void *context),
                                      void *context, struct error *err)
{
    struct claude_call *call = calloc(1, sizeof *call);
    char text[64] = "";
    assert(request_id && strlen(request_id) == 28);
    atomic_store(&c->n_body_bytes, n_bytes);
    memcpy(text, body, n_bytes < sizeof text ? n_bytes : sizeof text - 1);
    call->c = c;
    call->wake = wake;
    call->context = context;
    call->status = 200;
    if (!understand(call, text)) {
        free(call);
        error_set(err, ERROR_INPUT, "messages: not a command");
        return NULL;
    }
    pthread_mutex_init(&call->lock, NULL);
    buf_init(&call->out, 1 << 30);
    atomic_fetch_add(&c->n_started, 1);
    pthread_create(&call->thread, NULL, call_thread, call);
    wake(context); /* allowed before it returns */
    return call;
}

bool claude_call_is_stream(const struct claude_call *call)
{
    return call->is_stream;
}

size_t claude_call_read(struct claude_call *call, char *dst, size_t max)
{
    pthread_mutex_lock(&call->lock);
    size_t n = call->out.len < max ? call->out.len : max;
    if (n)
        memcpy(dst, call->out.data, n);
    buf_consume(&call->out, n);
    pthread_mutex_unlock(&call->lock);
    if (!n && call->is_stream)
        race(call);
    return n;
}

bool claude_call_done(const struct claude_call *call)
{
    struct claude_call *c = (struct claude_call *)call;
    pthread_mutex_lock(&c->lock);
    bool done = c->done;
    pthread_mutex_unlock(&c->lock);
    if (!done && !c->is_stream)
        race(c);
    return done;
}

int claude_call_status(const struct claude_call *call)
{
    return call->status;
}

void claude_call_usage(const struct claude_call *call, struct engine_usage *out)
{
    *out = (struct engine_usage){
        .n_prompt = 7, .n_cached = 3, .n_generated = (uint32_t)call->n_events};
}

void claude_call_tick(struct claude_call *call, int64_t now_ms)
{
    (void)now_ms;
    atomic_fetch_add(&call->c->n_ticks, 1);
    if (call->is_stream && call->hangs)
        put(call, "event: ping\ndata: {}\n\n");
}

void claude_call_end(struct claude_call *call)
{
    pthread_mutex_lock(&call->lock);
    call->ended = true;
    pthread_mutex_unlock(&call->lock);
    pthread_join(call->thread, NULL);
    atomic_fetch_add(&call->c->n_ended, 1);
    pthread_mutex_destroy(&call->lock);
    buf_deinit(&call->out);
    free(call);
}

int claude_error_status(enum error_code code)
{
    return code == ERROR_NOT_FOUND ? 404 : code == ERROR_INPUT ? 400 : 500;
}

void claude_error_body(struct buf *out, const struct error *err, const char *request_id)
{
    buf_printf(out, "{\"type\":\"error\",\"message\":\"%s\",\"request_id\":\"%s\"}", err->message,
               request_id);
}

bool claude_count_tokens(struct claude *c, const char *body, size_t n_bytes, struct buf *out,
                         struct error *err)
{
    (void)c;
    if (!n_bytes)
        return error_set(err, ERROR_INPUT, "the body is empty");
    return buf_printf(out, "{\"input_tokens\":%zu}", n_bytes + (body[0] == 0));
}

bool claude_models(struct claude *c, struct buf *out)
{
    (void)c;
    return buf_puts(out, "{\"data\":[]}");
}

bool claude_metrics(struct claude *c, struct buf *out)
{
    (void)c;
    return buf_puts(out, "pensieve_requests_total 0\n");
}

bool claude_model(struct claude *c, const char *id, struct buf *out, struct error *err)
{
    (void)c;
    if (strcmp(id, "org/known model"))
        return error_set(err, ERROR_NOT_FOUND, "no such model");
    return buf_puts(out, "{\"id\":\"known\"}");
}
