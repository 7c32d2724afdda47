/* Pages of avx512_bf16_attend.c, and the arithmetic that both ways through them share. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_BF16_PAGE_H
#define PENSIEVE_KERNELS_X86_AVX512_BF16_PAGE_H

#include "kernels/quantized_page.h"
#include "kernels/x86/avx512_bf16_codes.h"
#include "kernels/x86/avx512_float.h"

enum {
    P = KERNELS_WIDE_PAGE,
    PAIRS = P / 2,
    LANES = 32, /* queries of MANY, two registers */
    BLOCK = 8,  /* keys or dimensions of MANY at once: 16 registers of sums */
    BLOCK_PAIRS = QUANTIZED_BLOCK / 2,
    FEW = 4,        /* queries of FEW at once */
    MOST_CODED = 8, /* the same, where pages are codes */
    MOST_FEW = 9,   /* up to so many go that way */
};

/* ---- pages ---- */

static size_t padded(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

struct page {
    const float *first;               /* [padded] */
    const uint32_t *k, *v;            /* [padded / 2][P], [PAIRS][head_dim] */
    const float *k_scales, *v_scales; /* [blocks][P] of codes; of numbers NULL */
};

static size_t page_bytes(size_t head_dim)
{
    size_t n = padded(head_dim) * sizeof(float) + padded(head_dim) * P * 2 + head_dim * P * 2;
    return (n + 63) / 64 * 64;
}

static struct page page_at(const void *page, size_t head_dim)
{
    struct page p = {.first = page};
    p.k = (const uint32_t *)(p.first + padded(head_dim));
    p.v = p.k + padded(head_dim) / 2 * P;
    return p;
}

static size_t scratch_bytes(size_t head_dim)
{
    return (padded(head_dim) / 2 + P + head_dim) * LANES * sizeof(float);
}

/* ---- pages of codes: unpacked behind the scratch memory of MANY ---- */

static size_t unpacked_offset(size_t head_dim)
{
    return scratch_bytes(head_dim) + PAIRS * LANES * sizeof(uint32_t); /* its pairs of p */
}

static size_t unpacked_bytes(size_t head_dim)
{
    const size_t n = padded(head_dim) / 2 * P + PAIRS * head_dim; /* pairs */
    return (n + 2 * quantized_page_blocks(head_dim) * P) * sizeof(uint32_t);
}

INLINE void pairs_of_codes(const uint8_t *codes, size_t n, const size_t pair_bytes, __m512i out[2])
{
    if (pair_bytes == 2)
        bf16_pairs_of_bytes(codes, n, out);
    else
        bf16_pairs_of_nibbles(codes, n, out);
}

/* The codes as numbers, and the scales apart from them. */
INLINE struct page unpack(const void *memory, size_t head_dim, const size_t pair_bytes,
                          void *to)
{
    const struct quantized_page p = quantized_page_at(memory, head_dim, pair_bytes);
    uint32_t *k = to, *v = k + p.padded / 2 * P;
    float *scales = (float *)(v + PAIRS * head_dim);
    __m512i pairs[2];
    for (size_t i = 0; i < p.padded / 2 * P; i += 32) {
        pairs_of_codes(p.k + i * pair_bytes, 32, pair_bytes, pairs);
        _mm512_store_si512(k + i, pairs[0]);
        _mm512_store_si512(k + i + 16, pairs[1]);
    }
    for (size_t i = 0; i < PAIRS; i++) {
        for (size_t d = 0; d < head_dim; d += 32) {
            const size_t n = head_dim - d;
            uint32_t *row = v + i * head_dim + d;
            pairs_of_codes(p.v + (i * p.padded + d) * pair_bytes, n, pair_bytes, pairs);
            _mm512_mask_storeu_epi32(row, first_lanes(n), pairs[0]);
            if (n > 16)
                _mm512_mask_storeu_epi32(row + 16, first_lanes(n - 16), pairs[1]);
        }
    }
    /* the values' follow the keys' on both sides */
    for (size_t i = 0; i < 2 * p.blocks * P; i += 16)
        _mm512_store_ps(scales + i,
                        _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p.k_scales + i))));
    return (struct page){p.first, k, v, scales, scales + p.blocks * P};
}

