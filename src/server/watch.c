/* The watcher: a thread that sees what the socket thread cannot. A suspended connection does not
 * notice that its client left, so the sockets of waiting exchanges are polled here; and once a
 * second time passes for the running replies (pings) and for clients that never finish what they
 * send.
 *
 * A client that closed its sending side may have left, or have said all and be reading on (nc -N):
 * TCP shows the same. What tells is to send it something, as only who left answers with a reset.
 * Before the answer's head that is an interim "100 Continue", which every HTTP/1.1 client skips;
 * later it is whatever bytes the reply has for that (reply.h, probe). So who left is found out
 * within half a second, and who half-closed first and left later within PROBE_MS. An answer that
 * comes sooner than GRACE_MS is spared it, for simple clients that know no interim answers. Where
 * neither can be sent (HTTP/1.0, a reply without such bytes) TCP's own keep-alive finds it, within
 * a minute or two, once the client's system has forgotten the connection. */
#include "server/state.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef POLLRDHUP
enum { HALF = POLLRDHUP, GONE = POLLHUP | POLLERR | POLLNVAL };
#else /* macOS: POLLHUP speaks of a half-closed peer, too */
enum { HALF = POLLHUP, GONE = POLLERR | POLLNVAL };
#endif

enum {
    TICK_MS = 1000,
    PROBE_MS = 5000,
    GRACE_MS = 300,
    KEEP_ALIVE_S = 15,
    BODY_BYTES_PER_MS = 16, /* slower senders run out of time */
};

static bool is_waiting(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool waiting = !x->vanished && x->state >= EXCHANGE_STARTING && x->state != EXCHANGE_ANSWERED;
    pthread_mutex_unlock(&x->server->state_lock);
    return waiting;
}

static bool is_half_closed(const struct peer *p)
{
    return p->exchange->is_half_closed;
}

/* Fills fds with the pipe and the sockets of waiting exchanges; returns how many. A half-closed one
 * would be reported for ever, so of those only the end is asked for. */
static size_t gather_sockets(struct server *s, struct pollfd *fds, size_t max)
{
    size_t n = 0;
    fds[n++] = (struct pollfd){.fd = s->poke[0], .events = POLLIN};
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p && n < max; p = p->next)
        if (p->exchange && is_waiting(p->exchange) && !(HALF == POLLHUP && is_half_closed(p)))
            fds[n++] = (struct pollfd){.fd = p->fd, .events = is_half_closed(p) ? 0 : HALF};
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- who may have left ---- */

static void keep_alive(int fd)
{
    int on = 1, seconds = KEEP_ALIVE_S;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef TCP_KEEPIDLE
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
#else
    (void)seconds;
#endif
}

/* Under the state lock, which keeps the socket thread from beginning an answer. A part of the line
 * would spoil the answer: then the connection is of no use. */
static void send_interim(struct exchange *x)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const size_t n = sizeof interim - 1;
    ssize_t n_sent = send(x->peer->fd, interim, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    const bool is_full = n_sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (n_sent == (ssize_t)n || is_full)
        return;
    x->vanished = true;
    exchange_resume(x);
}

