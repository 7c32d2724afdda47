/* The listening socket: one address, bound exclusively, with errors that say what is wrong. */
#ifndef PENSIEVE_SERVER_LISTEN_H
#define PENSIEVE_SERVER_LISTEN_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct listener {
    int fd;
    uint16_t port;
    bool is_ipv6, is_loopback;
    char url_host[64]; /* how a client on this machine writes it: "127.0.0.1", "[::1]" */
};

/* BUSY: the port is taken. USAGE: an address that other machines reach, without allow_remote. */
bool listener_open(struct listener *l, const char *host, uint16_t port, bool allow_remote,
                   struct error *err);
void listener_close(struct listener *l);

#endif
