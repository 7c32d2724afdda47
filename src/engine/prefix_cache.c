#include "engine/prefix_cache.h"

#include <string.h>

static void remove_at(struct prefix_cache *cache, uint32_t i, struct kv_pages *pool)
{
    sequence_deinit(&cache->entries[i], pool);
    cache->n--;
    memmove(&cache->entries[i], &cache->entries[i + 1], (cache->n - i) * sizeof *cache->entries);
}

static void move_to_front(struct prefix_cache *cache, uint32_t i)
{
    struct sequence moved = cache->entries[i];
    memmove(&cache->entries[1], &cache->entries[0], i * sizeof *cache->entries);
    cache->entries[0] = moved;
}

void prefix_cache_deinit(struct prefix_cache *cache, struct kv_pages *pool)
{
    while (prefix_cache_evict(cache, pool))
        ;
}

void prefix_cache_keep(struct prefix_cache *cache, struct sequence *s, struct kv_pages *pool)
{
    sequence_truncate(s, pool, s->n_computed);
    if (!s->n_tokens) {
        sequence_deinit(s, pool);
        return;
    }
    for (uint32_t i = 0; i < cache->n; i++) {
        const struct sequence *entry = &cache->entries[i];
        uint32_t n_match = sequence_match(entry, s->tokens, s->n_tokens);
        if (n_match == s->n_tokens) { /* the entry says all of it, and maybe more */
            sequence_deinit(s, pool);
            move_to_front(cache, i);
            return;
        }
        if (n_match == entry->n_tokens)
            remove_at(cache, i--, pool);
    }
    if (cache->n == PREFIX_CACHE_ENTRIES)
        prefix_cache_evict(cache, pool);
    sequence_shrink(s);
    cache->entries[cache->n++] = *s;
    move_to_front(cache, cache->n - 1);
    *s = (struct sequence){0};
}

const struct sequence *prefix_cache_find(struct prefix_cache *cache, const int32_t *tokens,
                                         uint32_t n_tokens, uint32_t *n_match)
{
    uint32_t best = 0;
    *n_match = 0;
    for (uint32_t i = 0; i < cache->n; i++) {
        uint32_t n = sequence_match(&cache->entries[i], tokens, n_tokens);
        if (n > *n_match) {
            *n_match = n;
            best = i;
        }
    }
    if (!*n_match)
        return NULL;
    move_to_front(cache, best);
    return &cache->entries[0];
}

bool prefix_cache_evict(struct prefix_cache *cache, struct kv_pages *pool)
{
    if (!cache->n)
        return false;
    sequence_deinit(&cache->entries[--cache->n], pool);
    return true;
}
