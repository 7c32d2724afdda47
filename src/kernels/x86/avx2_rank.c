/* What is done to a row of logits, on AVX2. */
#include "kernels/x86/avx2_float.h"

#include <math.h>

/* All ones in those of the 8 elements from i on (a multiple of 8) that are there and not masked. */
INLINE __m256i open_lanes(const uint64_t *masked, size_t i, size_t n)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i open = lanes(n - i);
    if (!masked)
        return open;
    __m256i bits = _mm256_set1_epi32((int)(masked[i / 64] >> (i % 64) & 0xff));
    return _mm256_andnot_si256(_mm256_cmpeq_epi32(_mm256_and_si256(bits, bit), bit), open);
}

static void maxima(const float *x, size_t n, const uint64_t *masked, size_t block, float *out)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    for (size_t first = 0; first < n; first += block) {
        const size_t end = n - first < block ? n : first + block;
        __m256 most = none;
        for (size_t i = first; i < end; i += 8) {
            __m256i open = open_lanes(masked, i, n);
            __m256 v = _mm256_blendv_ps(none, _mm256_maskload_ps(x + i, open),
                                        _mm256_castsi256_ps(open));
            most = _mm256_max_ps(v, most); /* of two operands, one NaN, the second remains */
        }
        *out++ = max_lanes(most);
    }
}

static size_t above(const float *x, size_t n, const uint64_t *masked, float least,
                    struct kernels_ranked *out)
{
    size_t n_found = 0;
    for (size_t i = 0; i < n; i += 8) {
        __m256i open = open_lanes(masked, i, n);
        __m256 v = _mm256_maskload_ps(x + i, open);
        __m256 found = _mm256_cmp_ps(v, _mm256_set1_ps(least), _CMP_GE_OQ);
        unsigned bits =
            (unsigned)_mm256_movemask_ps(_mm256_and_ps(found, _mm256_castsi256_ps(open)));
        for (; bits; bits &= bits - 1) {
            size_t at = i + (size_t)__builtin_ctz(bits);
            out[n_found++] = (struct kernels_ranked){x[at], (int32_t)at};
        }
    }
    return n_found;
}

/* Adds the exponentials of the 8 elements from i on to s[2]. */
INLINE void add_exps(__m256d *s, const float *x, size_t i, size_t n, const uint64_t *masked,
                     float least, float most, float scale)
{
    __m256i open = open_lanes(masked, i, n);
    __m256 v = _mm256_maskload_ps(x + i, open);
    __m256 found = _mm256_cmp_ps(v, _mm256_set1_ps(least), _CMP_GE_OQ);
    found = _mm256_and_ps(found, _mm256_castsi256_ps(open));
    if (!_mm256_movemask_ps(found))
        return;
    v = exp8(_mm256_mul_ps(_mm256_sub_ps(v, _mm256_set1_ps(most)), _mm256_set1_ps(scale)));
    v = _mm256_and_ps(v, found);
    s[0] = _mm256_add_pd(s[0], _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
    s[1] = _mm256_add_pd(s[1], _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
}

static double exp_sum(const float *x, size_t n, const uint64_t *masked, float least, float most,
                      float scale)
{
    __m256d low[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()}, high[2] = {low[0], low[0]};
    for (size_t i = 0; i < n; i += 16) {
        add_exps(low, x, i, n, masked, least, most, scale);
        if (n - i > 8)
            add_exps(high, x, i + 8, n, masked, least, most, scale);
    }
    /* sixteen strands, halves added to halves as the reference does */
    __m256d a = _mm256_add_pd(_mm256_add_pd(low[0], high[0]), _mm256_add_pd(low[1], high[1]));
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

static void softmax(float *x, size_t n)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 all = none;
    for (size_t i = 0; i < n; i += 8) {
        __m256i open = lanes(n - i);
        __m256 v = _mm256_maskload_ps(x + i, open);
        all = _mm256_max_ps(_mm256_blendv_ps(none, v, _mm256_castsi256_ps(open)), all);
    }
    float most = max_lanes(all);
    const __m256 sum = _mm256_set1_ps((float)exp_sum(x, n, NULL, -INFINITY, most, 1.0f));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_sub_ps(load_first(x + i, n - i), _mm256_set1_ps(most));
        store_first(x + i, n - i, _mm256_div_ps(exp8(v), sum));
    }
}

static void weighted_sum(const float *const *rows, const float *weights, size_t n_rows, size_t n,
                         float *out)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 sum = _mm256_setzero_ps();
        for (size_t j = 0; j < n_rows; j++)
            sum = _mm256_fmadd_ps(_mm256_set1_ps(weights[j]), load_first(rows[j] + i, n - i), sum);
        store_first(out + i, n - i, sum);
    }
}

void avx2_init_rank(struct kernels *k)
{
    k->maxima = maxima;
    k->above = above;
    k->exp_sum = exp_sum;
    k->softmax = softmax;
    k->weighted_sum = weighted_sum;
}