/* ---- the arithmetic ---- */

INLINE __m512 dot_pairs(__m512 acc, __m512i a, __m512i b)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

/* Both rounded to bfloat16: even lanes' words from `low`, odd ones from `high`. */
INLINE __m512i interleave_bf16(__m512 low, __m512 high)
{
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* How many dimensions a block has. */
INLINE size_t block_dims(size_t head_dim, size_t b)
{
    const size_t left = head_dim - b * QUANTIZED_BLOCK;
    return left < QUANTIZED_BLOCK ? left : QUANTIZED_BLOCK;
}

/* Scores of a block of codes: their sum times the scale, beside what there is from earlier ones. */
INLINE __m512 scaled_sum(__m512 sum, __m512 scale, const float *s, bool is_first)
{
    return _mm512_fmadd_ps(sum, scale, is_first ? _mm512_setzero_ps() : _mm512_load_ps(s));
}

/* 2^x for what will be rounded to bfloat16: within 8e-5. x is at most a little above 0. */
INLINE __m512 weight(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(0.05517167f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24261115f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693261f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.99992807f));
    return _mm512_scalef_ps(p, n);
}

/* 2^x within 2 ulp, for factors of whole sums; 0 for what is far below. */
INLINE __m512 power(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-200.0f));
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_mul_ps(_mm512_sub_ps(x, n), _mm512_set1_ps(0x1.62e43p-1f));
    return _mm512_scalef_ps(exp_series(r), n);
}

/* Lanes of the result: the sums of 16 registers' lanes, each by sum_lanes' tree. */
INLINE __m512 sum_each(const __m512 *a)
{
    __m512 b[8], c[4], d[2];
    UNROLL
    for (int i = 0; i < 8; i++) /* i and i + 8; halves */
        b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 8], 0x44),
                             _mm512_shuffle_f32x4(a[i], a[i + 8], 0xee));
    UNROLL
    for (int i = 0; i < 4; i++) /* and i + 4; quarters */
        c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[i], b[i + 4], 0x88),
                             _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd));
    /* c[i] = sums of i, i + 8, i + 4, i + 12, four lanes each */
    UNROLL
    for (int i = 0; i < 2; i++)
        d[i] = _mm512_add_ps(_mm512_shuffle_ps(c[i], c[i + 2], 0x44),
                             _mm512_shuffle_ps(c[i], c[i + 2], 0xee));
    /* d[i] = two lanes each of i, i + 2 in each quarter */
    __m512 e = _mm512_add_ps(_mm512_shuffle_ps(d[0], d[1], 0x88),
                             _mm512_shuffle_ps(d[0], d[1], 0xdd));
    /* quarters hold 0, 2, 1, 3 of c's order */
    const __m512i order = _mm512_set_epi32(15, 13, 14, 12, 7, 5, 6, 4, 11, 9, 10, 8, 3, 1, 2, 0);
    return _mm512_permutexvar_ps(order, e);
}

INLINE void transpose(__m512i *r)
{
    __m512i t[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* The 16 pairs of a query from dimension d on. */
INLINE __m512i query_pairs(const float *q, size_t head_dim, size_t d)
{
    __m512 low = _mm512_maskz_loadu_ps(first_lanes(head_dim - d), q + d);
    __m512 high = d + 16 < head_dim
                      ? _mm512_maskz_loadu_ps(first_lanes(head_dim - d - 16), q + d + 16)
                      : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 16 strands of dot(q, the page's first key). */
INLINE __m512 first_strands(const float *q, const float *first, size_t head_dim)
{
    __m512 acc = _mm512_setzero_ps();
    for (size_t d = 0; d < head_dim; d += 16)
        acc = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(first_lanes(head_dim - d), q + d),
                              _mm512_loadu_ps(first + d), acc);
    return acc;
}

/* Where a query's keys begin and end in page i of the run. */
INLINE int page_limit(size_t limit, size_t i)
{
    return (int)kernels_page_limit(limit, i);
}

#endif
