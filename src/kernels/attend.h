/* Attention's part of the kernel table: what a page of keys and values is, and what is asked of it.
 * Included by kernels.h. */
#ifndef PENSIEVE_KERNELS_ATTEND_H
#define PENSIEVE_KERNELS_ATTEND_H

#include "base/hostile.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KERNELS_WIDE_PAGE = 64, /* what the tiers' own attention is made for, and nothing else */
    KERNELS_PAGE_TOKENS = HOSTILE ? 4 : KERNELS_WIDE_PAGE, /* positions of a page */
    KERNELS_RUN_PAGES = 8, /* pages that attention takes at once */
};

/* Some queries over a run of pages. The results of a query are its softmax over the keys it sees:
 * o = sum of exp(score - most) * v, l = sum of exp(score - most), and m, which tells attend_merge
 * about `most` in a measure of the tier's own; KERNELS_NOTHING, 0, 0 when it sees no key. */
struct kernels_run {
    const void *pages[KERNELS_RUN_PAGES]; /* [n_pages] */
    size_t n_pages, head_dim;
    const void *next; /* what will be read after these pages, worth fetching early; or NULL */
    float scale; /* of the scores; above 0 */
    size_t n;
    const float *const *q;        /* [n] -> [head_dim] */
    const uint16_t *first, *last; /* [n] it sees keys [first, last) of the run's n_pages * 64 */
    float *const *o;              /* [n] -> [head_dim] */
    float *m, *l;                 /* [n] */
    void *scratch;                /* scratch_bytes, aligned to 64 */
};

#define KERNELS_NOTHING (-0x1p127f)

/* A limit of the keys of a run within its page i. */
static inline size_t kernels_page_limit(size_t limit, size_t i)
{
    limit = limit > i * KERNELS_PAGE_TOKENS ? limit - i * KERNELS_PAGE_TOKENS : 0;
    return limit < KERNELS_PAGE_TOKENS ? limit : KERNELS_PAGE_TOKENS;
}

enum kernels_kv_type {
    KERNELS_KV_F16,  /* 16 bits: f16, or what the tier likes better */
    KERNELS_KV_Q8_0, /* quantized_page.h */
    KERNELS_KV_Q4_0,
    KERNELS_KV_N_TYPES,
};

/* Keys and values of one KV head for 64 positions are a page, aligned to 64 bytes. What lies in it
 * where is the tier's choice; only these functions read it. */
struct kernels_kv {
    size_t (*page_bytes)(size_t head_dim); /* a multiple of 64 */
    size_t (*scratch_bytes)(size_t head_dim);
    /* Writes one position. A page is filled in ascending order: slot 0 begins it anew. Values that
     * f16 cannot hold become its largest. */
    void (*store)(void *page, size_t head_dim, size_t slot, const float *k, const float *v);
    /* Scores are dot(q, k) * scale. A query's results depend on its keys alone, not on the queries
     * beside it nor on what else the pages hold. Within 1e-6 of exact; avx512_bf16:
     * 2^-5 of the size of what is summed. */
    void (*attend)(const struct kernels_run *run);
};

#endif
