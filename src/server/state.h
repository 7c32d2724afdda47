/* The server's own state, shared by the files of this folder and nobody else. One module: server,
 * state.
 *
 * A *peer* is a connection, an *exchange* one request on it with its answer. An exchange belongs to
 * the socket thread (exchange.c), which hands the handler's and the reply's functions to a worker
 * (answer.c, work.c) as a *job*: never two of one exchange at once. The watcher (watch.c) reaches
 * it through its peer. An exchange is freed by the last job, after the connection is done with it.
 *
 * Locks. server.lock guards the list of peers and peer.exchange: whoever holds it may look at any
 * exchange, which is detached before it is freed. server.state_lock guards the fields of every
 * exchange marked so (a lock per exchange would be destroyed while its last holder still leaves
 * it). Order: server.lock, state_lock, work_lock. No function of a handler or of a reply is called
 * under any of them; a reply's wake may be called under the reply's own locks. */
#ifndef PENSIEVE_SERVER_STATE_H
#define PENSIEVE_SERVER_STATE_H

#include "base/hostile.h"
#include "base/random_id.h"
#include "server/guard.h"
#include "server/listen.h"
#include "server/server.h"

#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    EXCHANGE_OUT_BYTES = HOSTILE ? 1 << 10 : 32 << 10, /* read ahead of the client, at most */
    WORK_MAX_THREADS = 16,                             /* of a lane */
    SPARE_CONNECTIONS =
        8, /* beyond the limit, while the oldest idle one is being closed for each */
};

enum exchange_state {
    EXCHANGE_HEAD,      /* the request's head is coming in */
    EXCHANGE_BODY,      /* its body is */
    EXCHANGE_STARTING,  /* the handler's start is a worker's, which may look at the headers */
    EXCHANGE_WAITING,   /* for the reply's head */
    EXCHANGE_READY,     /* the answer's head is decided */
    EXCHANGE_ANSWERING, /* the head is in the socket thread's hands */
    EXCHANGE_ANSWERED,  /* every byte is */
};

struct exchange;

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
    struct exchange *next_work; /* in a lane's queue */
    int64_t started_ms;
    char request_id[RANDOM_ID_BYTES];
    char log_method[12], log_path[160]; /* cut */
    const char *method, *path, *rest;   /* the library's, until the connection is done with it */
    char *query;                        /* or NULL */
    const struct handler *handler;
    void *handler_context;
    const struct handler_api *api;
    char methods[64]; /* that the path answers to, when the request's is none of them; "" none */
    const char *host; /* as the client names the server: of an absolute target, else its header */
    char authority[256]; /* of an absolute target */
    const char *origin;  /* whose page may read the answer, or NULL */

    struct buf body;
    size_t n_counted;           /* of the body, in server.n_body_bytes */
    atomic_size_t n_received;   /* of the body, dropped bytes too */
    bool is_met;                /* its head is here */
    bool is_decided;            /* a refusal or so, before the body was read */
    bool is_chunked, is_broken; /* broken: where the body ends cannot be known */
    bool knows_interim;         /* HTTP/1.1: its client skips "100 Continue" */

    /* the watcher's */
    bool is_half_closed; /* the client sends no more: it may be gone */
    int64_t probed_ms;

    /* the job's: of the worker that has it, else of nobody */
    struct reply reply;
    struct reply_head head; /* the socket thread's once READY */

    /* under server.state_lock */
    enum exchange_state state;
    bool suspended;
    bool vanished; /* the client is gone, or nothing more is to be said to it */
    int farewell;  /* the status of its last words, or 0 */
    bool is_over;  /* the connection is done with it, the next job frees it */
    bool in_job, again;
    bool wants_tick, wants_probe;
    struct buf out; /* of the body, not yet sent */
    bool is_full;   /* the job stopped for lack of room in out */
    bool has_ended, has_failed;
    bool is_whole; /* the client took all */
};

