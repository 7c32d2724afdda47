/* HTTP for the Anthropic domain. A *server* listens on one address and turns requests into calls of
 * a `struct claude`; it has one thread for its sockets (libmicrohttpd's), two that parse and
 * prompt, and one that watches the clients of waiting calls. Knows no models and no tokens. */
#ifndef PENSIEVE_SERVER_SERVER_H
#define PENSIEVE_SERVER_SERVER_H

#include "base/error.h"
#include "claude/claude.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;

/* 0 or NULL: the default in brackets. */
struct server_options {
    const char *host;            /* name or address ["127.0.0.1"] */
    uint16_t port;               /* 0: any free one, see server_port */
    bool allow_remote;           /* an address that other machines reach is refused without it */
    size_t max_body_bytes;       /* of one request [32 MiB] */
    size_t max_all_bodies_bytes; /* of all requests on their way in [256 MiB] */
    uint32_t max_connections;    /* more wait to be accepted [256] */
    uint32_t idle_ms;            /* a connection without a complete request head [120000] */
    uint32_t body_ms;            /* for a body, plus one second for each 16 KiB that came [30000] */
    uint32_t stall_ms;           /* a client that reads nothing of its answer [600000] */
};

/* Listens and serves until destroyed. `c` is borrowed and must outlive the server. BUSY when the
 * port is taken, USAGE for an address that is not allowed. The process should ignore SIGPIPE. */
struct server *server_create(struct claude *c, const struct server_options *options,
                             struct error *err);
uint16_t server_port(const struct server *s);
/* Writes "http://127.0.0.1:8000": where a client on this machine finds the server. */
void server_url(const struct server *s, char *out, size_t n_bytes);
/* Stops listening, ends every call, joins the threads. */
void server_destroy(struct server *s);

#endif
