/* Attention on AVX2. */
#include "kernels/quantized_page.h"
#include "kernels/x86/avx2_float.h"

#include <math.h>
#include <string.h>

enum { P = KERNELS_WIDE_PAGE };

enum { GROUP = 3 }; /* queries at once: twelve registers of sums */

/* Eight halves, or the first n < 8. */
INLINE __m256 load_halves(const uint16_t *p, size_t n)
{
    if (n >= 8)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    uint16_t h[8] = {0};
    memcpy(h, p, n * sizeof *h);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

/* p[i] = dot(q[i], 32 of the page's keys) */
INLINE void scores(const uint16_t *k, size_t head_dim, const float *const *q, const size_t n,
                   size_t first, float (*p)[P])
{
    __m256 s[GROUP][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            s[i][j] = _mm256_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++) {
        const uint16_t *keys = k + d * P + first;
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m256 key = load_halves(keys + 8 * j, 8);
            UNROLL
            for (size_t i = 0; i < n; i++)
                s[i][j] = _mm256_fmadd_ps(_mm256_set1_ps(q[i][d]), key, s[i][j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            _mm256_store_ps(&p[i][first + 8 * (size_t)j], s[i][j]);
    }
}

/* Turns a page's scores into exp(score - new maximum), zero for keys outside [from, to); returns
 * the new maximum. */
INLINE float soften(float *p, float scale, float m, size_t from, size_t to, float *l)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 most = none, sum = _mm256_setzero_ps();
    for (size_t j = 0; j < P; j += 8) {
        __m256 s = _mm256_mul_ps(_mm256_load_ps(p + j), _mm256_set1_ps(scale));
        __m256i seen = _mm256_andnot_si256(lanes(from > j ? from - j : 0),
                                           lanes(to > j ? to - j : 0));
        s = _mm256_blendv_ps(none, s, _mm256_castsi256_ps(seen));
        _mm256_store_ps(p + j, s);
        most = _mm256_max_ps(most, s);
    }
    float page_most = max_lanes(most);
    if (page_most > m)
        m = page_most;
    for (size_t j = 0; j < P; j += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_load_ps(p + j), _mm256_set1_ps(m)));
        _mm256_store_ps(p + j, e);
        sum = _mm256_add_ps(sum, e);
    }
    *l = sum_lanes(sum);
    return m;
}

/* o[i] = o[i] * fade[i] + sum over keys of p[i][key] * v[key], for `width` registers of dimensions
 * from d on, the last with n_last of them. */
INLINE void weigh(const uint16_t *v, size_t head_dim, size_t begin, size_t end, size_t d,
                  const int width, size_t n_last, float (*p)[P], const float *fade,
                  float *const *o, const size_t n)
{
    __m256 acc[GROUP][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++) {
            const float *at = o[i] + d + 8 * j;
            acc[i][j] = _mm256_mul_ps(load_first(at, j + 1 < width ? 8 : n_last),
                                      _mm256_set1_ps(fade[i]));
        }
    }
    for (size_t key = begin; key < end; key++) {
        const uint16_t *row = v + key * head_dim + d;
        UNROLL
        for (int j = 0; j < width; j++) {
            __m256 value = load_halves(row + 8 * j, j + 1 < width ? 8 : n_last);
            UNROLL
            for (size_t i = 0; i < n; i++)
                acc[i][j] = _mm256_fmadd_ps(_mm256_set1_ps(p[i][key]), value, acc[i][j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            store_first(o[i] + d + 8 * j, j + 1 < width ? 8 : n_last, acc[i][j]);
    }
}

INLINE void attend_group(const struct kernels_run *run, size_t page, size_t first, const size_t n)
{
    const size_t head_dim = run->head_dim;
    const uint16_t *k = run->pages[page], *v = k + P * head_dim;
    _Alignas(32) float p[GROUP][P];
    float fade[GROUP];
    size_t from[GROUP], to[GROUP], begin = P, end = 0;
    for (size_t i = 0; i < n; i++) {
        from[i] = kernels_page_limit(run->first[first + i], page);
        to[i] = kernels_page_limit(run->last[first + i], page);
        if (from[i] < to[i]) {
            begin = from[i] < begin ? from[i] : begin;
            end = to[i] > end ? to[i] : end;
        }
    }
    if (begin >= end)
        return;
    scores(k, head_dim, run->q + first, n, 0, p);
    scores(k, head_dim, run->q + first, n, P / 2, p);
    for (size_t i = 0; i < n; i++) {
        float m = run->m[first + i], l;
        run->m[first + i] = soften(p[i], run->scale, m, from[i], to[i], &l);
        fade[i] = exp1(m - run->m[first + i]);
        run->l[first + i] = run->l[first + i] * fade[i] + l;
    }
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32)
        weigh(v, head_dim, begin, end, d, 4, 8, p, fade, run->o + first, n);
    for (; d < head_dim; d += 8)
        weigh(v, head_dim, begin, end, d, 1, head_dim - d < 8 ? head_dim - d : 8, p, fade,
              run->o + first, n);
}

static void attend(const struct kernels_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        run->m[i] = KERNELS_NOTHING;
        run->l[i] = 0;
        memset(run->o[i], 0, run->head_dim * sizeof *run->o[i]);
    }
    for (size_t page = 0; page < run->n_pages; page++) {
        size_t i = 0;
        for (; i + 3 <= run->n; i += 3)
            attend_group(run, page, i, 3);
        if (run->n - i == 2)
            attend_group(run, page, i, 2);
        else if (run->n - i == 1)
            attend_group(run, page, i, 1);
    }
}

