/* What is done to a row of logits, on AVX-512. */
#include "kernels/x86/avx512_float.h"

#include <math.h>
#include <string.h>

/* Which of the 16 elements from i on (a multiple of 16) are there and not masked. */
INLINE __mmask16 open_lanes(const uint64_t *masked, size_t i, size_t n)
{
    __mmask16 lanes = first_lanes(n - i);
    return masked ? (__mmask16)(lanes & ~(masked[i / 64] >> (i % 64))) : lanes;
}

static void maxima(const float *x, size_t n, const uint64_t *masked, size_t block, float *out)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    for (size_t first = 0; first < n; first += block) {
        const size_t end = n - first < block ? n : first + block;
        __m512 most = none;
        for (size_t i = first; i < end; i += 16) /* of two operands, one NaN, the second remains */
            most = _mm512_max_ps(_mm512_mask_loadu_ps(none, open_lanes(masked, i, n), x + i), most);
        *out++ = max_lanes(most);
    }
}

static size_t above(const float *x, size_t n, const uint64_t *masked, float least,
                    struct kernels_ranked *out)
{
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t n_found = 0;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = open_lanes(masked, i, n);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        lanes = _mm512_mask_cmp_ps_mask(lanes, v, _mm512_set1_ps(least), _CMP_GE_OQ);
        if (!lanes)
            continue;
        __m512i index = _mm512_add_epi32(numbers, _mm512_set1_epi32((int)i));
        __m512i value = _mm512_maskz_compress_epi32(lanes, _mm512_castps_si512(v));
        index = _mm512_maskz_compress_epi32(lanes, index);
        const uint32_t n_here = (uint32_t)__builtin_popcount(lanes);
        int32_t *to = (int32_t *)(out + n_found);
        _mm512_mask_storeu_epi32(to, first_lanes(2 * n_here),
                                 _mm512_permutex2var_epi32(value, low, index));
        if (n_here > 8)
            _mm512_mask_storeu_epi32(to + 16, first_lanes(2 * n_here - 16),
                                     _mm512_permutex2var_epi32(value, high, index));
        n_found += n_here;
    }
    return n_found;
}

/* ((s0 + s8) + (s4 + s12)) ... as the reference */
INLINE double tree(__m512d low, __m512d high)
{
    __m512d a = _mm512_add_pd(low, high);
    __m256d b = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
    return _mm_cvtsd_f64(_mm_add_sd(c, _mm_unpackhi_pd(c, c)));
}

static double exp_sum(const float *x, size_t n, const uint64_t *masked, float least, float most,
                      float scale)
{
    __m512d low = _mm512_setzero_pd(), high = low;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = open_lanes(masked, i, n);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        lanes = _mm512_mask_cmp_ps_mask(lanes, v, _mm512_set1_ps(least), _CMP_GE_OQ);
        if (!lanes)
            continue;
        v = exp16(_mm512_mul_ps(_mm512_sub_ps(v, _mm512_set1_ps(most)), _mm512_set1_ps(scale)));
        v = _mm512_maskz_mov_ps(lanes, v);
        low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
        high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    }
    return tree(low, high);
}

static void softmax(float *x, size_t n)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 all = none;
    for (size_t i = 0; i < n; i += 16)
        all = _mm512_max_ps(_mm512_mask_loadu_ps(none, first_lanes(n - i), x + i), all);
    float most = max_lanes(all);
    const __m512 sum = _mm512_set1_ps((float)exp_sum(x, n, NULL, -INFINITY, most, 1.0f));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_set1_ps(most));
        _mm512_mask_storeu_ps(x + i, lanes, _mm512_div_ps(exp16(v), sum));
    }
}

static void weighted_sum(const float *const *rows, const float *weights, size_t n_rows, size_t n,
                         float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 sum = _mm512_setzero_ps();
        for (size_t j = 0; j < n_rows; j++)
            sum = _mm512_fmadd_ps(_mm512_set1_ps(weights[j]),
                                  _mm512_maskz_loadu_ps(lanes, rows[j] + i), sum);
        _mm512_mask_storeu_ps(out + i, lanes, sum);
    }
}

void avx512_init_rank(struct kernels *k)
{
    k->maxima = maxima;
    k->above = above;
    k->exp_sum = exp_sum;
    k->softmax = softmax;
    k->weighted_sum = weighted_sum;
}
