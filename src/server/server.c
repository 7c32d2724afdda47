/* The server's beginning and end; what happens in between is in exchange.c. */
#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DEFAULT_BODY_BYTES = 32 << 20, /* Anthropic's own limit */
    DEFAULT_ALL_BODIES_BYTES = 256 << 20,
    DEFAULT_CONNECTIONS = 256,
    DEFAULT_IDLE_MS = 120000,
    DEFAULT_BODY_MS = 30000,
    DEFAULT_STALL_MS = 600000,
    FAREWELL_MS = 2000,    /* for connections that end, at most */
    HEAD_BYTES = 64 << 10, /* a connection's memory: its request's head, and the block being sent */
};

#ifdef __linux__
#define POLLING MHD_USE_EPOLL_INTERNAL_THREAD
#else
#define POLLING (MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD)
#endif

/* ---- peers ---- */

/* A request that lies in its socket makes it busy, too: the socket thread will come to it. */
static bool is_idle(const struct peer *p)
{
    char byte;
    return !p->exchange && !p->given_up && recv(p->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* The connection that has been without a request for the longest time. */
static struct peer *oldest_idle(struct server *s)
{
    struct peer *oldest = NULL;
    for (struct peer *p = s->peers; p; p = p->next)
        if ((!oldest || p->since_ms <= oldest->since_ms) && is_idle(p))
            oldest = p;
    return oldest;
}

/* Who keeps a connection for later gives way to who comes now. */
static void make_room(struct server *s)
{
    if (++s->n_peers - s->n_given_up <= s->options.max_connections)
        return;
    struct peer *p = oldest_idle(s);
    if (p)
        peer_give_up(s, p);
}

static void peer_connect(struct server *s, struct MHD_Connection *connection, void **peer)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct peer *p = info ? calloc(1, sizeof *p) : NULL;
    *peer = p;
    if (!p)
        return; /* its first request finds no peer and is refused */
    p->fd = info->connect_fd;
    p->since_ms = clock_now_ms();
    pthread_mutex_lock(&s->lock);
    make_room(s);
    p->next = s->peers;
    if (p->next)
        p->next->prev = p;
    s->peers = p;
    pthread_mutex_unlock(&s->lock);
}

/* The socket is still open here: under the lock its number means this peer. */
static void peer_disconnect(struct server *s, struct peer *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&s->lock);
    s->n_peers--;
    s->n_given_up -= p->given_up;
    if (p->prev)
        p->prev->next = p->next;
    else
        s->peers = p->next;
    if (p->next)
        p->next->prev = p->prev;
    pthread_mutex_unlock(&s->lock);
    free(p);
}

static void on_connection(void *server, struct MHD_Connection *connection, void **peer,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        peer_connect(server, connection, peer);
    else
        peer_disconnect(server, *peer);
}

/* ---- creation ---- */

static void set_options(struct server *s, const struct server_options *options)
{
    struct server_options *o = &s->options;
    *o = *options;
    o->host = o->host ? o->host : "127.0.0.1";
    o->max_body_bytes = o->max_body_bytes ? o->max_body_bytes : DEFAULT_BODY_BYTES;
    if (!o->max_all_bodies_bytes)
        o->max_all_bodies_bytes = DEFAULT_ALL_BODIES_BYTES;
    o->max_connections = o->max_connections ? o->max_connections : DEFAULT_CONNECTIONS;
    o->idle_ms = o->idle_ms ? o->idle_ms : DEFAULT_IDLE_MS;
    o->body_ms = o->body_ms ? o->body_ms : DEFAULT_BODY_MS;
    o->stall_ms = o->stall_ms ? o->stall_ms : DEFAULT_STALL_MS;
}

/* What libmicrohttpd has to say of broken requests is of no use to the user. */
__attribute__((format(printf, 2, 0))) static void on_library_log(void *server, const char *format,
                                                                 va_list args)
{
    char text[256];
    va_list copy;
    va_copy(copy, args);
    farewell_on_library_log(server, format, copy);
    va_end(copy);
    int n = vsnprintf(text, sizeof text, format, args);
    while (n > 0 && (size_t)n < sizeof text && text[n - 1] == '\n')
        text[--n] = 0;
    log_debug("http: %s", text);
}

static bool start_daemon(struct server *s, struct error *err)
{
    unsigned flags = POLLING | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (s->listener.is_ipv6)
        flags |= MHD_USE_IPv6;
    /* clang-format off */
    s->daemon = MHD_start_daemon(
        flags, s->listener.port, NULL, NULL, exchange_handle, s,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s,
        MHD_OPTION_LISTEN_SOCKET, s->listener.fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(s->options.max_connections + SPARE_CONNECTIONS),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((s->options.stall_ms + 999) / 1000),
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, s,
        MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, s,
        MHD_OPTION_END);
    /* clang-format on */
    return s->daemon || error_set(err, ERROR_INTERNAL, "cannot start the HTTP library");
}

static bool start_all(struct server *s, struct error *err)
{
    const struct server_options *o = &s->options;
    s->guard = (struct guard){.hosts = o->allow_hosts, .origins = o->allow_origins};
    if (!guard_check(&s->guard, err) ||
        !listener_open(&s->listener, o->host, o->port, o->allow_remote, err))
        return false;
    s->guard.is_loopback = s->listener.is_loopback;
    return watch_start(s, err) && work_start(s, err) && start_daemon(s, err);
}

struct server *server_create(const struct server_doors *doors, const struct server_options *options,
                             struct error *err)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the server");
        return NULL;
    }
    s->doors = *doors;
    s->listener.fd = s->poke[0] = s->poke[1] = -1;
    set_options(s, options);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->state_lock, NULL);
    pthread_mutex_init(&s->work_lock, NULL);
    pthread_cond_init(&s->work_idle, NULL);
    bool ok = start_all(s, err);
    if (!ok) {
        server_destroy(s);
        return NULL;
    }
    return s;
}

uint16_t server_port(const struct server *s)
{
    return s->listener.port;
}

void server_url(const struct server *s, char *out, size_t n_bytes)
{
    snprintf(out, n_bytes, "http://%s:%u", s->listener.url_host, s->listener.port);
}

static void abandon_all(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p; p = p->next)
        if (p->exchange)
            exchange_abandon(p->exchange);
        else
            peer_give_up(s, p);
    pthread_mutex_unlock(&s->lock);
}

static bool has_peers(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    const bool has = s->peers != NULL;
    pthread_mutex_unlock(&s->lock);
    return has;
}

/* The library ends its connections by itself, and then is stopped while it has none: where it is
 * stopped just as it refuses a request, version 0.9.75 crashes. */
static void wait_until_alone(struct server *s)
{
    for (int i = 0; i < FAREWELL_MS && has_peers(s); i++)
        usleep(1000);
}

/* `stopping` first: from then on no exchange falls asleep. Those asleep are woken, or will be by
 * the worker that has them, so that the library finds none suspended, which it does not allow. Then
 * the connections end, and at last, on the workers, the replies. */
void server_destroy(struct server *s)
{
    if (!s)
        return;
    atomic_store(&s->stopping, true);
    if (s->daemon)
        MHD_quiesce_daemon(s->daemon);
    abandon_all(s);
    work_wait_until_idle(s);
    watch_stop(s);
    wait_until_alone(s);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    work_stop(s);
    listener_close(&s->listener);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->state_lock);
    pthread_mutex_destroy(&s->work_lock);
    pthread_cond_destroy(&s->work_idle);
    free(s);
}
