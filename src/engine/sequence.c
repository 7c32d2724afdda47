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
        sequence_free(s);
        return false;
    }
    memcpy(s->tokens, tokens, n_tokens * sizeof *tokens);
    return true;
}

void sequence_free(struct sequence *s)
{
    free(s->tokens);
    free(s->pages);
    *s = (struct sequence){0};
}

void sequence_deinit(struct sequence *s, struct kv_pages *pool)
{
    sequence_drop_pages(s, pool);
    sequence_free(s);
}

void sequence_push(struct sequence *s, int32_t token)
{
    assert(s->n_tokens < s->cap_tokens);
    s->tokens[s->n_tokens++] = token;
}

void sequence_drop_pages(struct sequence *s, struct kv_pages *pool)
{
    for (uint32_t i = s->first_page; i < s->n_pages; i++)
        kv_pages_release(pool, s->pages[i]);
    s->n_pages = s->first_page = 0;
    s->n_computed = 0;
}

/* The last one goes, if it is still there. */
static void drop_last(struct sequence *s, struct kv_pages *pool)
{
    if (--s->n_pages < s->first_page)
        s->first_page = s->n_pages;
    else
        kv_pages_release(pool, s->pages[s->n_pages]);
}

void sequence_truncate(struct sequence *s, struct kv_pages *pool, uint32_t n_tokens)
{
    if (s->n_tokens > n_tokens)
        s->n_tokens = n_tokens;
    if (s->n_computed > n_tokens)
        s->n_computed = n_tokens;
    while (s->n_pages > sequence_pages_for(s->n_tokens))
        drop_last(s, pool);
}

void sequence_drop_last_page(struct sequence *s, struct kv_pages *pool)
{
    drop_last(s, pool);
    if (s->n_computed > s->n_pages * BACKEND_PAGE_TOKENS)
        s->n_computed = s->n_pages * BACKEND_PAGE_TOKENS;
}

void sequence_slide(struct sequence *s, struct kv_pages *pool, uint32_t first)
{
    assert(first <= s->cap_pages);
    for (; s->first_page < first; s->first_page++) {
        if (s->first_page < s->n_pages)
            kv_pages_release(pool, s->pages[s->first_page]);
        else
            s->n_pages++;
        s->pages[s->first_page] = BACKEND_NO_PAGE;
    }
}
