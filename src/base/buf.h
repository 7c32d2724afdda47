/* A growing byte buffer with a ceiling. Appending past the ceiling or out of memory marks the
 * buffer failed and drops the bytes, so that callers may append freely and check `buf_failed` once.
 */
#ifndef PENSIEVE_BASE_BUF_H
#define PENSIEVE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;  /* always followed by a '\0' once anything was appended; NULL before */
    size_t len;  /* bytes held */
    size_t cap;  /* bytes allocated */
    size_t max;  /* bytes it may hold at most */
    bool failed; /* an append was refused */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_deinit(struct buf *b); /* frees; the buffer may be used again */
void buf_clear(struct buf *b);  /* keeps the memory, forgets the failure */

bool buf_reserve(struct buf *b, size_t n_more); /* room for n_more bytes, or false and failed */
bool buf_append(struct buf *b, const void *bytes, size_t n_bytes);
bool buf_puts(struct buf *b, const char *text);
bool buf_putc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_truncate(struct buf *b, size_t n_bytes); /* keeps the first n_bytes <= len */
void buf_consume(struct buf *b, size_t n_bytes); /* drops bytes from the front */
char *buf_steal(struct buf *b, size_t *n_bytes); /* hands over the heap block (free()), or NULL */

static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

#endif
