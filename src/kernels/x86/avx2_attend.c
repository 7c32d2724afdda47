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

/* Turns a page's scores into exp(score - new maximum), zero for unseen keys; returns the new
 * maximum. */
INLINE float soften(float *p, float scale, float m, size_t n_keys, float *l)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 most = none, sum = _mm256_setzero_ps();
    for (size_t j = 0; j < P; j += 8) {
        __m256 s = _mm256_mul_ps(_mm256_load_ps(p + j), _mm256_set1_ps(scale));
        __m256i seen = lanes(n_keys > j ? n_keys - j : 0);
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
INLINE void weigh(const uint16_t *v, size_t head_dim, size_t n_keys, size_t d, const int width,
                  size_t n_last, float (*p)[P], const float *fade, float *const *o, const size_t n)
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
    for (size_t key = 0; key < n_keys; key++) {
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

INLINE void attend_group(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                         const struct kernels_queries *queries, size_t first, const size_t n)
{
    _Alignas(32) float p[GROUP][P];
    float fade[GROUP];
    size_t n_keys = 0;
    scores(k, head_dim, queries->q + first, n, 0, p);
    scores(k, head_dim, queries->q + first, n, P / 2, p);
    for (size_t i = 0; i < n; i++) {
        float m = queries->m[first + i], l;
        size_t seen = queries->n_keys[first + i];
        queries->m[first + i] = soften(p[i], scale, m, seen, &l);
        fade[i] = exp1(m - queries->m[first + i]);
        queries->l[first + i] = queries->l[first + i] * fade[i] + l;
        if (seen > n_keys)
            n_keys = seen;
    }
    size_t d = 0;
    for (; d + 32 <= head_dim; d += 32)
        weigh(v, head_dim, n_keys, d, 4, 8, p, fade, queries->o + first, n);
    for (; d < head_dim; d += 8)
        weigh(v, head_dim, n_keys, d, 1, head_dim - d < 8 ? head_dim - d : 8, p, fade,
              queries->o + first, n);
}

static void attend(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                   const struct kernels_queries *queries)
{
    size_t i = 0;
    for (; i + 3 <= queries->n; i += 3)
        attend_group(k, v, head_dim, scale, queries, i, 3);
    if (queries->n - i == 2)
        attend_group(k, v, head_dim, scale, queries, i, 2);
    else if (queries->n - i == 1)
        attend_group(k, v, head_dim, scale, queries, i, 1);
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
    k->attend = attend;
    k->attend_merge = attend_merge;
}
