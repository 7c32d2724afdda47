/* See listen.h. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

/* What a client on this machine calls the address: the wildcard is reached through loopback. */
static void name_for_url(struct listener *l, const struct sockaddr *a)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (a->sa_family == AF_INET) {
        const struct in_addr *v4 = &((const struct sockaddr_in *)a)->sin_addr;
        inet_ntop(AF_INET, v4, text, sizeof text);
        snprintf(l->url_host, sizeof l->url_host, "%s", v4->s_addr ? text : "127.0.0.1");
    } else {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
        inet_ntop(AF_INET6, v6, text, sizeof text);
        snprintf(l->url_host, sizeof l->url_host, "[%s]",
                 IN6_IS_ADDR_UNSPECIFIED(v6) ? "::1" : text);
    }
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n))
        return 0;
    return ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                        : ((struct sockaddr_in6 *)&a)->sin6_port);
}

static bool explain(struct error *err, const char *host, uint16_t port)
{
    int code = errno;
    if (code == EADDRINUSE)
        return error_set(err, ERROR_BUSY, "port %u is already in use on %s", port, host);
    if (code == EACCES)
        return error_set(err, ERROR_IO, "no permission to listen on port %u", port);
    return error_set(err, ERROR_IO, "cannot listen on %s port %u: %s", host, port, strerror(code));
}

/* SO_REUSEADDR lets a restarted server bind while old connections linger; it does not let two
 * listeners share a port (SO_REUSEPORT would). */
static bool open_address(struct listener *l, const struct addrinfo *a, const char *host,
                         uint16_t port, struct error *err)
{
    int on = 1;
    l->fd = socket(a->ai_family, SOCK_STREAM, 0);
    if (l->fd < 0)
        return explain(err, host, port);
    fcntl(l->fd, F_SETFD, FD_CLOEXEC);
    fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(l->fd, a->ai_addr, a->ai_addrlen) || listen(l->fd, BACKLOG)) {
        explain(err, host, port);
        listener_close(l);
        return false;
    }
    l->port = bound_port(l->fd);
    return true;
}

/* "localhost" may be both families; clients that are told 127.0.0.1 must find us. */
static const struct addrinfo *choose(const struct addrinfo *list)
{
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET)
            return a;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET6)
            return a;
    return NULL;
}

bool listener_open(struct listener *l, const char *host, uint16_t port, bool allow_remote,
                   struct error *err)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL;
    *l = (struct listener){.fd = -1};
    snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(host, service, &hints, &list);
    const struct addrinfo *a = code ? NULL : choose(list);
    bool ok = false;
    if (!a) {
        error_set(err, ERROR_USAGE, "no address for host '%s': %s", host,
                  code ? gai_strerror(code) : "neither IPv4 nor IPv6");
        goto done;
    }
    l->is_ipv6 = a->ai_family == AF_INET6;
    l->is_loopback = is_loopback(a->ai_addr);
    name_for_url(l, a->ai_addr);
    if (!l->is_loopback && !allow_remote)
        error_set(err, ERROR_USAGE,
                  "%s can be reached from other machines, and anybody there could "
                  "use the server: --allow-remote permits it",
                  host);
    else
        ok = open_address(l, a, host, port, err);
done:
    if (list)
        freeaddrinfo(list);
    return ok;
}

void listener_close(struct listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
