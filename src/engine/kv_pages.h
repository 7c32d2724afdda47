/* Who holds which KV page: a pool of page ids with reference counts and a hard budget. The pages'
 * memory is the backend's. Used by the engine's thread alone. */
#ifndef PENSIEVE_ENGINE_KV_PAGES_H
#define PENSIEVE_ENGINE_KV_PAGES_H

#include <stdbool.h>
#include <stdint.h>

struct kv_pages {
    uint32_t *refs; /* [n_pages] holders of each page; 0: free */
    uint32_t *free; /* [n_free] a stack, so that memory once touched is used again first */
    uint32_t n_pages, n_free;
};

bool kv_pages_init(struct kv_pages *pool, uint32_t n_pages);
void kv_pages_deinit(struct kv_pages *pool);

/* A page with one holder, or false when none is free. */
bool kv_pages_acquire(struct kv_pages *pool, uint32_t *page);
void kv_pages_share(struct kv_pages *pool, uint32_t page);   /* one holder more */
void kv_pages_release(struct kv_pages *pool, uint32_t page); /* one holder less */

/* Has it more than one holder? */
static inline bool kv_pages_is_shared(const struct kv_pages *pool, uint32_t page)
{
    return pool->refs[page] > 1;
}

#endif
