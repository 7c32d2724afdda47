/* Quantization of activations and the element-wise operations on AVX2. */
#include "kernels/x86/avx2_float.h"

#include <math.h>
#include <string.h>

/* ---- quantization ---- */

INLINE void quantize_block(const float *x, size_t p, const struct kernels_blocks *out)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[4];
    __m256i q[4];
    __m256 most = _mm256_setzero_ps();
    UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v[i]));
    }
    float scale = kernels_scale_of(max_lanes(most));
    __m256 inverse = _mm256_set1_ps(scale > 0 ? 1.0f / scale : 0.0f);
    UNROLL
    for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    __m256i low = _mm256_add_epi32(q[0], q[1]), high = _mm256_add_epi32(q[2], q[3]);
    low = _mm256_hadd_epi32(low, high);
    low = _mm256_hadd_epi32(low, low);
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    /* packing works on 128 bits at a time: the last permutation puts the dwords in order */
    __m256i words = _mm256_packs_epi32(q[0], q[1]), words2 = _mm256_packs_epi32(q[2], q[3]);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, words2),
                                                _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(out->q + p * 32), bytes);
    out->d[p] = scale;
    out->half[0][p] = _mm_extract_epi32(sums, 0);
    out->half[1][p] = _mm_extract_epi32(sums, 1);
    out->s[p] = scale * (float)(out->half[0][p] + out->half[1][p]);
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
    const __m256 most = _mm256_set1_ps(65504.0f), least = _mm256_set1_ps(-65504.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = load_first(x + i, n - i);
        v = _mm256_min_ps(_mm256_max_ps(v, least), most);
        uint16_t h[8];
        _mm_storeu_si128((__m128i *)h, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
        memcpy(out + i, h, (n - i < 8 ? n - i : 8) * sizeof *h);
    }
}

static void rms_norm(const float *x, const float *w, float eps, float *out, size_t n)
{
    __m256 low = _mm256_setzero_ps(), high = low;
    for (size_t i = 0; i < n; i += 16) {
        __m256 v = load_first(x + i, n - i);
        low = _mm256_add_ps(low, _mm256_mul_ps(v, v));
        if (n - i <= 8)
            break;
        v = load_first(x + i + 8, n - i - 8);
        high = _mm256_add_ps(high, _mm256_mul_ps(v, v));
    }
    float sum = sum_lanes(_mm256_add_ps(low, high));
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum / (float)n + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(load_first(x + i, n - i), scale);
        store_first(out + i, n - i, _mm256_mul_ps(v, load_first(w + i, n - i)));
    }
}

static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

static void swiglu(float *gate, const float *up, size_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 g = load_first(gate + i, n - i);
        __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
        g = _mm256_div_ps(g, _mm256_add_ps(one, e));
        store_first(gate + i, n - i, _mm256_mul_ps(g, load_first(up + i, n - i)));
    }
}

static void geglu(float *gate, const float *up, size_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 g = load_first(gate + i, n - i);
        __m256 cube = _mm256_mul_ps(_mm256_mul_ps(g, g), _mm256_set1_ps(0.044715f));
        __m256 z = _mm256_mul_ps(_mm256_fmadd_ps(cube, g, g), _mm256_set1_ps(-0x1.988454p+0f));
        g = _mm256_div_ps(g, _mm256_add_ps(one, exp8(z)));
        store_first(gate + i, n - i, _mm256_mul_ps(g, load_first(up + i, n - i)));
    }
}

static void rope_halves(float *a, float *b, const float *cos, const float *sin, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256 x = load_first(a + i, n - i), y = load_first(b + i, n - i);
        __m256 c = load_first(cos + i, n - i), s = load_first(sin + i, n - i);
        store_first(a + i, n - i, _mm256_sub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(y, s)));
        store_first(b + i, n - i, _mm256_add_ps(_mm256_mul_ps(x, s), _mm256_mul_ps(y, c)));
    }
}

void avx2_init_vector(struct kernels *k)
{
    k->quantize = quantize;
    k->f32_to_f16 = f32_to_f16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->swiglu = swiglu;
    k->geglu = geglu;
    k->rope_halves = rope_halves;
}
