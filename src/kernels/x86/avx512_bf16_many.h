/* The way of MANY queries through a run of pages (avx512_bf16_attend.c): they are the lanes. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_BF16_MANY_H
#define PENSIEVE_KERNELS_X86_AVX512_BF16_MANY_H

#include "kernels/x86/avx512_bf16_page.h"

#include <string.h>

struct many {
    uint32_t *q;  /* [padded / 2][LANES] pairs */
    float *s;     /* [P][LANES] scores; of codes then p */
    uint32_t *p;  /* [PAIRS][LANES] pairs of p; of numbers in the place of s */
    float *o;     /* [head_dim][LANES] */
    __m512 m[2], l[2];
    __m512i from[2], to[2]; /* keys seen in the page at hand */
    int least, most;        /* over all lanes */
    bool whole;             /* all lanes see the page whole */
};

/* Scores of BLOCK keys from `key` on: pairs of dimensions [begin, end); codes' are added up over
 * the blocks. */
INLINE void many_scores(const struct many *t, const struct page *page, size_t begin, size_t end,
                        size_t key, const int width, const bool scaled)
{
    __m512 acc[2][BLOCK];
    UNROLL
    for (int j = 0; j < BLOCK; j++)
        acc[0][j] = acc[1][j] = _mm512_setzero_ps();
    const uint32_t *k = page->k + begin * P + key, *q = t->q + begin * LANES;
    for (size_t i = begin; i < end; i++, k += P, q += LANES) {
        __m512i x[2];
        UNROLL
        for (int w = 0; w < width; w++)
            x[w] = _mm512_load_si512(q + 16 * w);
        UNROLL
        for (int j = 0; j < BLOCK; j++) {
            __m512i pair = _mm512_set1_epi32((int)k[j]);
            UNROLL
            for (int w = 0; w < width; w++)
                acc[w][j] = dot_pairs(acc[w][j], x[w], pair);
        }
    }
    const float *scales = scaled ? page->k_scales + begin / BLOCK_PAIRS * P + key : NULL;
    UNROLL
    for (int j = 0; j < BLOCK; j++) {
        UNROLL
        for (int w = 0; w < width; w++) {
            float *to = t->s + (key + (size_t)j) * LANES + 16 * w;
            _mm512_store_ps(to, scaled ? scaled_sum(acc[w][j], _mm512_set1_ps(scales[j]), to,
                                                    !begin)
                                       : acc[w][j]);
        }
    }
}

/* The lanes that see `key`. */
INLINE __mmask16 many_seen(const struct many *t, int key, int w)
{
    __m512i k = _mm512_set1_epi32(key);
    return _mm512_cmple_epi32_mask(t->from[w], k) & _mm512_cmplt_epi32_mask(k, t->to[w]);
}

/* The largest score of keys [begin, end). */
INLINE __m512 many_most(const struct many *t, int begin, int end, int w, const bool whole)
{
    __m512 most[4];
    for (int j = 0; j < 4; j++)
        most[j] = _mm512_set1_ps(-__builtin_inff());
    for (int key = begin; key < end; key += 4) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512 s = _mm512_load_ps(t->s + (key + j) * LANES + 16 * w);
            most[j] = whole ? _mm512_max_ps(most[j], s)
                            : _mm512_mask_max_ps(most[j], many_seen(t, key + j, w), most[j], s);
        }
    }
    return _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
}

/* Scores of keys [begin, end) to pairs of p, and codes' to p in place, too. */
INLINE void many_weights(const struct many *t, int begin, int end, int w, __m512 scale,
                         __m512 shift, const bool whole, const bool scaled)
{
    for (int key = begin; key < end; key += 2) {
        __m512 p[2];
        UNROLL
        for (int j = 0; j < 2; j++) {
            float *s = t->s + (key + j) * LANES + 16 * w;
            p[j] = weight(_mm512_fmadd_ps(_mm512_load_ps(s), scale, shift));
            if (!whole)
                p[j] = _mm512_maskz_mov_ps(many_seen(t, key + j, w), p[j]);
            if (scaled)
                _mm512_store_ps(s, p[j]);
        }
        _mm512_store_si512(t->p + key / 2 * LANES + 16 * w, interleave_bf16(p[0], p[1]));
    }
}

/* Pairs of p times the scales of a block's values. */
INLINE void many_scale(const struct many *t, const float *scales, int begin, int end,
                       const int width)
{
    for (int key = begin; key < end; key += 2) {
        UNROLL
        for (int w = 0; w < width; w++) {
            const float *s = t->s + key * LANES + 16 * w;
            __m512 even = _mm512_mul_ps(_mm512_load_ps(s), _mm512_set1_ps(scales[key]));
            __m512 odd =
                _mm512_mul_ps(_mm512_load_ps(s + LANES), _mm512_set1_ps(scales[key + 1]));
            _mm512_store_si512(t->p + key / 2 * LANES + 16 * w, interleave_bf16(even, odd));
        }
    }
}

