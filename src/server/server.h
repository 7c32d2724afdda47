/* HTTP. A *server* listens on one address and answers with what handlers (handler.h) reply. It has
 * one thread for its sockets (libmicrohttpd's), workers on which handlers and replies run, and one
 * that watches the clients of waiting requests. Knows nothing of what the bytes mean. */
#ifndef PENSIEVE_SERVER_SERVER_H
#define PENSIEVE_SERVER_SERVER_H

#include "base/error.h"
#include "server/handler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;

/* 0 or NULL: the default in brackets. */
struct server_options {
    const char *host;            /* name or address ["127.0.0.1"] */
    uint16_t port;               /* 0: any free one, see server_port */
    bool allow_remote;           /* an address that other machines reach is refused without it */
    const char *allow_hosts;     /* guard.h, hosts */
    const char *allow_origins;   /* guard.h, origins */
    size_t max_body_bytes;       /* of one request [32 MiB] */
    size_t max_all_bodies_bytes; /* of all requests on their way in [256 MiB] */
    uint32_t max_connections;    /* for one more the oldest idle one is closed [256] */
    uint32_t idle_ms;            /* a connection without a complete request head [120000] */
    uint32_t body_ms;            /* for a body, plus one second for each 16 KiB that came [30000] */
    uint32_t stall_ms;           /* a client that reads nothing of its answer [600000] */
};

/* What it answers with. All is borrowed and must outlive the server. */
struct server_doors {
    const struct handler_table *tables; /* the first row that fits answers */
    size_t n_tables;
    const struct handler_api *apis; /* at least one; where no prefix fits, the first one writes */
    size_t n_apis;
};

/* Listens and serves until destroyed. BUSY when the port is taken, USAGE for an address that is not
 * allowed. The process should ignore SIGPIPE. */
struct server *server_create(const struct server_doors *doors, const struct server_options *options,
                             struct error *err);
uint16_t server_port(const struct server *s);
/* Writes "http://127.0.0.1:8000": where a client on this machine finds the server. */
void server_url(const struct server *s, char *out, size_t n_bytes);
/* Stops listening, ends every reply, joins the threads. */
void server_destroy(struct server *s);

#endif
