/* Quantization of activations and the element-wise operations on AVX-512. */
#include "kernels/x86/avx512_float.h"

#include <math.h>

/* ---- quantization ---- */

/* Eight registers of sixteen lanes, folded with `fold`: out[8] lanes, lane i from v[i]. */
typedef __m512 fold_fn(__m512 a, __m512 b);

INLINE __m256 fold_lanes(fold_fn *fold, const __m512 v[8])
{
    __m512 a[4], b[2];
    UNROLL
    for (int i = 0; i < 4; i++) /* 128-bit parts: two of v[i], two of v[i + 4] */
        a[i] = fold(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x44),
                    _mm512_shuffle_f32x4(v[i], v[i + 4], 0xee));
    UNROLL
    for (int i = 0; i < 2; i++) /* pairs of lanes: of a[i], then of a[i + 2] */
        b[i] = fold(_mm512_shuffle_ps(a[i], a[i + 2], 0x44),
                    _mm512_shuffle_ps(a[i], a[i + 2], 0xee));
    __m512 c = fold(_mm512_shuffle_ps(b[0], b[1], 0x88), _mm512_shuffle_ps(b[0], b[1], 0xdd));
    /* 128-bit parts of c: lanes v0 v2 v1 v3 twice, then v4 v6 v5 v7 twice */
    c = fold(c, _mm512_shuffle_f32x4(c, c, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, c));
}

INLINE __m512 larger(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }

/* Lane i to out[i * step], the first n. */
INLINE void scatter(void *out, size_t step, __m256i v, size_t n)
{
    if (step == 1) {
        _mm256_mask_storeu_epi32(out, (__mmask8)((1u << n) - 1), v);
        return;
    }
    _Alignas(32) int32_t lanes[8];
    _mm256_store_si256((__m256i *)lanes, v);
    for (size_t i = 0; i < n; i++)
        ((int32_t *)out)[i * step] = lanes[i];
}

/* kernels_scale_of(); 0 for lanes that are not `large`. */
INLINE __m256 scale_of(__m256 largest, __mmask8 large)
{
    const __m256i below = _mm256_set1_epi32((1 << (23 - KERNELS_SCALE_BITS)) - 1);
    __m256i bits =
        _mm256_castps_si256(_mm256_maskz_div_ps(large, largest, _mm256_set1_ps(127.0f)));
    return _mm256_castsi256_ps(_mm256_andnot_si256(below, _mm256_add_epi32(bits, below)));
}

/* n <= 8 blocks to the places p, p + strand, ... */
INLINE void quantize_group(const float *x, const size_t n, size_t p,
                           const struct kernels_blocks *out)
{
    __m512 most[8];
    UNROLL
    for (size_t b = 0; b < 8; b++)
        most[b] = b < n ? _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + 32 * b)),
                                        _mm512_abs_ps(_mm512_loadu_ps(x + 32 * b + 16)))
                        : _mm512_setzero_ps();
    const __m256 largest = fold_lanes(larger, most);
    const __mmask8 large = _mm256_cmp_ps_mask(largest, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ);
    const __m256 scale = scale_of(largest, large);
    _Alignas(32) float inverse[8];
    _mm256_store_ps(inverse, _mm256_maskz_div_ps(large, _mm256_set1_ps(1.0f), scale));
    _Alignas(32) int32_t halves[8][2] = {{0}};
    UNROLL
    for (size_t b = 0; b < n; b++) {
        const __m512 by = _mm512_set1_ps(inverse[b]);
        const float *block = x + 32 * b;
        __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(block), by));
        __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(block + 16), by));
        __m256i q = _mm256_set_m128i(_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low));
        _mm256_storeu_si256((__m256i *)(out->q + (p + b * out->strand) * 32), q);
        /* sums of eight bytes, as bytes without sign */
        __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)),
                                       _mm256_setzero_si256());
        sums = _mm256_add_epi64(sums, _mm256_bsrli_epi128(sums, 8));
        halves[b][0] = _mm256_cvtsi256_si32(sums);
        halves[b][1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
    }
    __m256i a = _mm256_load_si256((const __m256i *)halves);
    __m256i c = _mm256_load_si256((const __m256i *)halves + 1);
    const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i odd = _mm256_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15);
    const __m256i bias = _mm256_set1_epi32(16 * 128);
    __m256i low = _mm256_sub_epi32(_mm256_permutex2var_epi32(a, even, c), bias);
    __m256i high = _mm256_sub_epi32(_mm256_permutex2var_epi32(a, odd, c), bias);
    __m256 sum = _mm256_cvtepi32_ps(_mm256_add_epi32(low, high));
    scatter(out->d + p, out->strand, _mm256_castps_si256(scale), n);
    scatter(out->half[0] + p, out->strand, low, n);
    scatter(out->half[1] + p, out->strand, high, n);
    scatter(out->s + p, out->strand, _mm256_castps_si256(_mm256_mul_ps(scale, sum)), n);
}

static void quantize(const float *x, size_t n_blocks, const struct kernels_blocks *out)
{
    size_t b = 0;
    for (; b + 8 <= n_blocks; b += 8)
        quantize_group(x + b * 32, 8, b / 8 * out->step, out);
    for (size_t i = 0; b + i < n_blocks; i++)
        quantize_group(x + (b + i) * 32, 1, b / 8 * out->step + i * out->strand, out);
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