/* The sums of p. */
INLINE __m512 many_sum(const struct many *t, int w)
{
    const __m512i ones = _mm512_set1_epi32(0x3f803f80);
    const uint32_t *pairs = t->p + 16 * w;
    __m512 a[16];
    UNROLL
    for (int i = 0; i < 16; i++) {
        a[i] = dot_pairs(_mm512_setzero_ps(), _mm512_load_si512(pairs + i * LANES), ones);
        a[i] = dot_pairs(a[i], _mm512_load_si512(pairs + (i + 16) * LANES), ones);
    }
    UNROLL
    for (int width = 8; width; width /= 2) {
        UNROLL
        for (int i = 0; i < width; i++)
            a[i] = _mm512_add_ps(a[i], a[i + width]);
    }
    return a[0];
}

/* o = o * fade + p . v for n <= BLOCK dimensions from d on, pairs of keys [begin, end). */
INLINE void many_weigh(const struct many *t, const struct page *page, size_t head_dim, size_t d,
                       const int n, int begin, int end, const __m512 *fade, const int width)
{
    __m512 acc[2][BLOCK];
    float *o = t->o + d * LANES;
    UNROLL
    for (int j = 0; j < n; j++) {
        UNROLL
        for (int w = 0; w < width; w++)
            acc[w][j] = _mm512_mul_ps(_mm512_load_ps(o + j * LANES + 16 * w), fade[w]);
    }
    const uint32_t *v = page->v + (size_t)begin * head_dim + d;
    const uint32_t *p = t->p + begin * LANES;
    for (int i = begin; i < end; i++, v += head_dim, p += LANES) {
        __m512i x[2];
        UNROLL
        for (int w = 0; w < width; w++)
            x[w] = _mm512_load_si512(p + 16 * w);
        UNROLL
        for (int j = 0; j < n; j++) {
            __m512i pair = _mm512_set1_epi32((int)v[j]);
            UNROLL
            for (int w = 0; w < width; w++)
                acc[w][j] = dot_pairs(acc[w][j], x[w], pair);
        }
    }
    UNROLL
    for (int j = 0; j < n; j++) {
        UNROLL
        for (int w = 0; w < width; w++)
            _mm512_store_ps(o + j * LANES + 16 * w, acc[w][j]);
    }
}

/* Dimensions [d, stop), pairs of keys [begin, end). */
INLINE void many_outputs(const struct many *t, const struct page *page, size_t head_dim, size_t d,
                         size_t stop, int begin, int end, const __m512 *fade, const int width)
{
    for (; d + BLOCK <= stop; d += BLOCK)
        many_weigh(t, page, head_dim, d, BLOCK, begin, end, fade, width);
    for (; d < stop; d++)
        many_weigh(t, page, head_dim, d, 1, begin, end, fade, width);
}

/* One page; c is dot(q, the page's first key) of each lane. */
INLINE void many_page(struct many *t, const struct page *page, size_t head_dim, float scale,
                      const __m512 *c, const int width, const bool scaled)
{
    const int begin = t->least / BLOCK * BLOCK, end = (t->most + BLOCK - 1) / BLOCK * BLOCK;
    const size_t n_pairs = (head_dim + 1) / 2;
    const __m512 by = _mm512_set1_ps(scale);
    __m512 fade[2];
    for (size_t i = 0; i < n_pairs; i += scaled ? BLOCK_PAIRS : n_pairs) {
        const size_t stop = scaled && i + BLOCK_PAIRS < n_pairs ? i + BLOCK_PAIRS : n_pairs;
        for (int key = begin; key < end; key += BLOCK)
            many_scores(t, page, i, stop, (size_t)key, width, scaled);
    }
    UNROLL
    for (int w = 0; w < width; w++) {
        __m512 most = t->whole ? many_most(t, begin, end, w, true)
                               : many_most(t, begin, end, w, false);
        __m512 shift = _mm512_mul_ps(c[w], by);
        most = _mm512_max_ps(t->m[w], _mm512_fmadd_ps(most, by, shift));
        fade[w] = power(_mm512_sub_ps(t->m[w], most));
        t->m[w] = most;
        shift = _mm512_sub_ps(shift, most);
        if (t->whole)
            many_weights(t, begin, end, w, by, shift, true, scaled);
        else
            many_weights(t, begin, end, w, by, shift, false, scaled);
        for (int i = 0; i < PAIRS; i++)
            if (i < begin / 2 || i >= end / 2)
                _mm512_store_si512(t->p + i * LANES + 16 * w, _mm512_setzero_si512());
        t->l[w] = _mm512_add_ps(_mm512_mul_ps(t->l[w], fade[w]), many_sum(t, w));
    }
    if (!scaled) {
        many_outputs(t, page, head_dim, 0, head_dim, begin / 2, end / 2, fade, width);
        return;
    }
    for (size_t b = 0; b * QUANTIZED_BLOCK < head_dim; b++) {
        const size_t d = b * QUANTIZED_BLOCK;
        many_scale(t, page->v_scales + b * P, begin, end, width);
        many_outputs(t, page, head_dim, d, d + block_dims(head_dim, b), begin / 2, end / 2, fade,
                     width);
    }
}