/* Eight floats, or the first n < 8, to halves. */
INLINE void store_halves(uint16_t *out, __m256 x, size_t n)
{
    const __m256 most = _mm256_set1_ps(65504.0f), least = _mm256_set1_ps(-65504.0f);
    x = _mm256_min_ps(_mm256_max_ps(x, least), most);
    __m128i halves = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    if (n >= 8)
        _mm_storeu_si128((__m128i *)out, halves);
    else
        memcpy(out, &halves, n * sizeof *out);
}

static void store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    uint16_t *keys = page, *values = keys + P * head_dim;
    for (size_t d = 0; d < head_dim; d += 8) {
        const size_t n = head_dim - d < 8 ? head_dim - d : 8;
        uint16_t halves[8];
        store_halves(halves, _mm256_maskload_ps(k + d, lanes(n)), 8);
        for (size_t j = 0; j < n; j++)
            keys[(d + j) * P + slot] = halves[j];
        store_halves(values + slot * head_dim + d, _mm256_maskload_ps(v + d, lanes(n)), n);
    }
}

/* ---- quantized pages: unpacked to f16 for the run ---- */

/* The numbers of 8 pairs. */
INLINE void pairs_at(const uint8_t *pairs, size_t i, size_t pair_bytes, __m256 *x)
{
    __m256i even, odd;
    if (pair_bytes == 2) {
        __m256i both = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(pairs + 2 * i)));
        even = _mm256_srai_epi32(_mm256_slli_epi32(both, 24), 24);
        odd = _mm256_srai_epi32(both, 8);
    } else {
        __m256i both = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(pairs + i)));
        even = _mm256_sub_epi32(_mm256_and_si256(both, _mm256_set1_epi32(15)),
                                _mm256_set1_epi32(8));
        odd = _mm256_sub_epi32(_mm256_srli_epi32(both, 4), _mm256_set1_epi32(8));
    }
    x[0] = _mm256_cvtepi32_ps(even);
    x[1] = _mm256_cvtepi32_ps(odd);
}

INLINE void unpack(const void *page, size_t head_dim, const size_t pair_bytes, uint16_t *out)
{
    const struct quantized_page p = quantized_page_at(page, head_dim, pair_bytes);
    uint16_t *values = out + P * head_dim;
    __m256 x[2];
    for (size_t d = 0; d < head_dim; d += 2) {
        for (size_t key = 0; key < P; key += 8) {
            const uint16_t *scales = p.k_scales + d / QUANTIZED_BLOCK * P + key;
            __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)scales));
            pairs_at(p.k, d / 2 * P + key, pair_bytes, x);
            for (size_t i = 0; i < 2 && d + i < head_dim; i++)
                store_halves(out + (d + i) * P + key,
                             _mm256_add_ps(_mm256_mul_ps(x[i], scale),
                                           _mm256_set1_ps(p.first[d + i])), 8);
        }
    }
    for (size_t pair = 0; pair < P / 2; pair++) {
        for (size_t d = 0; d < head_dim; d += 8) {
            const uint16_t *scales = p.v_scales + d / QUANTIZED_BLOCK * P + 2 * pair;
            pairs_at(p.v, pair * p.padded + d, pair_bytes, x);
            for (size_t i = 0; i < 2; i++)
                store_halves(values + (2 * pair + i) * head_dim + d,
                             _mm256_mul_ps(x[i], _mm256_set1_ps(_cvtsh_ss(scales[i]))),
                             head_dim - d);
        }
    }
}

/* The run with its pages unpacked to its scratch memory. */
struct kernels_run avx2_unpack_run(const struct kernels_run *run, size_t pair_bytes)
{
    struct kernels_run unpacked = *run;
    for (size_t i = 0; i < run->n_pages; i++) {
        uint16_t *page = (uint16_t *)run->scratch + i * 2 * P * run->head_dim;
        if (pair_bytes == 2)
            unpack(run->pages[i], run->head_dim, 2, page);
        else
            unpack(run->pages[i], run->head_dim, 1, page);
        unpacked.pages[i] = page;
    }
    return unpacked;
}

static void attend_q8(const struct kernels_run *run)
{
    struct kernels_run unpacked = avx2_unpack_run(run, 2);
    attend(&unpacked);
}

static void attend_q4(const struct kernels_run *run)
{
    struct kernels_run unpacked = avx2_unpack_run(run, 1);
    attend(&unpacked);
}

static void attend_merge(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim)
{
    float most = *m > m2 ? *m : m2;
    float fade = exp1(*m - most), fade2 = exp1(m2 - most);
    for (size_t d = 0; d < head_dim; d += 8) {
        __m256i seen = lanes(head_dim - d);
        __m256 a = _mm256_mul_ps(_mm256_maskload_ps(o + d, seen), _mm256_set1_ps(fade));
        __m256 b = _mm256_mul_ps(_mm256_maskload_ps(o2 + d, seen), _mm256_set1_ps(fade2));
        _mm256_maskstore_ps(o + d, seen, _mm256_add_ps(a, b));
    }
    *l = *l * fade + l2 * fade2;
    *m = most;
}

void avx2_init_attend(struct kernels *k)
{
    k->kv[KERNELS_KV_F16].store = store;
    k->kv[KERNELS_KV_F16].attend = attend;
    k->kv[KERNELS_KV_Q8_0].attend = attend_q8;
    k->kv[KERNELS_KV_Q4_0].attend = attend_q4;
    k->attend_merge = attend_merge;
}
