/* Last words to a client that the library would leave without any, or with a page of HTML: they are
 * written past it, as one whole answer in the shape of the path's API, and the connection ends.
 *
 * What is not HTTP libmicrohttpd refuses by itself, before it asks anybody, and has no way to say
 * with what. But it tells its log first ("Error processing request (HTTP response code is …"), on
 * the same thread, and has sent nothing then; that is where the answer is put in. Which connection
 * it speaks of it does not tell. It is the one whose head was just read to its end, if there is
 * one, or else one of those that may have a broken request on the way in; when there is exactly one
 * of those it gets the answer. When there are several the library's page stands, as it does where
 * another version of it says something else to its log. */
#include "server/state.h"

#include "base/clock.h"
#include "base/log.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum {
    FAREWELL_BYTES = 16 << 10,
    PIPELINED_MS = 2000, /* within that time the next request would have been looked at */
    CLOCK_MS = 10,       /* the system counts in steps */
};

/* ---- one answer ---- */

static void put_headers(const struct exchange *x, const struct reply_head *head, struct buf *out)
{
    struct exchange_header more[EXCHANGE_MAX_HEADERS];
    const size_t n = exchange_headers(x, more);
    const char *name = NULL, *value;
    while ((name = reply_header_next(head, name, &value)))
        buf_printf(out, "%s: %s\r\n", name, value);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s: %s\r\n", more[i].name, more[i].value);
}

static void put_answer(struct exchange *x, int status, const char *message, struct buf *out)
{
    struct error err;
    struct reply_head head; /* its own one is the socket thread's */
    struct buf body;
    buf_init(&body, FAREWELL_BYTES);
    reply_head_init(&head);
    error_set(&err, ERROR_INPUT, "%s", message);
    x->api->write_error(status, &err, x->request_id, &head, &body);
    buf_printf(out, "HTTP/1.1 %d %s\r\nConnection: close\r\n", status,
               MHD_get_reason_phrase_for((unsigned)status));
    put_headers(x, &head, out);
    buf_printf(out, "Content-Length: %zu\r\n\r\n", body.len);
    buf_append(out, body.data ? body.data : "", body.len);
    out->failed |= buf_failed(&body) || buf_failed(&head.headers); /* half an error is none */
    reply_head_deinit(&head);
    buf_deinit(&body);
}

/* Its client reads it if it reads at all; there is no waiting. */
static void send_off(int fd, const struct buf *out)
{
    if (!buf_failed(out))
        send(fd, out->data, out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
}

void farewell(struct exchange *x, int status, const char *message)
{
    struct buf out;
    buf_init(&out, 2 * FAREWELL_BYTES);
    pthread_mutex_lock(&x->server->state_lock);
    if (!x->vanished && (x->state == EXCHANGE_HEAD || x->state == EXCHANGE_BODY)) {
        put_answer(x, status, message, &out);
        x->vanished = true; /* and so the socket thread answers no more */
        x->farewell = status;
        send_off(x->peer->fd, &out);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    buf_deinit(&out);
}

/* The same for a request of which nothing is known. */
static void farewell_to_stranger(struct server *s, int fd, int status, const char *message)
{
    struct exchange nobody = {.api = &s->doors.apis[0]};
    struct buf out;
    buf_init(&out, 2 * FAREWELL_BYTES);
    random_id_make(nobody.request_id, "req_");
    put_answer(&nobody, status, message, &out);
    send_off(fd, &out);
    log_info("? %d, %s, the connection closed (%s)", status, message, nobody.request_id);
    buf_deinit(&out);
}

void farewell_without_memory(struct server *s, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info)
        farewell_to_stranger(s, info->connect_fd, 503, "out of memory for the request");
}

/* ---- which one the library speaks of ---- */

/* Its head was read to the end, and the handler was not asked: that is so for a moment only. */
static bool is_at_its_head(const struct peer *p)
{
    return p->exchange && p->exchange->state == EXCHANGE_HEAD &&
           MHD_get_connection_info(p->exchange->connection,
                                   MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
}

/* May the beginning of a first line have come since the connection was last without a request? Its
 * bytes may have come with those of the request before: for a moment nobody knows. */
static bool may_have_begun(const struct peer *p)
{
    const int64_t idle_ms = clock_now_ms() - p->since_ms;
#ifdef __linux__
    struct tcp_info info;
    socklen_t n = sizeof info;
    if (idle_ms >= PIPELINED_MS && !getsockopt(p->fd, IPPROTO_TCP, TCP_INFO, &info, &n))
        return (int64_t)info.tcpi_last_data_recv + CLOCK_MS < idle_ms;
#endif
    return true;
}

/* A body of stated length is never refused. */
static bool may_be_broken(const struct peer *p)
{
    const struct exchange *x = p->exchange;
    if (p->given_up)
        return false;
    if (!x)
        return may_have_begun(p);
    return x->state == EXCHANGE_HEAD || (x->state == EXCHANGE_BODY && x->is_chunked);
}

static struct peer *find_refused(struct server *s) /* under the server's lock */
{
    struct peer *only = NULL, *sure = NULL;
    size_t n = 0;
    pthread_mutex_lock(&s->state_lock);
    for (struct peer *p = s->peers; p; p = p->next) {
        if (is_at_its_head(p))
            sure = p;
        if (may_be_broken(p)) {
            only = p;
            n++;
        }
    }
    pthread_mutex_unlock(&s->state_lock);
    return sure ? sure : n == 1 ? only : NULL;
}

static const char *message_for(int status)
{
    switch (status) {
    case MHD_HTTP_CONTENT_TOO_LARGE:
        return "the request's Content-Length is larger than any maximum";
    case MHD_HTTP_URI_TOO_LONG:
        return "the request's URI is too long";
    case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
        return "the request's headers are too large";
    case MHD_HTTP_HTTP_VERSION_NOT_SUPPORTED:
        return "this server speaks HTTP/1.1 and HTTP/1.0";
    default:
        return status < 500 ? "the request is not HTTP as it should be"
                            : "out of memory for the request";
    }
}

void farewell_on_library_log(struct server *s, const char *format, va_list args)
{
    static const char refusal[] = "Error processing request (HTTP response code is %u";
    if (strncmp(format, refusal, sizeof refusal - 1))
        return;
    int status = (int)va_arg(args, unsigned);
    pthread_mutex_lock(&s->lock);
    struct peer *p = status >= 400 && status < 600 ? find_refused(s) : NULL;
    if (p && p->exchange)
        farewell(p->exchange, status, message_for(status));
    else if (p)
        farewell_to_stranger(s, p->fd, status, message_for(status));
    pthread_mutex_unlock(&s->lock);
}
