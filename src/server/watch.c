/* The watcher: a thread that sees what the socket thread cannot. A suspended connection does not
 * notice that its client left, so the sockets of waiting exchanges are polled here; and once a
 * second time passes for the running calls (pings) and for clients that never finish what they
 * send. A client that closes only its sending side counts as gone, as it cannot be told from one
 * that left. */
#include "server/state.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef POLLRDHUP
#define POLLRDHUP 0 /* macOS: POLLHUP speaks of a half-closed peer, too */
#endif

enum {
    TICK_MS = 1000,
    GONE = POLLRDHUP | POLLHUP | POLLERR | POLLNVAL,
    BODY_BYTES_PER_MS = 16, /* slower senders run out of time */
};

static bool is_waiting(struct exchange *x)
{
    pthread_mutex_lock(&x->server->state_lock);
    bool waiting = !x->vanished && x->state >= EXCHANGE_STARTING && x->state != EXCHANGE_ANSWERED;
    pthread_mutex_unlock(&x->server->state_lock);
    return waiting;
}

/* Fills fds with the pipe and the sockets of waiting exchanges; returns how many. */
static size_t gather(struct server *s, struct pollfd *fds, size_t max)
{
    size_t n = 0;
    fds[n++] = (struct pollfd){.fd = s->poke[0], .events = POLLIN};
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p && n < max; p = p->next)
        if (p->exchange && is_waiting(p->exchange))
            fds[n++] = (struct pollfd){.fd = p->fd, .events = POLLRDHUP | POLLHUP};
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Is the peer of this socket gone now? Asked under the server's lock, where the socket cannot have
 * been closed and its number given to another. */
static bool is_gone(int fd)
{
    struct pollfd now = {.fd = fd, .events = POLLRDHUP | POLLHUP};
    return poll(&now, 1, 0) == 1 && (now.revents & GONE);
}

static void abandon_gone(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p; p = p->next)
        if (p->exchange && is_waiting(p->exchange) && is_gone(p->fd))
            exchange_abandon(p->exchange);
    pthread_mutex_unlock(&s->lock);
}

static void give_up(struct peer *p)
{
    if (!p->given_up)
        shutdown(p->fd, SHUT_RDWR);
    p->given_up = true;
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
    if (now - x->started_ms > allowed)
        give_up(x->peer);
}

static void tick(struct server *s)
{
    int64_t now = clock_now_ms();
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers; p; p = p->next) {
        if (p->exchange)
            tick_exchange(s, p->exchange, now);
        else if (now - p->since_ms > s->options.idle_ms)
            give_up(p);
    }
    pthread_mutex_unlock(&s->lock);
}

static void drain_pokes(struct server *s)
{
    char bytes[64];
    while (read(s->poke[0], bytes, sizeof bytes) > 0)
        ;
}

static void *watcher(void *arg)
{
    struct server *s = arg;
    size_t max = s->options.max_connections + 1;
    struct pollfd *fds = calloc(max, sizeof *fds);
    int64_t next_tick = clock_now_ms() + TICK_MS;
    while (fds && !atomic_load(&s->stopping)) {
        size_t n = gather(s, fds, max);
        int64_t left = next_tick - clock_now_ms();
        int n_ready = poll(fds, (nfds_t)n, left > 0 ? (int)left : 0);
        if (n_ready > 0 && fds[0].revents)
            drain_pokes(s);
        if (n_ready > (fds[0].revents ? 1 : 0))
            abandon_gone(s);
        if (clock_now_ms() >= next_tick) {
            tick(s);
            next_tick = clock_now_ms() + TICK_MS;
        }
    }
    free(fds);
    return NULL;
}

bool watch_start(struct server *s, struct error *err)
{
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
    for (int i = 0; i < 2; i++)
        if (s->poke[i] >= 0)
            close(s->poke[i]);
}
