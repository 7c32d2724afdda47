/* See reply.h. */
#include "server/reply.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER_BYTES = 16 << 10 };

void reply_head_init(struct reply_head *h)
{
    *h = (struct reply_head){.status = 200, .n_bytes = REPLY_UNKNOWN_BYTES};
    buf_init(&h->headers, MAX_HEADER_BYTES);
}

void reply_head_deinit(struct reply_head *h)
{
    buf_deinit(&h->headers);
}

static bool is_clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

bool reply_header(struct reply_head *h, const char *name, const char *value)
{
    if (!*name || !is_clean(name) || !is_clean(value))
        return false;
    size_t n_name = strlen(name) + 1, n_value = strlen(value) + 1;
    return buf_reserve(&h->headers, n_name + n_value) && buf_append(&h->headers, name, n_name) &&
           buf_append(&h->headers, value, n_value);
}

const char *reply_header_next(const struct reply_head *h, const char *at, const char **value)
{
    const char *next = h->headers.data;
    if (at) {
        next = at + strlen(at) + 1;
        next += strlen(next) + 1;
    }
    if (!next || next == h->headers.data + h->headers.len)
        return NULL;
    *value = next + strlen(next) + 1;
    return next;
}

/* ---- bytes that are there ---- */

struct whole {
    int status;
    const char *content_type;
    char *bytes;
    size_t n_bytes, n_read;
};

static bool whole_head(void *reply, struct reply_head *out)
{
    const struct whole *w = reply;
    out->status = w->status;
    out->n_bytes = (int64_t)w->n_bytes;
    reply_header(out, "Content-Type", w->content_type);
    return true;
}

static ptrdiff_t whole_read(void *reply, char *dst, size_t max)
{
    struct whole *w = reply;
    size_t n = w->n_bytes - w->n_read < max ? w->n_bytes - w->n_read : max;
    if (!n)
        return REPLY_END;
    memcpy(dst, w->bytes + w->n_read, n);
    w->n_read += n;
    return (ptrdiff_t)n;
}

static void whole_end(void *reply)
{
    struct whole *w = reply;
    free(w->bytes);
    free(w);
}

bool reply_whole(struct reply *out, int status, const char *content_type, struct buf *body,
                 struct error *err)
{
    static const struct reply_ops ops = {.head = whole_head, .read = whole_read, .end = whole_end};
    struct whole *w = buf_failed(body) ? NULL : calloc(1, sizeof *w);
    if (!w)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the answer");
    w->status = status;
    w->content_type = content_type;
    w->bytes = buf_steal(body, &w->n_bytes);
    *out = (struct reply){&ops, w};
    return true;
}
