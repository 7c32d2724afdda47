/* The way of FEW queries through a run of pages (avx512_bf16_attend.c): keys and dimensions are the
 * lanes. Codes are looked up in registers and never leave them. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_BF16_FEW_H
#define PENSIEVE_KERNELS_X86_AVX512_BF16_FEW_H

#include "kernels/x86/avx512_bf16_page.h"

#include <string.h>

/* The page after this one, fetched into the second cache bit by bit while this one is computed:
 * the memory's time passes beside the arithmetic's. */
struct ahead {
    const char *at;
    size_t n_bytes; /* that are left */
    size_t step;    /* so much at once */
};

INLINE void fetch(struct ahead *a)
{
    if (!a->at || a->n_bytes < a->step)
        return;
    for (size_t i = 0; i < a->step; i += 64)
        _mm_prefetch(a->at + i, _MM_HINT_T1);
    a->at += a->step;
    a->n_bytes -= a->step;
}

/* What is known of the queries while they go through a page. */
struct few {
    uint32_t *q;                           /* [n][padded / 2] pairs */
    _Alignas(64) float s[MOST_FEW][P];     /* scores; of codes then p */
    _Alignas(64) uint32_t p[MOST_FEW][PAIRS];
    _Alignas(64) float fade[16], shift[16];
    __mmask64 seen[MOST_FEW];
    int begin, end; /* keys that any sees */
};

/* Scores of n queries from `first` on. */
INLINE void few_scores(struct few *t, const struct page *page, struct ahead *ahead,
                       size_t head_dim, size_t first, const size_t n)
{
    const size_t width = padded(head_dim) / 2;
    const uint32_t *k = page->k, *q = t->q + first * width;
    __m512 s[FEW][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            s[i][j] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < (head_dim + 1) / 2; d++, k += P) {
        __m512i keys[4];
        fetch(ahead);
        UNROLL
        for (int j = 0; j < 4; j++)
            keys[j] = _mm512_loadu_si512(k + 16 * j);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)q[i * width + d]);
            UNROLL
            for (int j = 0; j < 4; j++)
                s[i][j] = dot_pairs(s[i][j], x, keys[j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            _mm512_store_ps(t->s[first + i] + 16 * j, s[i][j]);
    }
}

/* The same of a page of codes, which never leave the registers: of one block of dimensions, for
 * keys [key, key + 32). */
INLINE void few_coded_scores(struct few *t, const struct quantized_page *page,
                             struct ahead *ahead, size_t head_dim, size_t block, size_t key,
                             size_t first, const size_t n, const size_t pair_bytes)
{
    const size_t width = page->padded / 2, begin = block * BLOCK_PAIRS;
    const size_t end = begin + (block_dims(head_dim, block) + 1) / 2;
    const uint8_t *k = page->k + (begin * P + key) * pair_bytes;
    const uint32_t *q = t->q + first * width;
    __m512 s[MOST_CODED][2];
    UNROLL
    for (size_t i = 0; i < n; i++)
        s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (size_t d = begin; d < end; d++, k += P * pair_bytes) {
        __m512i keys[2];
        fetch(ahead);
        pairs_of_codes(k, 32, pair_bytes, keys);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)q[i * width + d]);
            s[i][0] = dot_pairs(s[i][0], x, keys[0]);
            s[i][1] = dot_pairs(s[i][1], x, keys[1]);
        }
    }
    UNROLL
    for (int j = 0; j < 2; j++) {
        const uint16_t *halves = page->k_scales + block * P + key + 16 * j;
        __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
        UNROLL
        for (size_t i = 0; i < n; i++) {
            float *to = t->s[first + i] + key + 16 * j;
            _mm512_store_ps(to, scaled_sum(s[i][j], scale, to, !block));
        }
    }
}