/* The run's query of a lane; lanes past the last one repeat it. */
INLINE size_t many_query(const struct kernels_run *run, size_t first, size_t lane)
{
    return first + lane < run->n ? first + lane : run->n - 1;
}

INLINE void many_load(struct many *t, const struct kernels_run *run, size_t first, const int width)
{
    for (size_t w = 0; w < (size_t)width; w++) {
        for (size_t d = 0; d < run->head_dim; d += 32) {
            __m512i r[16];
            UNROLL
            for (size_t i = 0; i < 16; i++)
                r[i] = query_pairs(run->q[many_query(run, first, 16 * w + i)], run->head_dim, d);
            transpose(r);
            UNROLL
            for (size_t i = 0; i < 16; i++)
                if (d / 2 + i < padded(run->head_dim) / 2)
                    _mm512_store_si512(t->q + (d / 2 + i) * LANES + 16 * w, r[i]);
        }
        t->m[w] = _mm512_set1_ps(KERNELS_NOTHING);
        t->l[w] = _mm512_setzero_ps();
    }
    memset(t->o, 0, run->head_dim * LANES * sizeof *t->o);
}

INLINE void many_store(const struct many *t, const struct kernels_run *run, size_t first,
                       const int width)
{
    for (size_t w = 0; w < (size_t)width && first + 16 * w < run->n; w++) {
        const size_t at = first + 16 * w, n = run->n - at < 16 ? run->n - at : 16;
        _mm512_mask_storeu_ps(run->m + at, first_lanes(n), t->m[w]);
        _mm512_mask_storeu_ps(run->l + at, first_lanes(n), t->l[w]);
        for (size_t d = 0; d < run->head_dim; d += 16) {
            __m512i r[16];
            __mmask16 lanes = first_lanes(run->head_dim - d);
            UNROLL
            for (size_t i = 0; i < 16; i++)
                r[i] = d + i < run->head_dim
                           ? _mm512_load_si512(t->o + (d + i) * LANES + 16 * w)
                           : _mm512_setzero_si512();
            transpose(r);
            for (size_t i = 0; i < n; i++)
                _mm512_mask_storeu_epi32(run->o[at + i] + d, lanes, r[i]);
        }
    }
}

/* What the lanes see of page i. */
INLINE void many_limits(struct many *t, const struct kernels_run *run, size_t first, size_t i,
                        const int width)
{
    _Alignas(64) int from[LANES], to[LANES];
    t->least = P;
    t->most = 0;
    t->whole = true;
    for (size_t lane = 0; lane < 16 * (size_t)width; lane++) {
        size_t query = many_query(run, first, lane);
        from[lane] = page_limit(run->first[query], i);
        to[lane] = page_limit(run->last[query], i);
        if (from[lane] < to[lane]) {
            t->least = from[lane] < t->least ? from[lane] : t->least;
            t->most = to[lane] > t->most ? to[lane] : t->most;
        }
        t->whole &= from[lane] == 0 && to[lane] == P;
    }
    for (int w = 0; w < width; w++) {
        t->from[w] = _mm512_load_si512(from + 16 * w);
        t->to[w] = _mm512_load_si512(to + 16 * w);
    }
}

INLINE void many(const struct kernels_run *run, const struct page *pages, size_t first,
                 const int width, const bool scaled)
{
    const size_t head_dim = run->head_dim;
    const float scale = run->scale * 0x1.715476p+0f;
    struct many t;
    t.q = run->scratch;
    t.s = (float *)(t.q + padded(head_dim) / 2 * LANES);
    t.o = t.s + P * LANES;
    t.p = scaled ? (uint32_t *)(t.o + head_dim * LANES) : (uint32_t *)t.s;
    many_load(&t, run, first, width);
    for (size_t i = 0; i < run->n_pages; i++) {
        const struct page page = pages[i];
        many_limits(&t, run, first, i, width);
        if (t.least >= t.most)
            continue;
        __m512 c[2];
        for (size_t w = 0; w < (size_t)width; w++) {
            __m512 strands[16];
            UNROLL
            for (size_t lane = 0; lane < 16; lane++)
                strands[lane] = first_strands(run->q[many_query(run, first, 16 * w + lane)],
                                              page.first, head_dim);
            c[w] = sum_each(strands);
        }
        many_page(&t, &page, head_dim, scale, c, width, scaled);
    }
    many_store(&t, run, first, width);
}

#endif
