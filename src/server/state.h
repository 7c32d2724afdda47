/* The server's own state, shared by the files of this folder and nobody else.
 *
 * A *peer* is a connection, an *exchange* one request on it with its answer. An exchange belongs to
 * the socket thread; while it is suspended the workers (work.c) and the watcher (watch.c) reach it
 * too.
 *
 * Locks. server.lock guards the list of peers and peer.exchange: whoever holds it may look at any
 * exchange, which is detached before it is freed. server.state_lock guards the fields of every
 * exchange marked so (a lock per exchange would be destroyed while its last holder still leaves
 * it). Order: server.lock, then the claude's own, then state_lock, then work_lock. */
#ifndef PENSIEVE_SERVER_STATE_H
#define PENSIEVE_SERVER_STATE_H

#include "claude/message_id.h"
#include "server/listen.h"
#include "server/server.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

enum { N_WORKERS = 2 };

enum exchange_state {
    EXCHANGE_RECEIVING,
    EXCHANGE_QUEUED,  /* for a worker; suspended */
    EXCHANGE_WORKING, /* a worker has it; suspended */
    EXCHANGE_READY,   /* the worker left `call`, or status and `answer` */
    EXCHANGE_STREAMING,
    EXCHANGE_ANSWERED, /* every byte is in the socket thread's hands */
};

struct exchange;

struct route {
    const char *method, *path;
    bool is_prefix; /* the path continues with a name */
    bool has_body;
    bool is_work; /* for a worker; else the socket thread runs it */
    /* Sets status and answer, or call. */
    void (*run)(struct exchange *x);
};

struct peer {
    struct peer *next, *prev;
    int fd;
    int64_t since_ms; /* it connected, or its last answer ended */
    struct exchange *exchange;
    bool given_up; /* its socket was shut down; the socket thread will find out */
};

struct exchange {
    struct server *server;
    struct peer *peer;
    struct MHD_Connection *connection;
    struct exchange *next_work; /* in the workers' queue */
    int64_t started_ms;
    char request_id[MESSAGE_ID_BYTES];
    char method[12], path[160]; /* cut, for the log and the routes */
    const struct route *route;
    const char *allow; /* for a 405 */

    struct buf body;
    size_t n_counted;         /* of the body, in server.n_body_bytes */
    atomic_size_t n_received; /* of the body, dropped bytes too */

    int status;      /* once decided, not 0 */
    bool is_refused; /* decided before the body was read */
    struct buf answer;
    const char *content_type;
    struct claude_call *call;

    /* under server.state_lock */
    enum exchange_state state;
    bool suspended;
    bool woken;    /* something happened since it was last cleared */
    bool vanished; /* the client is gone */
};

struct server {
    struct claude *claude;
    struct server_options options;
    struct listener listener;
    struct MHD_Daemon *daemon;
    atomic_bool stopping;
    atomic_size_t n_body_bytes;

    pthread_mutex_t lock;
    struct peer *peers;

    pthread_mutex_t state_lock;

    pthread_mutex_t work_lock;
    pthread_cond_t work_ready;
    struct exchange *work_first, **work_last;
    pthread_t workers[N_WORKERS];
    uint32_t n_workers;

    pthread_t watcher;
    bool watching;
    int poke[2]; /* a pipe that wakes the watcher */
};

/* exchange.c: callbacks of the socket thread, and what others may do to an exchange. */
enum MHD_Result exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *n_upload, void **exchange);
void exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                        enum MHD_RequestTerminationCode code);
/* There may be more of the answer. Any thread. */
void exchange_wake(void *exchange);
/* The worker is done with it. */
void exchange_hand_back(struct exchange *x);
/* Marks the client as gone and lets the socket thread end the exchange. */
void exchange_abandon(struct exchange *x);
/* Decides the answer: an error in Anthropic's shape. */
void exchange_answer_error(struct exchange *x, const struct error *err);
void exchange_answer_refusal(struct exchange *x, int status, const char *type, const char *message);

/* routes.c */
/* NULL when nothing answers; then `allow` is the path's own methods, or NULL for an unknown path.
 */
const struct route *route_find(const char *method, const char *path, const char **allow);

/* work.c */
bool work_start(struct server *s, struct error *err);
void work_push(struct server *s, struct exchange *x);
void work_stop(struct server *s);

/* watch.c */
bool watch_start(struct server *s, struct error *err);
void watch_poke(struct server *s);
void watch_stop(struct server *s);

#endif
