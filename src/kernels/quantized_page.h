/* Where things lie in a page of q8_0 or q4_0: the same in every tier, and written by the same code
 * (scalar_attend.c). Knows nothing of how they are computed with.
 *
 * Keys are stored as differences from the page's first one, which is kept as it is: what the keys
 * have in common costs no accuracy. A block of up to 32 dimensions of one key or value has one
 * scale (f16). Codes are pairs, so that two numbers that are multiplied together lie together:
 * keys [pair of dimensions][64 keys], values [pair of keys][dimensions]; a pair is two signed bytes
 * (q8_0), or one byte of which the lower half is the first number plus 8 (q4_0). */
#ifndef PENSIEVE_KERNELS_QUANTIZED_PAGE_H
#define PENSIEVE_KERNELS_QUANTIZED_PAGE_H

#include "kernels/attend.h"

enum { QUANTIZED_BLOCK = 32 };

struct quantized_page {
    float *first;        /* [padded] */
    uint16_t *k_scales;  /* [blocks][64 keys] */
    uint16_t *v_scales;  /* the same */
    uint8_t *k;          /* [padded / 2][64 keys] pairs */
    uint8_t *v;          /* [pairs of keys][padded] pairs */
    size_t padded, blocks; /* dimensions to a multiple of 16; blocks of one key */
    size_t pair_bytes;
};

static inline size_t quantized_page_padded(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

static inline size_t quantized_page_blocks(size_t head_dim)
{
    return (head_dim + QUANTIZED_BLOCK - 1) / QUANTIZED_BLOCK;
}

static inline struct quantized_page quantized_page_at(const void *page, size_t head_dim,
                                                      size_t pair_bytes)
{
    struct quantized_page p = {.first = (float *)(uintptr_t)page, .pair_bytes = pair_bytes};
    p.padded = quantized_page_padded(head_dim);
    p.blocks = quantized_page_blocks(head_dim);
    p.k_scales = (uint16_t *)(p.first + p.padded);
    p.v_scales = p.k_scales + p.blocks * KERNELS_PAGE_TOKENS;
    p.k = (uint8_t *)(p.v_scales + p.blocks * KERNELS_PAGE_TOKENS);
    p.v = p.k + p.padded / 2 * KERNELS_PAGE_TOKENS * pair_bytes;
    return p;
}

static inline size_t quantized_page_bytes(size_t head_dim, size_t pair_bytes)
{
    const size_t padded = quantized_page_padded(head_dim);
    const size_t blocks = quantized_page_blocks(head_dim);
    return padded * sizeof(float) + 2 * blocks * KERNELS_PAGE_TOKENS * sizeof(uint16_t) +
           padded * KERNELS_PAGE_TOKENS * pair_bytes;
}

#endif
