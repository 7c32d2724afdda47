/* What earlier requests computed, kept until its pages are needed: a list of sequences, least
 * recently used last. Used by the engine's thread alone. */
#ifndef PENSIEVE_ENGINE_PREFIX_CACHE_H
#define PENSIEVE_ENGINE_PREFIX_CACHE_H

#include "engine/sequence.h"

enum { PREFIX_CACHE_ENTRIES = 64 };

struct prefix_cache {
    struct sequence entries[PREFIX_CACHE_ENTRIES]; /* [n], most recently used first */
    uint32_t n;
};

void prefix_cache_deinit(struct prefix_cache *cache, struct kv_pages *pool);

/* Takes the sequence over, cut to what was computed. An entry that it continues goes, and so does
 * it where an entry continues it. */
void prefix_cache_keep(struct prefix_cache *cache, struct sequence *s, struct kv_pages *pool);

/* The entry that shares the longest computed prefix with tokens[n_tokens] (moved to the front), or
 * NULL; *n_match is that length. */
const struct sequence *prefix_cache_find(struct prefix_cache *cache, const int32_t *tokens,
                                         uint32_t n_tokens, uint32_t *n_match);

/* Gives up the least recently used entry. False when there is none. */
bool prefix_cache_evict(struct prefix_cache *cache, struct kv_pages *pool);

#endif
