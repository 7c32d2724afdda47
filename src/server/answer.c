/* The workers' side of an exchange: a handler starts, its reply's head and bytes are asked for as
 * fast as the client takes them, time passes for it, and it ends. Knows no sockets. */
#include "server/state.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_BYTES = 8 << 10,
    ERROR_BYTES = 16 << 10,
    HEAVY_BODY_BYTES = 1 << 20, /* more than any conversation of a client: half a second of work */
};

struct due {
    bool start, tick, probe, end;
};

/* ---- errors ---- */

void answer_error(struct exchange *x, int status, const struct error *err)
{
    struct buf body;
    buf_init(&body, ERROR_BYTES);
    reply_head_deinit(&x->head);
    reply_head_init(&x->head);
    x->api->write_error(status, err, x->request_id, &x->head, &body);
    x->head.status = status;
    if (buf_failed(&body)) /* half an error is none */
        buf_deinit(&body);
    x->head.n_bytes = (int64_t)body.len;
    pthread_mutex_lock(&x->server->state_lock);
    buf_deinit(&x->out);
    x->out = body;
    x->has_ended = true;
    x->has_failed = false;
    if (x->state == EXCHANGE_STARTING)
        x->state = EXCHANGE_READY;
    pthread_mutex_unlock(&x->server->state_lock);
}

/* ---- the start ---- */

static const char *find_header(const void *exchange, const char *name)
{
    const struct exchange *x = exchange;
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

void answer_request(struct exchange *x, struct handler_request *out)
{
    *out = (struct handler_request){
        .method = x->method,
        .path = x->path,
        .rest = x->rest,
        .query = x->query ? x->query : "",
        .body = x->body.data ? x->body.data : "",
        .n_body = x->body.len,
        .request_id = x->request_id,
        .wake = answer_wake,
        .wake_context = x,
        .headers = x,
        .find_header = find_header,
    };
}

static void start_reply(struct exchange *x)
{
    struct handler_request request;
    struct error err = {0};
    answer_request(x, &request);
    bool ok = x->handler->start(x->handler_context, &request, &x->reply, &err);
    exchange_drop_body(x);
    if (!ok) {
        x->reply = (struct reply){0};
        answer_error(x, x->api->status(err.code), &err);
        return;
    }
    pthread_mutex_lock(&x->server->state_lock);
    x->state = EXCHANGE_WAITING;
    pthread_mutex_unlock(&x->server->state_lock);
}

/* ---- head and bytes ---- */

/* Is there room for more of the body, and somebody who wants it? */
static size_t room_for_bytes(struct exchange *x)
{
    size_t n = 0;
    pthread_mutex_lock(&x->server->state_lock);
    if (!x->is_over && !x->vanished && !x->has_ended && !x->has_failed) {
        n = EXCHANGE_OUT_BYTES - x->out.len;
        x->is_full = !n;
    }
    pthread_mutex_unlock(&x->server->state_lock);
    return n < BLOCK_BYTES ? n : BLOCK_BYTES;
}

/* What read returned. A short body of known length is sent when it is whole, in one piece. */
static void take_in(struct exchange *x, const char *bytes, ptrdiff_t n)
{
    const bool is_small = x->head.n_bytes >= 0 && x->head.n_bytes <= EXCHANGE_OUT_BYTES;
    pthread_mutex_lock(&x->server->state_lock);
    if (n == REPLY_END)
        x->has_ended = true;
    else if (n < 0 || !buf_append(&x->out, bytes, (size_t)n))
        x->has_failed = true;
    if (!is_small)
        exchange_resume(x);
    pthread_mutex_unlock(&x->server->state_lock);
}

static void read_body(struct exchange *x)
{
    char block[BLOCK_BYTES];
    size_t n_room;
    while ((n_room = room_for_bytes(x))) {
        ptrdiff_t n = x->reply.ops->read(x->reply.context, block, n_room);
        if (n == REPLY_NONE_NOW)
            return;
        take_in(x, block, n);
    }
}

static bool has_head(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool has = x->state >= EXCHANGE_READY;
    pthread_mutex_unlock(&x->server->state_lock);
    if (has || !x->reply.ops->head(x->reply.context, &x->head))
        return has;
    pthread_mutex_lock(&x->server->state_lock);
    x->has_failed = buf_failed(&x->head.headers); /* out of memory: an error instead */
    x->state = EXCHANGE_READY;
    pthread_mutex_unlock(&x->server->state_lock);
    return true;
}

/* ---- the end ---- */

static void print_usage(struct exchange *x, char *out, size_t size)
{
    struct reply_usage usage = {0};
    size_t n = 0;
    out[0] = 0;
    if (x->reply.ops && x->reply.ops->usage)
        x->reply.ops->usage(x->reply.context, &usage);
    for (size_t i = 0; i < usage.n && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, ", %llu %s",
                              (unsigned long long)usage.counts[i].value, usage.counts[i].name);
}

/* One line per request, for people. */
static void log_line(struct exchange *x, int64_t ended_ms)
{
    char usage[160];
    print_usage(x, usage, sizeof usage);
    /* 499, as nginx says it: the client left before there was an answer */
    int status = x->farewell ? x->farewell : x->state >= EXCHANGE_ANSWERING ? x->head.status : 499;
    log_info("%s %s %d, %lld ms%s%s (%s)", x->log_method, x->log_path, status,
             (long long)(ended_ms - x->started_ms), usage,
             x->is_whole ? "" : ", the connection closed", x->request_id);
}

static void finish_exchange(struct exchange *x)
{
    log_line(x, clock_now_ms());
    if (x->reply.ops)
        x->reply.ops->end(x->reply.context);
    exchange_drop_body(x);
    reply_head_deinit(&x->head);
    buf_deinit(&x->out);
    free(x->query);
    free(x);
}

/* ---- jobs ---- */

static struct due take_due(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    const bool gone = x->vanished || atomic_load(&x->server->stopping);
    struct due due = {x->state == EXCHANGE_STARTING && !gone, x->wants_tick, x->wants_probe,
                      x->is_over};
    if (x->state == EXCHANGE_STARTING && gone)
        x->state = EXCHANGE_WAITING;
    x->again = x->wants_tick = x->wants_probe = false;
    pthread_mutex_unlock(&x->server->state_lock);
    return due;
}

/* The job ends, unless there is more to do already. */
static bool rest_job(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    const bool again = x->again;
    if (!again) {
        x->in_job = false;
        exchange_resume(x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    return !again;
}

void answer_work(struct exchange *x)
{
    do {
        const struct due due = take_due(x);
        if (due.end) {
            finish_exchange(x);
            return;
        }
        if (due.start)
            start_reply(x);
        if (x->reply.ops && due.tick && x->reply.ops->tick)
            x->reply.ops->tick(x->reply.context, clock_now_ms());
        if (x->reply.ops && due.probe && x->reply.ops->probe)
            x->reply.ops->probe(x->reply.context);
        if (x->reply.ops && has_head(x))
            read_body(x);
    } while (!rest_job(x)); /* from here on it may be gone */
}

void answer_schedule(struct exchange *x)
{
    x->again = true;
    if (x->in_job)
        return;
    x->in_job = true;
    work_push(x->server, x, x->state == EXCHANGE_STARTING && x->body.len > HEAVY_BODY_BYTES);
}

void answer_wake(void *exchange)
{
    struct exchange *x = exchange;
    pthread_mutex_lock(&x->server->state_lock);
    if (!x->is_over)
        answer_schedule(x);
    pthread_mutex_unlock(&x->server->state_lock);
}
