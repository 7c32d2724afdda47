/* Attention on AVX2. */
#include "kernels/x86/avx2_float.h"

#include <math.h>
#include <string.h>

enum { P = KERNELS_PAGE_TOKENS };

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
    const __m256i last = lanes(n_last);
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++) {
            const float *at = o[i] + d + 8 * j;
            acc[i][j] = _mm256_mul_ps(
                j + 1 < width ? _mm256_loadu_ps(at) : _mm256_maskload_ps(at, last),
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
            _mm256_maskstore_ps(o[i] + d + 8 * j, j + 1 < width ? lanes(8) : last, acc[i][j]);
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

static void store(void *page, size_t head_dim, size_t slot, const float *k, const float *v)
{
    const __m256 most = _mm256_set1_ps(65504.0f), least = _mm256_set1_ps(-65504.0f);
    uint16_t *keys = page, *values = keys + P * head_dim;
    for (size_t d = 0; d < head_dim; d += 8) {
        const size_t n = head_dim - d < 8 ? head_dim - d : 8;
        const __m256i some = lanes(n);
        uint16_t h[2][8];
        __m256 a = _mm256_maskload_ps(k + d, some), b = _mm256_maskload_ps(v + d, some);
        a = _mm256_min_ps(_mm256_max_ps(a, least), most);
        b = _mm256_min_ps(_mm256_max_ps(b, least), most);
        _mm_storeu_si128((__m128i *)h[0], _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
        _mm_storeu_si128((__m128i *)h[1], _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT));
        for (size_t j = 0; j < n; j++)
            keys[(d + j) * P + slot] = h[0][j];
        memcpy(values + slot * head_dim + d, h[1], n * sizeof *values);
    }
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
    k->attend_merge = attend_merge;
}
