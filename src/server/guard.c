/* See guard.h. */
#include "server/guard.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool is_port(const char *text)
{
    size_t n = strspn(text, "0123456789");
    return n > 0 && n <= 5 && !text[n];
}

static bool is_loopback_host(const char *host)
{
    struct in_addr v4;
    if (!strcasecmp(host, "localhost") || !strcmp(host, "[::1]"))
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

bool guard_is_loopback_authority(const char *authority)
{
    char host[64];
    const char *end = authority[0] == '[' ? strchr(authority, ']') : strchr(authority, ':');
    if (authority[0] == '[' && !end)
        return false;
    size_t n = !end ? strlen(authority) : (size_t)(end - authority) + (*end == ']');
    if (n >= sizeof host)
        return false;
    memcpy(host, authority, n);
    host[n] = 0;
    const char *rest = authority + n;
    return is_loopback_host(host) && (!*rest || (*rest == ':' && is_port(rest + 1)));
}

/* The authority of an http(s) origin, or NULL ("null", other schemes). */
static const char *origin_authority(const char *origin)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (!strncasecmp(origin, schemes[i], n))
            return origin + n;
    }
    return NULL;
}

const char *guard_refusal(const char *host, const char *origin, bool bound_to_loopback)
{
    if (bound_to_loopback && host && !guard_is_loopback_authority(host))
        return "this server answers only to the names localhost, 127.0.0.1 and [::1] (the Host "
               "header has another)";
    if (!origin)
        return NULL;
    const char *from = origin_authority(origin);
    if (from && (guard_is_loopback_authority(from) || (host && !strcasecmp(from, host))))
        return NULL;
    return "web pages of other origins may not use this server (the Origin header names one)";
}