static void probe_client(struct exchange *x, int64_t now)
{
    x->probed_ms = now;
    pthread_mutex_lock(&x->server->state_lock);
    if (x->state == EXCHANGE_ANSWERING) {
        x->wants_probe = true;
        answer_schedule(x);
    } else if (x->knows_interim && !x->vanished &&
               (x->state == EXCHANGE_STARTING || x->state == EXCHANGE_WAITING)) {
        send_interim(x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
}

/* Those that are due. */
static void probe_all(struct server *s, int64_t now)
{
    pthread_mutex_lock(&s->lock);
    s->next_probe_ms = INT64_MAX;
    for (struct peer *p = s->peers; p; p = p->next) {
        if (!p->exchange || !is_half_closed(p))
            continue;
        if (now - p->exchange->probed_ms >= PROBE_MS)
            probe_client(p->exchange, now);
        if (s->next_probe_ms > p->exchange->probed_ms + PROBE_MS)
            s->next_probe_ms = p->exchange->probed_ms + PROBE_MS;
    }
    pthread_mutex_unlock(&s->lock);
}

static void found_half_closed(struct peer *p, struct exchange *x)
{
    const int64_t now = clock_now_ms();
    x->is_half_closed = true;
    x->probed_ms = now + GRACE_MS - PROBE_MS;
    if (x->server->next_probe_ms > now + GRACE_MS)
        x->server->next_probe_ms = now + GRACE_MS;
    keep_alive(p->fd);
}

/* Asked under the server's lock, where the socket cannot have been closed and its number given to
 * another. */
static void look_at(struct peer *p)
{
    struct exchange *x = p->exchange;
    struct pollfd now = {.fd = p->fd, .events = HALF};
    if (poll(&now, 1, 0) != 1)
        return;
    if (now.revents & GONE) {
        exchange_abandon(x);
    } else if (now.revents & HALF && !x->is_half_closed) {
        found_half_closed(p, x);
    }
}

static void look_at_all(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p; p = p->next)
        if (p->exchange && is_waiting(p->exchange))
            look_at(p);
    pthread_mutex_unlock(&s->lock);
}

/* ---- time ---- */

void peer_give_up(struct server *s, struct peer *p)
{
    if (p->given_up)
        return;
    shutdown(p->fd, SHUT_RDWR);
    p->given_up = true;
    s->n_given_up++;
}

static void tick_exchange(struct server *s, struct exchange *x, int64_t now)
{
    pthread_mutex_lock(&x->server->state_lock);
    const enum exchange_state state = x->state;
    if (state >= EXCHANGE_WAITING && state < EXCHANGE_ANSWERED) {
        x->wants_tick = true;
        answer_schedule(x);
    }
    pthread_mutex_unlock(&x->server->state_lock);
    if (state >= EXCHANGE_STARTING)
        return;
    int64_t allowed =
        s->options.body_ms + (int64_t)(atomic_load(&x->n_received) / BODY_BYTES_PER_MS);
    if (now - x->started_ms <= allowed)
        return;
    farewell(x, 408, "the request did not come in time");
    peer_give_up(s, x->peer);
}

static void tick_all(struct server *s)
{
    int64_t now = clock_now_ms();
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p; p = p->next) {
        if (p->exchange)
            tick_exchange(s, p->exchange, now);
        else if (now - p->since_ms > s->options.idle_ms)
            peer_give_up(s, p);
    }
    pthread_mutex_unlock(&s->lock);
}

static void drain_pokes(struct server *s)
{
    char bytes[64];
    while (read(s->poke[0], bytes, sizeof bytes) > 0)
        ;
}

/* What cannot be polled now (memory) can be in a moment: time goes on passing meanwhile. */
static int wait_for_news(struct pollfd *fds, size_t n, int64_t ms, bool *complained)
{
    int n_ready = poll(fds, (nfds_t)n, ms > 0 ? (int)ms : 0);
    if (n_ready >= 0 || errno == EINTR)
        return n_ready;
    if (!*complained)
        log_error("the server cannot see which clients left: %s", strerror(errno));
    *complained = true;
    usleep(TICK_MS * 1000 / 4);
    return 0;
}

static void *watcher(void *arg)
{
    struct server *s = arg;
    bool complained = false;
    int64_t next_tick = clock_now_ms() + TICK_MS;
    s->next_probe_ms = INT64_MAX;
    while (!atomic_load(&s->stopping)) {
        size_t n = gather_sockets(s, s->watched, s->max_watched);
        const int64_t next = next_tick < s->next_probe_ms ? next_tick : s->next_probe_ms;
        int n_ready = wait_for_news(s->watched, n, next - clock_now_ms(), &complained);
        const bool poked = n_ready > 0 && s->watched[0].revents;
        if (poked)
            drain_pokes(s);
        if (n_ready > poked)
            look_at_all(s);
        if (clock_now_ms() >= s->next_probe_ms)
            probe_all(s, clock_now_ms());
        if (clock_now_ms() >= next_tick) {
            tick_all(s);
            next_tick = clock_now_ms() + TICK_MS;
        }
    }
    return NULL;
}

/* All that it needs is taken here: a watcher that runs never lacks it. */
bool watch_start(struct server *s, struct error *err)
{
    s->max_watched = s->options.max_connections + SPARE_CONNECTIONS + 1;
    s->watched = calloc(s->max_watched, sizeof *s->watched);
    if (!s->watched)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the server's watcher");
    if (pipe(s->poke))
        return error_set(err, ERROR_IO, "cannot make a pipe for the server's watcher");
    for (int i = 0; i < 2; i++) {
        fcntl(s->poke[i], F_SETFD, FD_CLOEXEC);
        fcntl(s->poke[i], F_SETFL, O_NONBLOCK);
    }
    s->watching = !pthread_create(&s->watcher, NULL, watcher, s);
    return s->watching || error_set(err, ERROR_NO_MEMORY, "cannot start the server's watcher");
}

/* A full pipe is fine: the watcher will wake anyway. */
void watch_poke(struct server *s)
{
    ssize_t n = write(s->poke[1], "", 1);
    (void)n;
}

/* `stopping` is set. */
void watch_stop(struct server *s)
{
    if (s->watching) {
        watch_poke(s);
        pthread_join(s->watcher, NULL);
    }
    s->watching = false;
    free(s->watched);
    s->watched = NULL;
    for (int i = 0; i < 2; i++)
        if (s->poke[i] >= 0)
            close(s->poke[i]);
}