struct lane {
    struct exchange *first, **last;
    pthread_cond_t ready;
    pthread_t threads[WORK_MAX_THREADS];
    uint32_t n_threads, max_threads, n_queued, n_busy;
};

struct server {
    struct server_doors doors;
    struct server_options options;
    struct listener listener;
    struct guard guard;
    struct MHD_Daemon *daemon;
    atomic_bool stopping;
    atomic_size_t n_body_bytes;

    pthread_mutex_t lock;
    struct peer *peers;
    uint32_t n_peers, n_given_up;

    pthread_mutex_t state_lock;

    pthread_mutex_t work_lock;
    pthread_cond_t work_idle;
    bool work_ends;
    struct lane light, heavy; /* heavy: starts with large bodies */

    pthread_t watcher;
    bool watching;
    int poke[2];            /* a pipe that wakes the watcher */
    struct pollfd *watched; /* [max_watched], the watcher's */
    size_t max_watched;
    int64_t next_probe_ms; /* the watcher's */
};

/* Headers of every answer. */
enum { EXCHANGE_MAX_HEADERS = 4 };
struct exchange_header {
    const char *name, *value;
};
/* Fills `out` and returns how many. */
size_t exchange_headers(const struct exchange *x, struct exchange_header out[EXCHANGE_MAX_HEADERS]);

/* exchange.c: callbacks of the socket thread, and what others may do to an exchange. */
void *exchange_begin(void *server, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_handle(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *n_upload, void **exchange);
void exchange_completed(void *server, struct MHD_Connection *connection, void **exchange,
                        enum MHD_RequestTerminationCode code);
/* Resumes the connection if there is something for it. Under the state lock. */
void exchange_resume(struct exchange *x);
/* Marks the client as gone and lets the socket thread end the exchange. */
void exchange_abandon(struct exchange *x);
void exchange_drop_body(struct exchange *x);

/* answer.c */
void answer_request(struct exchange *x, struct handler_request *out);
/* A job: start, ticks, bytes and the end, whatever is due. Frees an exchange that is over. */
void answer_work(struct exchange *x);
/* Makes a job of it, or lets the one that runs go on. Under the state lock. */
void answer_schedule(struct exchange *x);
/* The reply's wake. */
void answer_wake(void *exchange);
/* Decides the answer: an error in the shape of the path's API. READY then, unless the request is
 * still coming in. */
void answer_error(struct exchange *x, int status, const struct error *err);

/* farewell.c */
/* Refuses a request that is still coming in. Under the server's lock or on the socket thread. */
void farewell(struct exchange *x, int status, const char *message);
/* There was none for an exchange; perhaps there is for a refusal. */
void farewell_without_memory(struct server *s, struct MHD_Connection *connection);
/* What the library said to its log: of a request that it refuses, the answer is put in. */
void farewell_on_library_log(struct server *s, const char *format, va_list args);

/* head.c */
/* Looks at the request's head: finds its handler, or decides the answer. */
void head_check(struct exchange *x);
/* Its body's length as announced; 0 when absent (or chunked). */
uint64_t head_announced_bytes(const struct exchange *x);
const char *head_value(const struct exchange *x, const char *name);
void head_refuse(struct exchange *x, int status, const char *message);
void head_refuse_too_large(struct exchange *x);

/* routes.c */
/* Finds handler and rest, or the methods that the path answers to. */
void route_find(struct exchange *x);
const struct handler_api *route_api(const struct server *s, const char *path);

/* work.c */
bool work_start(struct server *s, struct error *err);
void work_push(struct server *s, struct exchange *x, bool is_heavy);
void work_wait_until_idle(struct server *s);
void work_stop(struct server *s);

/* watch.c */
bool watch_start(struct server *s, struct error *err);
/* Ends a connection from this side. Under the server's lock. */
void peer_give_up(struct server *s, struct peer *p);
void watch_poke(struct server *s);
void watch_stop(struct server *s);

#endif
