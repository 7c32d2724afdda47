/* One HTTP request from its head to the last byte of its answer: it gathers the body within limits,
 * gives it to a worker, and then waits, suspended, for the answer to grow. Runs on the socket
 * thread, which it never makes wait. Knows nothing of what the bytes mean. */
#include "server/state.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/guard.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    ANSWER_MAX_BYTES = 256 << 20, /* the net below: the context bounds an answer already */
    STREAM_BLOCK_BYTES = 16 << 10,
    DRAIN_FACTOR = 4, /* a body this many times too large is read to its end and then refused */
};

/* ---- answers ---- */

void exchange_answer_error(struct exchange *x, const struct error *err)
{
    x->status = claude_error_status(err->code);
    x->content_type = "application/json";
    buf_clear(&x->answer);
    claude_error_body(&x->answer, err, x->request_id);
}

void exchange_answer_refusal(struct exchange *x, int status, const char *type, const char *message)
{
    char *text = NULL;
    json_t *body = json_pack("{s:s, s:{s:s, s:s}, s:s}", "type", "error", "error", "type", type,
                             "message", message, "request_id", x->request_id);
    if (body)
        text = json_dumps(body, JSON_COMPACT);
    x->status = status;
    x->content_type = "application/json";
    buf_clear(&x->answer);
    if (text)
        buf_puts(&x->answer, text);
    free(text);
    json_decref(body);
}

static enum MHD_Result queue(struct exchange *x, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", x->content_type);
    MHD_add_response_header(response, "request-id", x->request_id);
    if (x->status == 405)
        MHD_add_response_header(response, "Allow", x->allow);
    enum MHD_Result ok = MHD_queue_response(x->connection, (unsigned)x->status, response);
    MHD_destroy_response(response);
    return ok;
}

static void set_state(struct exchange *x, enum exchange_state state)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->state = state;
    pthread_mutex_unlock(&x->server->state_lock);
}

