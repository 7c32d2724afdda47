/* Attention on AVX-512, in float32. */
#include "kernels/x86/avx512_float.h"

#include <math.h>

enum { P = KERNELS_PAGE_TOKENS };

enum { GROUP = 6 }; /* queries at once: 24 registers of sums */

INLINE __m512 load_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* s[i] = dot(q[i], the page's keys), four registers of sixteen keys */
INLINE void scores(const uint16_t *k, size_t head_dim, const float *const *q, const size_t n,
                   __m512 (*s)[4])
{
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < 4; j++)
            s[i][j] = _mm512_setzero_ps();
    }
    for (size_t d = 0; d < head_dim; d++, k += P) {
        __m512 keys[4];
        UNROLL
        for (int j = 0; j < 4; j++)
            keys[j] = load_halves(k + 16 * j);
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512 x = _mm512_set1_ps(q[i][d]);
            UNROLL
            for (int j = 0; j < 4; j++)
                s[i][j] = _mm512_fmadd_ps(x, keys[j], s[i][j]);
        }
    }
}

/* Turns scores into exp(score - new maximum), zero for unseen keys; returns the new maximum. */
INLINE float soften(__m512 *s, float scale, float m, size_t n_keys, float *l)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    UNROLL
    for (size_t j = 0; j < 4; j++)
        s[j] = _mm512_mask_mul_ps(none, first_lanes(n_keys > 16 * j ? n_keys - 16 * j : 0), s[j],
                                  _mm512_set1_ps(scale));
    __m512 most = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
    float page_most = max_lanes(most);
    if (page_most > m)
        m = page_most;
    UNROLL
    for (int j = 0; j < 4; j++)
        s[j] = exp16(_mm512_sub_ps(s[j], _mm512_set1_ps(m)));
    *l = sum_lanes(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
    return m;
}

/* o[i] = o[i] * fade[i] + sum over keys of p[i][key] * v[key], for `width` registers of dimensions
 * from d on, the last with `lanes`. */
INLINE void weigh(const uint16_t *v, size_t head_dim, size_t n_keys, size_t d, const int width,
                  __mmask16 lanes, float (*p)[P], const float *fade, float *const *o,
                  const size_t n)
{
    __m512 acc[GROUP][4];
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            acc[i][j] = _mm512_mul_ps(
                _mm512_maskz_loadu_ps(j + 1 < width ? 0xffff : lanes, o[i] + d + 16 * j),
                _mm512_set1_ps(fade[i]));
    }
    for (size_t key = 0; key < n_keys; key++) {
        const uint16_t *row = v + key * head_dim + d;
        __m512 values[4];
        UNROLL
        for (int j = 0; j < width; j++)
            values[j] = _mm512_cvtph_ps(
                _mm256_maskz_loadu_epi16(j + 1 < width ? 0xffff : lanes, row + 16 * j));
        UNROLL
        for (size_t i = 0; i < n; i++) {
            __m512 x = _mm512_set1_ps(p[i][key]);
            UNROLL
            for (int j = 0; j < width; j++)
                acc[i][j] = _mm512_fmadd_ps(x, values[j], acc[i][j]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < width; j++)
            _mm512_mask_storeu_ps(o[i] + d + 16 * j, j + 1 < width ? 0xffff : lanes, acc[i][j]);
    }
}

INLINE void attend_group(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                         const struct kernels_queries *queries, size_t first, const size_t n)
{
    _Alignas(64) float p[GROUP][P];
    _Alignas(64) float fade[16] = {0};
    float l[GROUP];
    __m512 s[GROUP][4];
    size_t n_keys = 0;
    scores(k, head_dim, queries->q + first, n, s);
    UNROLL
    for (size_t i = 0; i < n; i++) {
        float m = queries->m[first + i];
        size_t seen = queries->n_keys[first + i];
        queries->m[first + i] = soften(s[i], scale, m, seen, &l[i]);
        fade[i] = m - queries->m[first + i];
        UNROLL
        for (int j = 0; j < 4; j++)
            _mm512_store_ps(&p[i][16 * j], s[i][j]);
        if (seen > n_keys)
            n_keys = seen;
    }
    _mm512_store_ps(fade, exp16(_mm512_load_ps(fade)));
    for (size_t i = 0; i < n; i++)
        queries->l[first + i] = queries->l[first + i] * fade[i] + l[i];
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64)
        weigh(v, head_dim, n_keys, d, 4, 0xffff, p, fade, queries->o + first, n);
    for (; d < head_dim; d += 16)
        weigh(v, head_dim, n_keys, d, 1, first_lanes(head_dim - d), p, fade, queries->o + first, n);
}

static void attend(const uint16_t *k, const uint16_t *v, size_t head_dim, float scale,
                   const struct kernels_queries *queries)
{
    for (size_t i = 0; i < queries->n;) {
        size_t n = queries->n - i;
        if (n == 7) /* four and three, not six and one */
            n = 4;
        switch (n) {
        case 1:
            attend_group(k, v, head_dim, scale, queries, i, 1);
            break;
        case 2:
            attend_group(k, v, head_dim, scale, queries, i, 2);
            break;
        case 3:
            attend_group(k, v, head_dim, scale, queries, i, 3);
            break;
        case 4:
            attend_group(k, v, head_dim, scale, queries, i, 4);
            break;
        case 5:
            attend_group(k, v, head_dim, scale, queries, i, 5);
            break;
        default:
            attend_group(k, v, head_dim, scale, queries, i, 6);
            n = 6;
        }
        i += n;
    }
}

static void attend_merge(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim)
{
    float most = *m > m2 ? *m : m2;
    _Alignas(64) float fade[16] = {*m - most, m2 - most};
    _mm512_store_ps(fade, exp16(_mm512_load_ps(fade)));
    for (size_t d = 0; d < head_dim; d += 16) {
        __mmask16 lanes = first_lanes(head_dim - d);
        __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o + d), _mm512_set1_ps(fade[0]));
        __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o2 + d), _mm512_set1_ps(fade[1]));
        _mm512_mask_storeu_ps(o + d, lanes, _mm512_add_ps(a, b));
    }
    *l = *l * fade[0] + l2 * fade[1];
    *m = most;
}

void avx512_init_attend(struct kernels *k)
{
    k->attend = attend;
    k->attend_merge = attend_merge;
}
