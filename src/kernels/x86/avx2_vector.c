/* Quantization of activations, attention and the element-wise operations on AVX2. */
#include "kernels/x86/x86.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { P = KERNELS_PAGE_TOKENS };

/* ---- what several of them need ---- */

INLINE __m256 power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* e^x within 2 ulp; 0 for -infinity, infinity above 89. */
INLINE __m256 exp8(__m256 x)
{
    x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(100.0f)), _mm256_set1_ps(-120.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    /* r = x - n ln 2, in two parts; then the Taylor series to the seventh power, |r| < 0.35 */
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    /* 2^n in two factors, so that each is a normal number */
    __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    p = _mm256_mul_ps(p, power_of_two(half));
    return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(exponent, half)));
}

INLINE float exp1(float x)
{
    return _mm256_cvtss_f32(exp8(_mm256_set1_ps(x)));
}

/* All ones in the first n lanes. */
INLINE __m256i lanes(size_t n)
{
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), numbers);
}

/* Halves added to halves. */
INLINE float sum_lanes(__m256 a)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

INLINE float max_lanes(__m256 a)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

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
    float largest = max_lanes(most), scale = largest / 127.0f;
    __m256 inverse = _mm256_set1_ps(largest >= 0x1p-100f ? 127.0f / largest : 0.0f);
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

/* ---- attention ---- */

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

/* ---- element-wise ---- */

static void f32_to_f16(const float *x, uint16_t *out, size_t n)
{
    const __m256 most = _mm256_set1_ps(65504.0f), least = _mm256_set1_ps(-65504.0f);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n - i));
        v = _mm256_min_ps(_mm256_max_ps(v, least), most);
        uint16_t h[8];
        _mm_storeu_si128((__m128i *)h, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
        memcpy(out + i, h, (n - i < 8 ? n - i : 8) * sizeof *h);
    }
}

static void rms_norm(const float *x, const float *w, float eps, float *out, size_t n)
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n - i));
        acc[i / 8 % 2] = _mm256_add_ps(acc[i / 8 % 2], _mm256_mul_ps(v, v));
    }
    float sum = sum_lanes(_mm256_add_ps(acc[0], acc[1]));
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(sum / (float)n + eps));
    for (size_t i = 0; i < n; i += 8) {
        __m256i seen = lanes(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, seen), scale);
        _mm256_maskstore_ps(out + i, seen, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, seen)));
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
        __m256i seen = lanes(n - i);
        __m256 g = _mm256_maskload_ps(gate + i, seen);
        __m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), g));
        g = _mm256_div_ps(g, _mm256_add_ps(one, e));
        _mm256_maskstore_ps(gate + i, seen, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, seen)));
    }
}

static void rope_halves(float *a, float *b, const float *cos, const float *sin, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        __m256i seen = lanes(n - i);
        __m256 x = _mm256_maskload_ps(a + i, seen), y = _mm256_maskload_ps(b + i, seen);
        __m256 c = _mm256_maskload_ps(cos + i, seen), s = _mm256_maskload_ps(sin + i, seen);
        _mm256_maskstore_ps(a + i, seen, _mm256_sub_ps(_mm256_mul_ps(x, c), _mm256_mul_ps(y, s)));
        _mm256_maskstore_ps(b + i, seen, _mm256_add_ps(_mm256_mul_ps(x, s), _mm256_mul_ps(y, c)));
    }
}

void avx2_init_vector(struct kernels *k)
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
