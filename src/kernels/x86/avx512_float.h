/* What the AVX-512 files on floats share: loads, exp, sums and maxima of a register's lanes,
 * masks. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_FLOAT_H
#define PENSIEVE_KERNELS_X86_AVX512_FLOAT_H

#include "kernels/x86/x86.h"

#include <immintrin.h>

/* e^r by the Taylor series to the seventh power, |r| < 0.35. */
INLINE __m512 exp_series(__m512 r)
{
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
}

/* e^x within 2 ulp; 0 for -infinity, infinity above 89. */
INLINE __m512 exp16(__m512 x)
{
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(100.0f)), _mm512_set1_ps(-200.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    /* r = x - n ln 2, in two parts */
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    return _mm512_scalef_ps(exp_series(r), n);
}

INLINE __mmask16 first_lanes(size_t n)
{
    return n < 16 ? (__mmask16)((1u << n) - 1) : 0xffff;
}

/* Sixteen floats of a type; lanes beyond those given become zeros. */
typedef __m512 load_fn(const uint8_t *p, __mmask16 lanes);

INLINE __m512 load_F32(const uint8_t *p, __mmask16 lanes)
{
    return _mm512_maskz_loadu_ps(lanes, p);
}

INLINE __m512 load_F16(const uint8_t *p, __mmask16 lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p));
}

INLINE __m512 load_BF16(const uint8_t *p, __mmask16 lanes)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#define AVX512_FLOAT_TYPES(X) X(F32) X(F16) X(BF16)

/* Halves added to halves. */
INLINE float sum_lanes(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

INLINE float max_lanes(__m512 v)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* attend_merge, maxima being logarithms to the base of `power`. */
INLINE void merge_by(__m512 (*power)(__m512), float *o, float *m, float *l, const float *o2,
                     float m2, float l2, size_t head_dim)
{
    float most = *m > m2 ? *m : m2;
    _Alignas(64) float fade[16] = {*m - most, m2 - most};
    _mm512_store_ps(fade, power(_mm512_load_ps(fade)));
    for (size_t d = 0; d < head_dim; d += 16) {
        __mmask16 lanes = first_lanes(head_dim - d);
        __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o + d), _mm512_set1_ps(fade[0]));
        __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, o2 + d), _mm512_set1_ps(fade[1]));
        _mm512_mask_storeu_ps(o + d, lanes, _mm512_add_ps(a, b));
    }
    *l = *l * fade[0] + l2 * fade[1];
    *m = most;
}

#endif
