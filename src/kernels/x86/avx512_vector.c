/* Quantization of activations and the element-wise operations on AVX-512. */
#include "kernels/x86/avx512_float.h"

#include <math.h>

/* ---- quantization ---- */

INLINE void quantize_block(const float *x, size_t p, const struct kernels_blocks *out)
{
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    float most = max_lanes(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    float scale = most / 127.0f;
    __m512 inverse = _mm512_set1_ps(most >= 0x1p-100f ? 127.0f / most : 0.0f);
    __m128i low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(a, inverse)));
    __m128i high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(b, inverse)));
    __m256i q = _mm256_set_m128i(high, low);
    _mm256_storeu_si256((__m256i *)(out->q + p * 32), q);
    __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), q);
    sums = _mm256_hadd_epi32(sums, sums);
    sums = _mm256_hadd_epi32(sums, sums);
    int sum_low = _mm256_extract_epi32(sums, 0), sum_high = _mm256_extract_epi32(sums, 4);
    out->d[p] = scale;
    out->half[0][p] = sum_low;
    out->half[1][p] = sum_high;
    out->s[p] = scale * (float)(sum_low + sum_high);
}

static void quantize(const float *x, size_t n_blocks, const struct kernels_blocks *out)
{
    for (size_t b = 0; b < n_blocks; b++)
        quantize_block(x + b * 32,
                       b % KERNELS_STRANDS * out->strand + b / KERNELS_STRANDS * out->step, out);
}

/* ---- element-wise ---- */

static void f32_to_f16(const float *x, uint16_t *out, size_t n)
{
    const __m512 most = _mm512_set1_ps(65504.0f), least = _mm512_set1_ps(-65504.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        v = _mm512_min_ps(_mm512_max_ps(v, least), most);
        _mm256_mask_storeu_epi16(out + i, lanes, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
}

static void rms_norm(const float *x, const float *w, float eps, float *out, size_t n)
{
    __m512 acc = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
        acc = _mm512_mask_add_ps(acc, lanes, acc, _mm512_mul_ps(v, v));
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(sum_lanes(acc) / (float)n + eps));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
        _mm512_mask_storeu_ps(out + i, lanes,
                              _mm512_mul_ps(v, _mm512_maskz_loadu_ps(lanes, w + i)));
    }
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_maskz_loadu_ps(lanes, y + i));
        _mm512_mask_storeu_ps(x + i, lanes, sum);
    }
}

static void swiglu(float *gate, const float *up, size_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
        __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), g));
        g = _mm512_div_ps(g, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(gate + i, lanes,
                              _mm512_mul_ps(g, _mm512_maskz_loadu_ps(lanes, up + i)));
    }
}

static void geglu(float *gate, const float *up, size_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
        __m512 cube = _mm512_mul_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(0.044715f));
        __m512 z = _mm512_mul_ps(_mm512_fmadd_ps(cube, g, g), _mm512_set1_ps(-0x1.988454p+0f));
        g = _mm512_div_ps(g, _mm512_add_ps(one, exp16(z)));
        _mm512_mask_storeu_ps(gate + i, lanes,
                              _mm512_mul_ps(g, _mm512_maskz_loadu_ps(lanes, up + i)));
    }
}

static void rope_halves(float *a, float *b, const float *cos, const float *sin, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = first_lanes(n - i);
        __m512 x = _mm512_maskz_loadu_ps(lanes, a + i), y = _mm512_maskz_loadu_ps(lanes, b + i);
        __m512 c = _mm512_maskz_loadu_ps(lanes, cos + i), s = _mm512_maskz_loadu_ps(lanes, sin + i);
        _mm512_mask_storeu_ps(a + i, lanes,
                              _mm512_sub_ps(_mm512_mul_ps(x, c), _mm512_mul_ps(y, s)));
        _mm512_mask_storeu_ps(b + i, lanes,
                              _mm512_add_ps(_mm512_mul_ps(x, s), _mm512_mul_ps(y, c)));
    }
}

void avx512_init_vector(struct kernels *k)
{
    k->quantize = quantize;
    k->f32_to_f16 = f32_to_f16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->swiglu = swiglu;
    k->geglu = geglu;
    k->rope_halves = rope_halves;
}