/* The new maxima, what the sums so far fade by, and what is added to a scaled score. */
INLINE void few_maxima(struct few *t, const struct kernels_run *run, const float *first_key,
                       size_t first, size_t n, __m512 scale)
{
    const __m512 none = _mm512_set1_ps(-__builtin_inff());
    __m512 strands[16];
    _Alignas(64) float most[16];
    for (size_t i = 0; i < 16; i++)
        strands[i] = i < n ? first_strands(run->q[first + i], first_key, run->head_dim)
                           : _mm512_setzero_ps();
    for (size_t i = 0; i < 16; i++)
        most[i] = KERNELS_NOTHING;
    for (size_t i = 0; i < n; i++) {
        __m512 a[4];
        UNROLL
        for (int j = 0; j < 4; j++)
            a[j] = _mm512_mask_loadu_ps(none, (__mmask16)(t->seen[i] >> 16 * j),
                                        t->s[i] + 16 * j);
        most[i] = max_lanes(_mm512_max_ps(_mm512_max_ps(a[0], a[1]), _mm512_max_ps(a[2], a[3])));
    }
    const __mmask16 lanes = first_lanes(n);
    const __m512 shift = _mm512_mul_ps(sum_each(strands), scale);
    const __m512 before = _mm512_maskz_loadu_ps(lanes, run->m + first);
    const __m512 after =
        _mm512_max_ps(before, _mm512_fmadd_ps(_mm512_load_ps(most), scale, shift));
    _mm512_store_ps(t->fade, power(_mm512_sub_ps(before, after)));
    _mm512_store_ps(t->shift, _mm512_sub_ps(shift, after));
    _mm512_mask_storeu_ps(run->m + first, lanes, after);
}

/* Scores to pairs of p, and its sums; codes' to p in place, too. */
INLINE void few_weights(struct few *t, const struct kernels_run *run, size_t first, size_t n,
                        __m512 scale, const bool scaled)
{
    const __m512i ones = _mm512_set1_epi32(0x3f803f80);
    for (size_t i = 0; i < n; i++) {
        __m512 l = _mm512_setzero_ps(), p[4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512 s = _mm512_load_ps(t->s[i] + 16 * j);
            p[j] = weight(_mm512_fmadd_ps(s, scale, _mm512_set1_ps(t->shift[i])));
            p[j] = _mm512_maskz_mov_ps((__mmask16)(t->seen[i] >> 16 * j), p[j]);
            if (scaled)
                _mm512_store_ps(t->s[i] + 16 * j, p[j]);
        }
        UNROLL
        for (int j = 0; j < 4; j += 2) {
            __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(p[j + 1], p[j]);
            _mm512_store_si512(t->p[i] + 8 * j, pairs);
            l = dot_pairs(l, pairs, ones);
        }
        run->l[first + i] = run->l[first + i] * t->fade[i] + sum_lanes(l);
    }
}

/* o[i] = o[i] * fade[i] + p[i] . v for `width` registers of dimensions from d on, the last with
 * `lanes`; n queries from `first` on, whose results are at `o`. */
INLINE void few_weigh(const struct few *t, const struct page *page, struct ahead *ahead,
                      size_t head_dim, size_t d, const int width, __mmask16 lanes, size_t first,
                      float *const *o, const size_t n)
{
    __m512 acc[FEW][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            acc[i][j] = _mm512_mul_ps(
                _mm512_maskz_loadu_ps(j + 1 < width ? 0xffff : lanes, o[i] + d + 16 * j),
                _mm512_set1_ps(t->fade[first + i]));
    }
    for (int pair = t->begin / 2; pair < (t->end + 1) / 2; pair++) {
        const uint32_t *row = page->v + (size_t)pair * head_dim + d;
        __m512i v[4];
        fetch(ahead);
        UNROLL
        for (int j = 0; j < width; j++)
            v[j] = _mm512_maskz_loadu_epi32(j + 1 < width ? 0xffff : lanes, row + 16 * j);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)t->p[first + i][pair]);
            UNROLL
            for (int j = 0; j < width; j++)
                acc[i][j] = dot_pairs(acc[i][j], x, v[j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            _mm512_mask_storeu_ps(o[i] + d + 16 * j, j + 1 < width ? 0xffff : lanes, acc[i][j]);
    }
}

