/* See guard.h. */
#include "server/guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { HOST_BYTES = 256 };

static const char default_origins[] = "apps";

/* Of programs that show pages of their own: Obsidian and others made with Electron, VS Code, Tauri,
 * Capacitor, extensions of browsers. "file" is what Electron sends; a browser sends "null". */
static const char *const app_schemes[] = {
    "app",         "capacitor",      "chrome-extension",     "file",
    "ionic",       "moz-extension",  "safari-web-extension", "tauri",
    "vscode-file", "vscode-webview",
};

/* ---- lists ---- */

/* The item at `list` and its length; `list` moves behind it. NULL at the end. */
static const char *next_item(const char **list, size_t *n)
{
    const char *item = *list;
    if (!item || !*item)
        return NULL;
    *n = strcspn(item, ",");
    *list = item + *n + (item[*n] == ',');
    return item;
}

static bool item_is(const char *item, size_t n, const char *text)
{
    return strlen(text) == n && !strncasecmp(item, text, n);
}

/* ---- hosts ---- */

static bool is_port(const char *text)
{
    size_t n = strspn(text, "0123456789");
    return n > 0 && n <= 5 && !text[n];
}

/* Letters, digits, '-', '_' and '.'. */
static bool is_name(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
            return false;
    return n > 0;
}

/* The host of an authority in small letters, without the root's dot; false when it is malformed. */
static bool split_authority(const char *authority, char host[HOST_BYTES])
{
    const bool is_v6 = authority[0] == '[';
    const char *end = strchr(authority, is_v6 ? ']' : ':');
    if (is_v6 && !end)
        return false;
    size_t n = !end ? strlen(authority) : (size_t)(end - authority) + is_v6;
    const char *rest = authority + n;
    if (!n || n >= HOST_BYTES || (*rest && !(*rest == ':' && is_port(rest + 1))))
        return false;
    if (!is_v6 && !is_name(authority, n))
        return false;
    for (size_t i = 0; i < n; i++)
        host[i] = (char)tolower((unsigned char)authority[i]);
    n -= n > 1 && host[n - 1] == '.';
    host[n] = 0;
    return true;
}

/* Names below localhost are loopback's, too (RFC 6761), and nobody else's. */
static bool is_loopback_host(const char *host)
{
    struct in_addr v4;
    size_t n = strlen(host), n_local = strlen(".localhost");
    if (!strcmp(host, "localhost") || !strcmp(host, "[::1]"))
        return true;
    if (n > n_local && !strcmp(host + n - n_local, ".localhost"))
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

bool guard_is_loopback_authority(const char *authority)
{
    char host[HOST_BYTES];
    return split_authority(authority, host) && is_loopback_host(host);
}

/* "*.lan" is every name that ends in ".lan". */
static bool host_matches(const char *host, const char *item, size_t n)
{
    if (*item != '*')
        return item_is(item, n - (n > 1 && item[n - 1] == '.'), host);
    const size_t n_host = strlen(host);
    return n_host > n - 1 && !strncasecmp(host + n_host - (n - 1), item + 1, n - 1);
}

static bool allows_host(const struct guard *g, const char *authority)
{
    char host[HOST_BYTES];
    const char *list = g->hosts, *item;
    size_t n;
    if (!split_authority(authority, host))
        return false;
    while ((item = next_item(&list, &n)))
        if (host_matches(host, item, n))
            return true;
    return is_loopback_host(host);
}

/* ---- origins ---- */

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

static bool is_app(const char *origin)
{
    for (size_t i = 0; i < sizeof app_schemes / sizeof *app_schemes; i++) {
        size_t n = strlen(app_schemes[i]);
        if (!strncasecmp(origin, app_schemes[i], n) && !strncmp(origin + n, "://", 3))
            return true;
    }
    return false;
}

static bool origin_matches(const char *origin, const char *item, size_t n)
{
    if (item_is(item, n, "*"))
        return true;
    if (item_is(item, n, "apps"))
        return is_app(origin);
    if (n > 4 && !strncmp(item + n - 4, "://*", 4))
        return !strncasecmp(origin, item, n - 1);
    return item_is(item, n, origin);
}

static bool allows_origin(const struct guard *g, const char *origin, const char *host)
{
    const char *from = origin_authority(origin), *item;
    const char *list = g->origins ? g->origins : default_origins;
    size_t n;
    if (from && (guard_is_loopback_authority(from) || (host && !strcasecmp(from, host))))
        return true;
    while ((item = next_item(&list, &n)))
        if (origin_matches(origin, item, n))
            return true;
    return false;
}

const char *guard_refusal(const struct guard *g, const char *host, const char *origin)
{
    if (g->is_loopback && host && !allows_host(g, host))
        return "this server answers only to the names localhost, 127.0.0.1 and [::1] (the Host "
               "header has another; --allow-host permits one)";
    if (origin && !allows_origin(g, origin, host))
        return "web pages of other origins may not use this server (the Origin header names one; "
               "--allow-origin permits it)";
    return NULL;
}

/* ---- the lists themselves ---- */

static bool is_host_item(const char *item, size_t n)
{
    const size_t n_star = n > 2 && !strncmp(item, "*.", 2) ? 2 : 0;
    return is_name(item + n_star, n - n_star);
}

static bool is_origin_item(const char *item, size_t n)
{
    static const char *const words[] = {"*", "apps", "null", "none"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (item_is(item, n, words[i]))
            return true;
    const char *colon = memchr(item, ':', n);
    if (!colon || colon == item || item + n - colon < 3 || strncmp(colon, "://", 3))
        return false;
    return colon + 3 == item + n || item[n - 1] != '/'; /* an origin has no path */
}

bool guard_check(const struct guard *g, struct error *err)
{
    const char *list = g->hosts, *item;
    size_t n;
    while ((item = next_item(&list, &n)))
        if (!is_host_item(item, n))
            return error_set(err, ERROR_USAGE,
                             "'%.*s' is no host's name: host.docker.internal, *.lan", (int)n, item);
    list = g->origins;
    while ((item = next_item(&list, &n)))
        if (!is_origin_item(item, n))
            return error_set(err, ERROR_USAGE,
                             "'%.*s' is no origin: https://a.example, app://*, apps, null, none, *",
                             (int)n, item);
    return true;
}
