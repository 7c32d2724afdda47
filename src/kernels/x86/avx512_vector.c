/* Quantization of activations, attention and the element-wise operations on AVX-512. */
#include "kernels/x86/x86.h"

#include <immintrin.h>
#include <math.h>

enum { P = KERNELS_PAGE_TOKENS };

/* ---- what several of them need ---- */

/* e^x within 2 ulp; 0 for -infinity, infinity above 89. */
INLINE __m512 exp16(__m512 x)
{
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(100.0f)), _mm512_set1_ps(-200.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    /* r = x - n ln 2, in two parts; then the Taylor series to the seventh power, |r| < 0.35 */
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

INLINE __mmask16 first_lanes(size_t n)
{
    return n < 16 ? (__mmask16)((1u << n) - 1) : 0xffff;
}

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

/* ---- attention ---- */

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
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->f32_to_f16 = f32_to_f16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->swiglu = swiglu;
    k->rope_halves = rope_halves;
}
