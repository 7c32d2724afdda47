/* Memory that lives as long as one piece of work (a request, a parse): allocate freely, free all at
 * once. Bounded by a ceiling. Not thread-safe. */
#ifndef PENSIEVE_BASE_ARENA_H
#define PENSIEVE_BASE_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used_bytes; /* handed out, over all blocks */
    size_t max_bytes;
};

void arena_init(struct arena *a, size_t max_bytes);
void arena_deinit(struct arena *a);

/* Zeroed memory aligned for any type, or NULL past the ceiling or out of memory. */
void *arena_alloc(struct arena *a, size_t n_bytes);
/* n items of size bytes; NULL on overflow too. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* A terminated copy of n bytes. */
char *arena_copy(struct arena *a, const char *text, size_t n);

#endif
