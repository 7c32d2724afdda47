/* Finds any of several byte strings in a stream, and knows at each byte how much of the stream's
 * end may still become one of them (Knuth, Morris and Pratt, for each string). Knows nothing of
 * what the strings mean. */
#ifndef PENSIEVE_CHAT_MATCHER_H
#define PENSIEVE_CHAT_MATCHER_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct matcher_pattern {
    const char *bytes;
    uint32_t n, n_matched;
    uint32_t *fallback; /* [n]: by how much to go on when the next byte does not fit */
};

struct matcher {
    struct matcher_pattern *patterns;
    size_t n_patterns;
};

/* patterns are added up to n_max, in the order in which they win when several end at once. Their
 * bytes are borrowed; memory is the arena's. */
bool matcher_init(struct matcher *m, struct arena *arena, size_t n_max);
bool matcher_add(struct matcher *m, struct arena *arena, const char *bytes, size_t n); /* n > 0 */
void matcher_reset(struct matcher *m);

/* The index of a pattern that ends with this byte, or -1. After a match, reset. */
int matcher_byte(struct matcher *m, char c);
/* Bytes at the stream's end that may be the beginning of a pattern. */
size_t matcher_pending(const struct matcher *m);
size_t matcher_length(const struct matcher *m, int pattern);

#endif