INLINE void few_outputs(const struct few *t, const struct page *page, struct ahead *ahead,
                        size_t head_dim, size_t first, float *const *o, const size_t n)
{
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64)
        few_weigh(t, page, ahead, head_dim, d, 4, 0xffff, first, o, n);
    for (; d + 32 <= head_dim; d += 32)
        few_weigh(t, page, ahead, head_dim, d, 2, 0xffff, first, o, n);
    for (; d < head_dim; d += 16)
        few_weigh(t, page, ahead, head_dim, d, 1, first_lanes(head_dim - d), first, o, n);
}

/* The same of one block of a page of codes, from dimension d on. */
INLINE void few_coded_outputs(const struct few *t, const struct quantized_page *page,
                              struct ahead *ahead, size_t head_dim, size_t d, size_t first,
                              float *const *o, const size_t n, const size_t pair_bytes)
{
    const size_t n_dims = head_dim - d;
    const __mmask16 lanes[2] = {first_lanes(n_dims), n_dims > 16 ? first_lanes(n_dims - 16) : 0};
    __m512 acc[MOST_CODED][2];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 2; j++)
            acc[i][j] = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes[j], o[i] + d + 16 * j),
                                      _mm512_set1_ps(t->fade[first + i]));
    }
    for (int pair = t->begin / 2; pair < (t->end + 1) / 2; pair++) {
        __m512i v[2];
        fetch(ahead);
        pairs_of_codes(page->v + ((size_t)pair * page->padded + d) * pair_bytes, n_dims,
                       pair_bytes, v);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512i x = _mm512_set1_epi32((int)t->p[first + i][pair]);
            acc[i][0] = dot_pairs(acc[i][0], x, v[0]);
            acc[i][1] = dot_pairs(acc[i][1], x, v[1]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 2; j++)
            _mm512_mask_storeu_ps(o[i] + d + 16 * j, lanes[j], acc[i][j]);
    }
}

