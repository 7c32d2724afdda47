/* Attention on AVX-512, in float32. */
#include "kernels/x86/avx512_float.h"

#include <math.h>
#include <string.h>

enum { P = KERNELS_WIDE_PAGE };

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
INLINE float soften(__m512 *s, float scale, float m, __mmask64 seen, float *l)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    UNROLL
    for (size_t j = 0; j < 4; j++)
        s[j] = _mm512_mask_mul_ps(none, (__mmask16)(seen >> 16 * j), s[j], _mm512_set1_ps(scale));
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
INLINE void weigh(const uint16_t *v, size_t head_dim, size_t begin, size_t end, size_t d,
                  const int width, __mmask16 lanes, float (*p)[P], const float *fade,
                  float *const *o, const size_t n)
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
    for (size_t key = begin; key < end; key++) {
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

INLINE void attend_group(const struct kernels_run *run, size_t page, size_t first, const size_t n)
{
    const size_t head_dim = run->head_dim;
    const uint16_t *k = run->pages[page], *v = k + P * head_dim;
    _Alignas(64) float p[GROUP][P];
    _Alignas(64) float fade[16] = {0};
    float l[GROUP];
    __m512 s[GROUP][4];
    __mmask64 seen[GROUP];
    size_t begin = P, end = 0;
    for (size_t i = 0; i < n; i++) {
        size_t from = kernels_page_limit(run->first[first + i], page);
        size_t to = kernels_page_limit(run->last[first + i], page);
        seen[i] = 0;
        if (from < to) {
            seen[i] = (~(uint64_t)0 << from) & (~(uint64_t)0 >> (P - to));
            begin = from < begin ? from : begin;
            end = to > end ? to : end;
        }
    }
    if (begin >= end)
        return;
    scores(k, head_dim, run->q + first, n, s);
    UNROLL
    for (size_t i = 0; i < n; i++) {
        float m = run->m[first + i];
        run->m[first + i] = soften(s[i], run->scale, m, seen[i], &l[i]);
        fade[i] = m - run->m[first + i];
        UNROLL
        for (int j = 0; j < 4; j++)
            _mm512_store_ps(&p[i][16 * j], s[i][j]);
    }
    _mm512_store_ps(fade, exp16(_mm512_load_ps(fade)));
    for (size_t i = 0; i < n; i++)
        run->l[first + i] = run->l[first + i] * fade[i] + l[i];
    size_t d = 0;
    for (; d + 64 <= head_dim; d += 64)
        weigh(v, head_dim, begin, end, d, 4, 0xffff, p, fade, run->o + first, n);
    for (; d < head_dim; d += 16)
        weigh(v, head_dim, begin, end, d, 1, first_lanes(head_dim - d), p, fade, run->o + first,
              n);
}

static void attend_page(const struct kernels_run *run, size_t page)
{
    for (size_t i = 0; i < run->n;) {
        size_t n = run->n - i;
        if (n == 7) /* four and three, not six and one */
            n = 4;
        switch (n) {
        case 1:
            attend_group(run, page, i, 1);
            break;
        case 2:
            attend_group(run, page, i, 2);
            break;
        case 3:
            attend_group(run, page, i, 3);
            break;
        case 4:
            attend_group(run, page, i, 4);
            break;
        case 5:
            attend_group(run, page, i, 5);
            break;
        default:
            attend_group(run, page, i, 6);
            n = 6;
        }
        i += n;
    }
}

static void attend(const struct kernels_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        run->m[i] = KERNELS_NOTHING;
        run->l[i] = 0;
        memset(run->o[i], 0, run->head_dim * sizeof *run->o[i]);
    }
    for (size_t page = 0; page < run->n_pages; page++)
        attend_page(run, page);
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
    merge_by(exp16, o, m, l, o2, m2, l2, head_dim);
}

void avx512_init_attend(struct kernels *k)
{
    k->kv[KERNELS_KV_F16].attend = attend;
    k->kv[KERNELS_KV_Q8_0].attend = attend_q8;
    k->kv[KERNELS_KV_Q4_0].attend = attend_q4;
    k->attend_merge = attend_merge;
}
