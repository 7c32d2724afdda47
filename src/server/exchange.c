/* The socket thread's side of an exchange: it gathers the request within limits, hands it to the
 * handler's worker, sleeps (suspended) until there is an answer, and sends that as the client takes
 * it. Never waits. Knows nothing of what the bytes mean. */
#include "server/state.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    STREAM_BLOCK_BYTES = 16 << 10,
    DRAIN_FACTOR = 4, /* a body this many times too large is read to its end and then refused */
};

/* ---- sleep ---- */

static bool is_gone(struct exchange *x) /* under the state lock */
{
    return x->vanished || atomic_load(&x->server->stopping);
}

static void sleep_until_resumed(struct exchange *x) /* under the state lock */
{
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

/* Every sleeper is resumed exactly once: `suspended` changes only under the lock. While a worker
 * starts the handler the connection's headers must stay. */
void exchange_resume(struct exchange *x)
{
    if (!x->suspended || x->state == EXCHANGE_STARTING)
        return;
    const bool has_bytes = x->out.len || x->has_ended || x->has_failed;
    if (!is_gone(x) && x->state != EXCHANGE_READY && !(x->state >= EXCHANGE_ANSWERING && has_bytes))
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

void exchange_abandon(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->vanished = true;
    if (!x->suspended) /* it is writing to somebody who is gone */
        shutdown(x->peer->fd, SHUT_RDWR);
    exchange_resume(x);
    pthread_mutex_unlock(&x->server->state_lock);
}

/* ---- the answer ---- */

/* Pages may read the answer, whatever it is, when their origin may ask; a cache must know that it
 * depends on who asked. */
size_t exchange_headers(const struct exchange *x, struct exchange_header out[EXCHANGE_MAX_HEADERS])
{
    out[0] = (struct exchange_header){"request-id", x->request_id};
    out[1] = (struct exchange_header){"Vary", "Origin"};
    if (!x->origin)
        return 2;
    out[2] = (struct exchange_header){"Access-Control-Allow-Origin", x->origin};
    out[3] = (struct exchange_header){"Access-Control-Expose-Headers", "*"};
    return 4;
}

static void add_headers(struct exchange *x, struct MHD_Response *response)
{
    const char *name = NULL, *value;
    while ((name = reply_header_next(&x->head, name, &value)))
        MHD_add_response_header(response, name, value);
    struct exchange_header more[EXCHANGE_MAX_HEADERS];
    const size_t n = exchange_headers(x, more);
    for (size_t i = 0; i < n; i++)
        MHD_add_response_header(response, more[i].name, more[i].value);
}

static enum MHD_Result queue_response(struct exchange *x, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    add_headers(x, response);
    enum MHD_Result ok = MHD_queue_response(x->connection, (unsigned)x->head.status, response);
    MHD_destroy_response(response);
    return ok;
}

static size_t take_out(struct exchange *x, char *dst, size_t max) /* under the state lock */
{
    size_t n = x->out.len < max ? x->out.len : max;
    memcpy(dst, x->out.data, n);
    buf_consume(&x->out, n);
    if (x->is_full) {
        x->is_full = false;
        answer_schedule(x);
    }
    return n;
}

static ssize_t read_answer(void *exchange, uint64_t position, char *dst, size_t max)
{
    struct exchange *x = exchange;
    ssize_t n = 0;
    (void)position;
    pthread_mutex_lock(&x->server->state_lock);
    if (is_gone(x)) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (x->out.len) {
        n = (ssize_t)take_out(x, dst, max);
    } else if (x->has_failed) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (x->has_ended) {
        x->state = EXCHANGE_ANSWERED;
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        sleep_until_resumed(x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    return n;
}

static enum MHD_Result send_stream(struct exchange *x)
{
    uint64_t n_bytes = x->head.n_bytes < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)x->head.n_bytes;
    return queue_response(
        x, MHD_create_response_from_callback(n_bytes, STREAM_BLOCK_BYTES, read_answer, x, NULL));
}

/* All of it is in `out`. */
static enum MHD_Result send_whole(struct exchange *x)
{
    size_t n_bytes;
    char *data = buf_steal(&x->out, &n_bytes);
    struct MHD_Response *response =
        data ? MHD_create_response_from_buffer(n_bytes, data, MHD_RESPMEM_MUST_FREE)
             : MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (!response)
        free(data);
    return queue_response(x, response);
}

/* The head is decided. A reply that fails before its first byte is an error like any other. */
static enum MHD_Result send_answer(struct exchange *x)
{
    static const struct error failure = {.code = ERROR_INTERNAL, .message = "the answer broke off"};
    pthread_mutex_lock(&x->server->state_lock);
    const bool gone = is_gone(x), fails = x->has_failed && !x->out.len;
    const bool is_whole = fails || (x->has_ended && !x->has_failed);
    if (!gone)
        x->state = is_whole ? EXCHANGE_ANSWERED : EXCHANGE_ANSWERING;
    pthread_mutex_unlock(&x->server->state_lock);
    if (gone)
        return MHD_NO;
    if (fails)
        answer_error(x, x->api->status(failure.code), &failure);
    return is_whole ? send_whole(x) : send_stream(x);
}

/* ---- the request's head ---- */

static void copy_printable(char *out, const char *text, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        out[n] = text[n] < 0x20 || text[n] >= 0x7f ? '?' : text[n];
    out[n] = 0;
}

/* The request's first line is here. */
void *exchange_begin(void *server, const char *target, struct MHD_Connection *connection)
{
    struct server *s = server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct exchange *x = info && info->socket_context ? calloc(1, sizeof *x) : NULL;
    const char *query = target ? strchr(target, '?') : NULL;
    char *own_query = query ? strdup(query + 1) : NULL;
    if (!x || (query && !own_query)) {
        free(own_query);
        free(x);
        return NULL; /* and it is refused when its head is here */
    }
    x->server = s;
    x->connection = connection;
    x->started_ms = clock_now_ms();
    x->path = x->method = x->rest = "";
    x->query = own_query;
    copy_printable(x->log_method, "?", sizeof x->log_method);
    copy_printable(x->log_path, target ? target : "", sizeof x->log_path);
    x->api = &s->doors.apis[0];
    random_id_make(x->request_id, "req_");
    buf_init(&x->body, s->options.max_body_bytes);
    buf_init(&x->out, EXCHANGE_OUT_BYTES);
    reply_head_init(&x->head);
    pthread_mutex_lock(&s->lock);
    x->peer = info->socket_context;
    x->peer->exchange = x;
    pthread_mutex_unlock(&s->lock);
    return x;
}

static void set_state(struct exchange *x, enum exchange_state state)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->state = state;
    pthread_mutex_unlock(&x->server->state_lock);
}

/* A refusal waits for the end of the body, or the client may never read it: a socket closed with
 * unread bytes resets. Not where the client waits for a permission to send, nor for an absurd
 * length, nor where nobody knows how long it is. */
static enum MHD_Result take_head(struct exchange *x, const char *url, const char *method,
                                 const char *version)
{
    x->is_met = true;
    x->method = method;
    x->knows_interim = !strcmp(version, MHD_HTTP_VERSION_1_1);
    x->path = url;
    head_check(x);
    copy_printable(x->log_method, method, sizeof x->log_method);
    copy_printable(x->log_path, x->path, sizeof x->log_path);
    set_state(x, EXCHANGE_BODY);
    if (!x->is_decided)
        return MHD_YES;
    bool absurd = head_announced_bytes(x) / DRAIN_FACTOR > x->server->options.max_body_bytes;
    return head_value(x, "Expect") || absurd || x->is_broken ? send_answer(x) : MHD_YES;
}

/* ---- its body ---- */

void exchange_drop_body(struct exchange *x)
{
    atomic_fetch_sub(&x->server->n_body_bytes, x->n_counted);
    x->n_counted = 0;
    buf_deinit(&x->body);
}

static bool count_body(struct exchange *x, size_t n)
{
    size_t all = atomic_fetch_add(&x->server->n_body_bytes, n) + n;
    x->n_counted += n;
    return all <= x->server->options.max_all_bodies_bytes;
}

static enum MHD_Result receive_body(struct exchange *x, const char *bytes, size_t n)
{
    size_t all = atomic_fetch_add(&x->n_received, n) + n, max = x->server->options.max_body_bytes;
    if (x->is_decided)
        return all / DRAIN_FACTOR <= max ? MHD_YES : MHD_NO;
    if (!(x->handler->flags & HANDLER_BODY))
        return all <= max ? MHD_YES : MHD_NO;
    if (all > max)
        head_refuse_too_large(x);
    else if (!count_body(x, n) || !buf_append(&x->body, bytes, n))
        head_refuse(x, 529, "too many large requests are on their way in");
    if (x->is_decided)
        exchange_drop_body(x);
    return MHD_YES;
}

/* ---- from the request to its answer ---- */

/* To a worker. Under the lock, so that a server that stops either sees it asleep or is seen. */
static enum MHD_Result hand_to_worker(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    const bool gone = is_gone(x);
    if (!gone) {
        x->state = EXCHANGE_STARTING;
        sleep_until_resumed(x);
        answer_schedule(x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    if (gone)
        return MHD_NO;
    watch_poke(x->server);
    return MHD_YES;
}

static void start_here(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->state = EXCHANGE_STARTING;
    x->in_job = true;
    pthread_mutex_unlock(&x->server->state_lock);
    answer_work(x);
}

/* Answers, or sleeps until there is an answer. */
static enum MHD_Result answer_or_sleep(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    const bool gone = is_gone(x), is_ready = x->state == EXCHANGE_READY;
    if (!gone && !is_ready)
        sleep_until_resumed(x);
    pthread_mutex_unlock(&x->server->state_lock);
    if (gone)
        return MHD_NO;
    return is_ready ? send_answer(x) : MHD_YES;
}

/* The whole request is here, or the connection was resumed. */
static enum MHD_Result advance_exchange(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    const bool is_new = x->state == EXCHANGE_BODY;
    pthread_mutex_unlock(&x->server->state_lock);
    if (is_new && x->is_decided)
        return send_answer(x);
    if (is_new && x->handler->flags & HANDLER_WORKS)
        return hand_to_worker(x);
    if (is_new) {
        start_here(x);
        watch_poke(x->server); /* it may have to wait */
    }
    return answer_or_sleep(x);
}

enum MHD_Result exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *n_upload, void **exchange)
{
    struct exchange *x = *exchange;
    if (!x) {
        farewell_without_memory(server, connection);
        return MHD_NO;
    }
    if (!x->is_met)
        return take_head(x, url, method, version);
    if (!*n_upload)
        return advance_exchange(x);
    size_t n = *n_upload;
    *n_upload = 0;
    return receive_body(x, upload, n);
}

/* ---- its end ---- */

/* The reply ends where it started. */
static bool ends_here(struct exchange *x)
{
    return !x->in_job && !(x->handler && x->handler->flags & HANDLER_WORKS);
}

void exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                        enum MHD_RequestTerminationCode code)
{
    struct server *s = server;
    struct exchange *x = *exchange;
    (void)connection;
    if (!x)
        return;
    *exchange = NULL;
    pthread_mutex_lock(&s->lock);
    x->peer->exchange = NULL;
    x->peer->since_ms = clock_now_ms();
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&s->state_lock);
    x->is_over = true;
    x->is_whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    const bool ends = ends_here(x);
    if (ends)
        x->in_job = true;
    else
        answer_schedule(x);
    pthread_mutex_unlock(&s->state_lock);
    if (ends)
        answer_work(x);
}
