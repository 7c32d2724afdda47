#include "engine/kv_pages.h"

#include <assert.h>
#include <stdlib.h>

bool kv_pages_init(struct kv_pages *pool, uint32_t n_pages)
{
    *pool = (struct kv_pages){.n_pages = n_pages, .n_free = n_pages};
    pool->refs = calloc(n_pages, sizeof *pool->refs);
    pool->free = calloc(n_pages, sizeof *pool->free);
    if (!pool->refs || !pool->free) {
        kv_pages_deinit(pool);
        return false;
    }
    for (uint32_t i = 0; i < n_pages; i++)
        pool->free[i] = n_pages - 1 - i; /* page 0 on top */
    return true;
}

void kv_pages_deinit(struct kv_pages *pool)
{
    free(pool->refs);
    free(pool->free);
    *pool = (struct kv_pages){0};
}

bool kv_pages_acquire(struct kv_pages *pool, uint32_t *page)
{
    if (!pool->n_free)
        return false;
    *page = pool->free[--pool->n_free];
    pool->refs[*page] = 1;
    return true;
}

void kv_pages_share(struct kv_pages *pool, uint32_t page)
{
    assert(page < pool->n_pages && pool->refs[page]);
    pool->refs[page]++;
}

void kv_pages_release(struct kv_pages *pool, uint32_t page)
{
    assert(page < pool->n_pages && pool->refs[page]);
    if (!--pool->refs[page])
        pool->free[pool->n_free++] = page;
}
