/* Of many things the one whose last use is the longest ago: a binary heap of what stands in its
 * owner. Knows nothing of what is used. */
#ifndef PENSIEVE_ENGINE_USE_HEAP_H
#define PENSIEVE_ENGINE_USE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct use_heap_item {
    uint64_t n_use; /* rises with each use; while it is in the heap, by use_heap_use alone */
    size_t place;   /* of it in the heap, from 1 on; 0: it is in none */
};

struct use_heap { /* all zero at first */
    struct use_heap_item **items; /* [n], the first is the least recently used; room for cap */
    size_t n, cap;
};

void use_heap_deinit(struct use_heap *h);

/* Makes room for n items in all. False: out of memory, and there is the room that there was. */
bool use_heap_reserve(struct use_heap *h, size_t n);
/* Within the room. All take a logarithm of steps. */
void use_heap_add(struct use_heap *h, struct use_heap_item *item);
void use_heap_remove(struct use_heap *h, struct use_heap_item *item);
void use_heap_use(struct use_heap *h, struct use_heap_item *item, uint64_t n_use); /* any item */

/* NULL: it is empty. */
struct use_heap_item *use_heap_least(const struct use_heap *h);

#endif