/* Pairs of p times the scales of a block's values. */
INLINE void few_scale(struct few *t, const uint16_t *halves, size_t n)
{
    __m512 scales[4];
    UNROLL
    for (int j = 0; j < 4; j++)
        scales[j] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(halves + 16 * j)));
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j += 2) {
            const float *s = t->s[i] + 16 * j;
            __m512 low = _mm512_mul_ps(_mm512_load_ps(s), scales[j]);
            __m512 high = _mm512_mul_ps(_mm512_load_ps(s + 16), scales[j + 1]);
            _mm512_store_si512(t->p[i] + 8 * j, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
}

/* What the queries see of page i; false: nothing. */
INLINE bool few_limits(struct few *t, const struct kernels_run *run, size_t first, size_t n,
                       size_t i)
{
    t->begin = P;
    t->end = 0;
    for (size_t j = 0; j < n; j++) {
        int from = page_limit(run->first[first + j], i);
        int to = page_limit(run->last[first + j], i);
        t->seen[j] = 0;
        if (from < to) {
            t->seen[j] = (~(uint64_t)0 << from) & (~(uint64_t)0 >> (P - to));
            t->begin = from < t->begin ? from : t->begin;
            t->end = to > t->end ? to : t->end;
        }
    }
    return t->begin < t->end;
}

/* Queries at a time, and how many more there are. */
#define FEW_BY_FEW(n, call)                                                                        \
    do {                                                                                           \
        size_t at = 0;                                                                             \
        for (; at + FEW <= (n); at += FEW)                                                         \
            call(at, FEW);                                                                         \
        if ((n) - at == 3)                                                                         \
            call(at, 3);                                                                           \
        else if ((n) - at == 2)                                                                    \
            call(at, 2);                                                                           \
        else if ((n) - at == 1)                                                                    \
            call(at, 1);                                                                           \
    } while (0)

static void few_page(struct few *t, const struct kernels_run *run, struct ahead *ahead,
                     const struct page *page, size_t first, size_t n)
{
    const __m512 scale = _mm512_set1_ps(run->scale * 0x1.715476p+0f);
#define SCORES(at, n) few_scores(t, page, ahead, run->head_dim, at, n)
    FEW_BY_FEW(n, SCORES);
    few_maxima(t, run, page->first, first, n, scale);
    few_weights(t, run, first, n, scale, false);
#define OUTPUTS(at, n) few_outputs(t, page, ahead, run->head_dim, at, run->o + first + (at), n)
    FEW_BY_FEW(n, OUTPUTS);
}

/* All the queries at once: what is looked up serves them all. */
#define ALL_AT_ONCE(n, call)                                                                       \
    do {                                                                                           \
        switch (n) {                                                                               \
        case 1:                                                                                    \
            call(0, 1);                                                                            \
            break;                                                                                 \
        case 2:                                                                                    \
            call(0, 2);                                                                            \
            break;                                                                                 \
        case 3:                                                                                    \
            call(0, 3);                                                                            \
            break;                                                                                 \
        case 4:                                                                                    \
            call(0, 4);                                                                            \
            break;                                                                                 \
        case 5:                                                                                    \
            call(0, 5);                                                                            \
            break;                                                                                 \
        case 6:                                                                                    \
            call(0, 6);                                                                            \
            break;                                                                                 \
        case 7:                                                                                    \
            call(0, 7);                                                                            \
            break;                                                                                 \
        default:                                                                                   \
            call(0, 8);                                                                            \
            if ((n) > 8)                                                                           \
                call(8, 1);                                                                        \
        }                                                                                          \
    } while (0)

INLINE void few_coded_page(struct few *t, const struct kernels_run *run, struct ahead *ahead,
                           const struct quantized_page *page, size_t first, size_t n,
                           const size_t pair_bytes)
{
    const __m512 scale = _mm512_set1_ps(run->scale * 0x1.715476p+0f);
#define CODED_SCORES(at, n) \
    few_coded_scores(t, page, ahead, run->head_dim, b, key, at, n, pair_bytes)
    for (size_t key = 0; key < P; key += 32)
        for (size_t b = 0; b < page->blocks; b++)
            ALL_AT_ONCE(n, CODED_SCORES);
    few_maxima(t, run, page->first, first, n, scale);
    few_weights(t, run, first, n, scale, true);
#define CODED_OUTPUTS(at, n)                                                                       \
    few_coded_outputs(t, page, ahead, run->head_dim, b *QUANTIZED_BLOCK, at,                       \
                      run->o + first + (at), n, pair_bytes)
    for (size_t b = 0; b < page->blocks; b++) {
        few_scale(t, page->v_scales + b * P, n);
        ALL_AT_ONCE(n, CODED_OUTPUTS);
    }
}

INLINE void few(const struct kernels_run *run, size_t first, size_t n, const size_t pair_bytes)
{
    const size_t head_dim = run->head_dim, width = padded(head_dim) / 2;
    const size_t n_bytes = pair_bytes ? quantized_page_bytes(head_dim, pair_bytes)
                                      : page_bytes(head_dim);
    struct few t;
    t.q = run->scratch;
    for (size_t i = 0; i < n; i++) {
        run->m[first + i] = KERNELS_NOTHING;
        run->l[first + i] = 0;
        memset(run->o[first + i], 0, head_dim * sizeof **run->o);
        for (size_t d = 0; d < head_dim; d += 32)
            _mm512_mask_storeu_epi32(t.q + i * width + d / 2, first_lanes(width - d / 2),
                                     query_pairs(run->q[first + i], head_dim, d));
    }
    for (size_t i = 0; i < run->n_pages; i++) {
        const void *next = i + 1 < run->n_pages ? run->pages[i + 1] : run->next;
        struct ahead ahead = {next, n_bytes, n > FEW || pair_bytes ? 128 : 256};
        if (!few_limits(&t, run, first, n, i))
            continue;
        if (pair_bytes) {
            const struct quantized_page page =
                quantized_page_at(run->pages[i], head_dim, pair_bytes);
            few_coded_page(&t, run, &ahead, &page, first, n, pair_bytes);
        } else {
            const struct page page = page_at(run->pages[i], head_dim);
            few_page(&t, run, &ahead, &page, first, n);
        }
    }
}

#endif