/* Sends status and `answer`. */
static enum MHD_Result send_answer(struct exchange *x)
{
    if (buf_failed(&x->answer) || !x->answer.data)
        return MHD_NO;
    set_state(x, EXCHANGE_ANSWERED);
    size_t n_bytes;
    char *data = buf_steal(&x->answer, &n_bytes);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(n_bytes, data, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(data);
    return queue(x, response);
}

/* ---- waiting ---- */

static bool is_over(struct exchange *x) /* under the state lock */
{
    return x->vanished || atomic_load(&x->server->stopping);
}

static bool must_end(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool over = is_over(x);
    x->woken = false;
    pthread_mutex_unlock(&x->server->state_lock);
    return over;
}

/* Suspends, unless something happened since must_end() looked. Every sleeper is resumed exactly
 * once: `suspended` changes only under the lock. */
static bool sleep_until_woken(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool sleeps = !x->woken && !is_over(x);
    if (sleeps) {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    return sleeps;
}

static void resume(struct exchange *x) /* under the state lock */
{
    if (!x->suspended || x->state == EXCHANGE_QUEUED || x->state == EXCHANGE_WORKING)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

void exchange_wake(void *exchange)
{
    struct exchange *x = exchange;
    pthread_mutex_lock(&x->server->state_lock);
    x->woken = true;
    resume(x);
    pthread_mutex_unlock(&x->server->state_lock);
}

void exchange_hand_back(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->state = EXCHANGE_READY;
    resume(x);
    pthread_mutex_unlock(&x->server->state_lock);
}

void exchange_abandon(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    x->vanished = true;
    if (!x->suspended) /* it is writing to somebody who is gone */
        shutdown(x->peer->fd, SHUT_RDWR);
    resume(x);
    pthread_mutex_unlock(&x->server->state_lock);
}

/* ---- the running call ---- */

static ssize_t read_stream(void *exchange, uint64_t position, char *dst, size_t max)
{
    struct exchange *x = exchange;
    (void)position;
    for (;;) {
        if (must_end(x))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        bool done = claude_call_done(x->call); /* asked first: then nothing follows what is read */
        size_t n = claude_call_read(x->call, dst, max);
        if (n)
            return (ssize_t)n;
        if (done) {
            set_state(x, EXCHANGE_ANSWERED);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (sleep_until_woken(x))
            return 0;
    }
}

static enum MHD_Result send_stream(struct exchange *x)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, x, NULL);
    if (response)
        MHD_add_response_header(response, "Cache-Control", "no-cache");
    x->status = 200;
    x->content_type = "text/event-stream; charset=utf-8";
    set_state(x, EXCHANGE_STREAMING);
    return queue(x, response);
}

static enum MHD_Result send_whole(struct exchange *x)
{
    char block[4096];
    size_t n;
    while (!buf_failed(&x->answer) && (n = claude_call_read(x->call, block, sizeof block)) > 0)
        buf_append(&x->answer, block, n);
    x->status = claude_call_status(x->call);
    x->content_type = "application/json";
    return send_answer(x);
}

static enum MHD_Result follow_call(struct exchange *x)
{
    if (claude_call_is_stream(x->call))
        return send_stream(x);
    for (;;) {
        if (must_end(x))
            return MHD_NO;
        if (claude_call_done(x->call))
            return send_whole(x);
        if (sleep_until_woken(x))
            return MHD_YES;
    }
}

/* ---- the request's head ---- */

static const char *header(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* Length as announced; 0 when absent (or chunked). libmicrohttpd has refused a malformed one. */
static uint64_t announced_bytes(struct exchange *x)
{
    const char *text = header(x, "Content-Length");
    return text ? strtoull(text, NULL, 10) : 0;
}

static void refuse(struct exchange *x, int status, const char *type, const char *message)
{
    x->is_refused = true;
    exchange_answer_refusal(x, status, type, message);
}

static void refuse_too_large(struct exchange *x)
{
    char text[96];
    snprintf(text, sizeof text, "the request is larger than the maximum of %zu bytes",
             x->server->options.max_body_bytes);
    refuse(x, 413, "request_too_large", text);
}

static void refuse_route(struct exchange *x)
{
    if (x->allow)
        refuse(x, 405, "invalid_request_error", "this path does not answer to that method");
    else
        refuse(x, 404, "not_found_error", "there is nothing at this path");
}

static void check_head(struct exchange *x)
{
    const char *encoding = header(x, "Content-Encoding");
    const char *why =
        guard_refusal(header(x, "Host"), header(x, "Origin"), x->server->listener.is_loopback);
    x->route = route_find(x->method, x->path, &x->allow);
    if (why)
        refuse(x, 403, "permission_error", why);
    else if (!x->route)
        refuse_route(x);
    else if (encoding && strcasecmp(encoding, "identity"))
        refuse(x, 415, "invalid_request_error",
               "a compressed request body is not understood: send it without Content-Encoding");
    else if (announced_bytes(x) > x->server->options.max_body_bytes)
        refuse_too_large(x);
}

static struct exchange *exchange_create(struct server *s, struct MHD_Connection *connection,
                                        const char *url, const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct exchange *x = info && info->socket_context ? calloc(1, sizeof *x) : NULL;
    if (!x)
        return NULL;
    x->server = s;
    x->connection = connection;
    x->started_ms = clock_now_ms();
    message_id_make(x->request_id, "req_");
    snprintf(x->method, sizeof x->method, "%s", method);
    snprintf(x->path, sizeof x->path, "%s", url);
    buf_init(&x->body, s->options.max_body_bytes);
    buf_init(&x->answer, ANSWER_MAX_BYTES);
    pthread_mutex_lock(&s->lock);
    x->peer = info->socket_context;
    x->peer->exchange = x;
    pthread_mutex_unlock(&s->lock);
    return x;
}

/* A refusal waits for the end of the body, or the client may never read it: a socket closed with
 * unread bytes resets. Not where the client waits for a permission to send, nor for an absurd
 * length. */
static enum MHD_Result begin(struct exchange *x)
{
    check_head(x);
    if (!x->is_refused)
        return MHD_YES;
    bool absurd = announced_bytes(x) / DRAIN_FACTOR > x->server->options.max_body_bytes;
    return header(x, "Expect") || absurd ? send_answer(x) : MHD_YES;
}

/* ---- its body ---- */

static void drop_body(struct exchange *x)
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

static enum MHD_Result receive(struct exchange *x, const char *bytes, size_t n)
{
    size_t all = atomic_fetch_add(&x->n_received, n) + n, max = x->server->options.max_body_bytes;
    if (x->is_refused)
        return all / DRAIN_FACTOR <= max ? MHD_YES : MHD_NO;
    if (!x->route->has_body)
        return all <= max ? MHD_YES : MHD_NO;
    if (all > max)
        refuse_too_large(x);
    else if (!count_body(x, n) || !buf_append(&x->body, bytes, n))
        refuse(x, 529, "overloaded_error", "too many large requests are on their way in");
    if (x->is_refused)
        drop_body(x);
    return MHD_YES;
}

/* To the workers. Under the lock, so that a server that stops either sees it in the queue or is
 * seen. */
static enum MHD_Result hand_to_worker(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool over = is_over(x);
    if (!over) {
        x->state = EXCHANGE_QUEUED;
        x->suspended = true;
        MHD_suspend_connection(x->connection);
        work_push(x->server, x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    if (over)
        return MHD_NO;
    watch_poke(x->server);
    return MHD_YES;
}

/* The whole request is here, or the connection was resumed. */
static enum MHD_Result advance(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    enum exchange_state state = x->state;
    bool over = is_over(x);
    pthread_mutex_unlock(&x->server->state_lock);
    if (over)
        return MHD_NO;
    if (state == EXCHANGE_RECEIVING) {
        if (!x->is_refused && x->route->is_work)
            return hand_to_worker(x);
        if (!x->is_refused)
            x->route->run(x);
        return send_answer(x);
    }
    drop_body(x);
    return x->call ? follow_call(x) : send_answer(x);
}

enum MHD_Result exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *n_upload, void **exchange)
{
    struct exchange *x = *exchange;
    (void)version;
    if (!x) {
        x = *exchange = exchange_create(server, connection, url, method);
        return x ? begin(x) : MHD_NO;
    }
    if (!*n_upload)
        return advance(x);
    size_t n = *n_upload;
    *n_upload = 0;
    return receive(x, upload, n);
}

/* ---- its end ---- */

static void copy_printable(char *out, const char *text, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        out[n] = text[n] < 0x20 || text[n] >= 0x7f ? '?' : text[n];
    out[n] = 0;
}

/* One line per request, for people. */
static void log_line(struct exchange *x, enum MHD_RequestTerminationCode code)
{
    char path[sizeof x->path], tokens[96] = "";
    copy_printable(path, x->path, sizeof path);
    if (x->call) {
        struct engine_usage u;
        claude_call_usage(x->call, &u);
        snprintf(tokens, sizeof tokens, ", %u tokens in (%u cached), %u out", u.n_prompt,
                 u.n_cached, u.n_generated);
    }
    /* 499, as nginx says it: the client left before there was an answer */
    log_info("%s %s %d, %lld ms%s%s (%s)", x->method, path, x->status ? x->status : 499,
             (long long)(clock_now_ms() - x->started_ms), tokens,
             code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", the connection closed",
             x->request_id);
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
    log_line(x, code);
    if (x->call)
        claude_call_end(x->call);
    drop_body(x);
    buf_deinit(&x->answer);
    free(x);
}
