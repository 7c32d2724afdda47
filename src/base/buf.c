#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

bool buf_reserve(struct buf *b, size_t n_more)
{
    if (b->failed)
        return false;
    if (n_more > b->max || b->len > b->max - n_more) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n_more + 1;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap = cap > need / 2 ? need : cap * 2;
    /* At least twice as much, or all it may have: near the ceiling, too, appending stays cheap. */
    size_t most = b->max < SIZE_MAX ? b->max + 1 : SIZE_MAX;
    if (cap < b->cap * 2)
        cap = b->cap * 2 < most ? b->cap * 2 : most;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_append(struct buf *b, const void *bytes, size_t n_bytes)
{
    if (!buf_reserve(b, n_bytes))
        return false;
    if (n_bytes)
        memcpy(b->data + b->len, bytes, n_bytes);
    b->len += n_bytes;
    b->data[b->len] = '\0';
    return true;
}

bool buf_puts(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

bool buf_putc(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && buf_reserve(b, (size_t)n);
    if (ok) {
        vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return ok;
}

void buf_truncate(struct buf *b, size_t n_bytes)
{
    b->len = n_bytes;
    if (b->data)
        b->data[n_bytes] = '\0';
}

void buf_consume(struct buf *b, size_t n_bytes)
{
    if (n_bytes > b->len)
        n_bytes = b->len;
    if (!n_bytes)
        return;
    memmove(b->data, b->data + n_bytes, b->len - n_bytes + 1);
    b->len -= n_bytes;
}

char *buf_steal(struct buf *b, size_t *n_bytes)
{
    char *data = b->data;
    if (n_bytes)
        *n_bytes = b->len;
    b->data = NULL;
    buf_deinit(b);
    return data;
}
