/* A run of tokens and the KV pages that hold their keys and values. A request computes on one; a
 * finished one is kept as a prefix for later requests. Used by the engine's thread alone. */
#ifndef PENSIEVE_ENGINE_SEQUENCE_H
#define PENSIEVE_ENGINE_SEQUENCE_H

#include "backend/backend.h"
#include "engine/kv_pages.h"

#include <stdbool.h>
#include <stdint.h>

struct sequence {
    int32_t *tokens; /* [n_tokens], room for cap_tokens */
    uint32_t n_tokens, cap_tokens;
    uint32_t n_computed; /* the first of them, whose keys and values are in the pages */
    uint32_t *pages;     /* [n_pages], each held once by this sequence; room for cap_pages */
    uint32_t n_pages, cap_pages;
    uint32_t first_page; /* those before it were given back and are BACKEND_NO_PAGE */
};

/* Pages that n_tokens tokens need. */
static inline uint32_t sequence_pages_for(uint32_t n_tokens)
{
    return (n_tokens + BACKEND_PAGE_TOKENS - 1) / BACKEND_PAGE_TOKENS;
}

/* The first page of which the row at a position sees anything, if it sees `window` positions, its
 * own the last (0: all). */
static inline uint32_t sequence_first_seen(uint32_t position, uint32_t window)
{
    return backend_first_seen(position, window) / BACKEND_PAGE_TOKENS;
}

/* A copy of tokens[n_tokens], no pages, with room for n_more tokens. False: out of memory. */
bool sequence_init(struct sequence *s, const int32_t *tokens, uint32_t n_tokens, uint32_t n_more);
void sequence_deinit(struct sequence *s, struct kv_pages *pool); /* gives its pages back */
void sequence_free(struct sequence *s);                          /* one that holds none */

void sequence_push(struct sequence *s, int32_t token); /* within the room */
void sequence_drop_pages(struct sequence *s, struct kv_pages *pool);
void sequence_drop_last_page(struct sequence *s, struct kv_pages *pool);
/* Gives back the pages before page `first`, which need not be there yet. */
void sequence_slide(struct sequence *s, struct kv_pages *pool, uint32_t first);

/* Forgets the tokens after the first n_tokens, and gives back every page that the rest does not
 * need. */
void sequence_truncate(struct sequence *s, struct kv_pages *pool, uint32_t n_tokens);

#endif
