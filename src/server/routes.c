/* Which handler answers a path, and which API writes its errors. */
#include "server/state.h"

#include <stdio.h>
#include <string.h>

static bool path_matches(const struct handler *h, const char *path)
{
    size_t n = strlen(h->path);
    return h->flags & HANDLER_PREFIX ? !strncmp(path, h->path, n) && path[n]
                                     : !strcmp(path, h->path);
}

const struct handler_api *route_api(const struct server *s, const char *path)
{
    const struct handler_api *best = &s->doors.apis[0];
    size_t n_best = 0;
    for (size_t i = 0; i < s->doors.n_apis; i++) {
        const struct handler_api *api = &s->doors.apis[i];
        size_t n = strlen(api->prefix);
        if (n > n_best && !strncmp(path, api->prefix, n)) {
            best = api;
            n_best = n;
        }
    }
    return best;
}

static void add_method(struct exchange *x, const char *method)
{
    const size_t n = strlen(x->methods);
    snprintf(x->methods + n, sizeof x->methods - n, "%s%s", n ? ", " : "", method);
}

/* HEAD is GET without the body, which the socket thread leaves out. */
static bool find_row(struct exchange *x, const struct handler_table *t)
{
    const char *wanted = strcmp(x->method, "HEAD") ? x->method : "GET";
    for (size_t i = 0; i < t->n; i++) {
        const struct handler *h = &t->rows[i];
        if (!path_matches(h, x->path))
            continue;
        if (!strcmp(h->method, wanted)) {
            x->handler = h;
            x->handler_context = t->context;
            x->rest = h->flags & HANDLER_PREFIX ? x->path + strlen(h->path) : "";
            return true;
        }
        add_method(x, h->method);
        if (!strcmp(h->method, "GET"))
            add_method(x, "HEAD");
    }
    return false;
}

void route_find(struct exchange *x)
{
    const struct server_doors *doors = &x->server->doors;
    for (size_t i = 0; i < doors->n_tables; i++)
        if (find_row(x, &doors->tables[i]))
            return;
    if (*x->methods)
        add_method(x, "OPTIONS");
}
