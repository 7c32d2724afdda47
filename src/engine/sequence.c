#include "engine/sequence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool sequence_init(struct sequence *s, const int32_t *tokens, uint32_t n_tokens, uint32_t n_more)
{
    *s = (struct sequence){.n_tokens = n_tokens, .cap_tokens = n_tokens + n_more};
    s->cap_pages = sequence_pages_for(s->cap_tokens);
    s->tokens = malloc(s->cap_tokens * sizeof *s->tokens);
    s->pages = malloc(s->cap_pages * sizeof *s->pages);
    if (!s->tokens || !s->pages) {
        free(s->tokens);
        free(s->pages);
        return false;
    }
    memcpy(s->tokens, tokens, n_tokens * sizeof *tokens);
    return true;
}

void sequence_deinit(struct sequence *s, struct kv_pages *pool)
{
    sequence_drop_pages(s, pool);
    free(s->tokens);
    free(s->pages);
    *s = (struct sequence){0};
}

void sequence_push(struct sequence *s, int32_t token)
{
    assert(s->n_tokens < s->cap_tokens);
    s->tokens[s->n_tokens++] = token;
}

void sequence_drop_pages(struct sequence *s, struct kv_pages *pool)
{
    for (uint32_t i = 0; i < s->n_pages; i++)
        kv_pages_release(pool, s->pages[i]);
    s->n_pages = 0;
    s->n_computed = 0;
}

void sequence_truncate(struct sequence *s, struct kv_pages *pool, uint32_t n_tokens)
{
    if (s->n_tokens > n_tokens)
        s->n_tokens = n_tokens;
    if (s->n_computed > n_tokens)
        s->n_computed = n_tokens;
    while (s->n_pages > sequence_pages_for(s->n_tokens))
        kv_pages_release(pool, s->pages[--s->n_pages]);
}

void sequence_shrink(struct sequence *s)
{
    int32_t *tokens = s->n_tokens ? realloc(s->tokens, s->n_tokens * sizeof *tokens) : NULL;
    if (tokens) {
        s->tokens = tokens;
        s->cap_tokens = s->n_tokens;
    }
}

uint32_t sequence_match(const struct sequence *s, const int32_t *tokens, uint32_t n_tokens)
{
    uint32_t most = s->n_computed < n_tokens ? s->n_computed : n_tokens, n = 0;
    while (n < most && s->tokens[n] == tokens[n])
        n++;
    return n;
}

bool sequence_adopt(struct sequence *s, const struct sequence *from, uint32_t n_tokens,
                    struct kv_pages *pool, struct backend *be)
{
    assert(!s->n_pages && n_tokens <= from->n_computed);
    uint32_t n_whole = n_tokens / BACKEND_PAGE_TOKENS, rest = n_tokens % BACKEND_PAGE_TOKENS;
    for (uint32_t i = 0; i < n_whole; i++) {
        kv_pages_share(pool, from->pages[i]);
        s->pages[s->n_pages++] = from->pages[i];
    }
    s->n_computed = n_whole * BACKEND_PAGE_TOKENS;
    if (!rest)
        return true;
    uint32_t page;
    if (!kv_pages_acquire(pool, &page))
        return false;
    be->ops->kv_page_copy(be, page, from->pages[n_whole], rest);
    s->pages[s->n_pages++] = page;
    s->n_computed += rest;
    return true;
}
