/* Matrix times few tokens on AVX-512 VNNI: weights are streamed row by row, eight blocks at a
 * time, whose exact sums land in eight lanes, the strands of kernels.h. Also the float types. */
#include "kernels/x86/avx512_unpack.h"
#include "quant/quant.h"

enum { PREFETCH_BYTES = 4096 }; /* ahead: DRAM's latency at full speed */

/* Per 128 bits, the sums of four dwords of each of four registers. */
INLINE __m512i add_transposed(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* The same where u < 32: sums of eight products, at most 8 * 31 * 127, fit into 16 bits. */
INLINE __m512i add_transposed_small(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i one = _mm512_set1_epi16(1);
    __m512i ab = _mm512_madd_epi16(_mm512_packs_epi32(a, b), one);
    __m512i cd = _mm512_madd_epi16(_mm512_packs_epi32(c, d), one);
    return _mm512_madd_epi16(_mm512_packs_epi32(ab, cd), one);
}

/* Adds the n_pairs pairs of blocks from block b on; `lanes` are those blocks. */
INLINE __m256 add_group(__m256 acc, const enum kernels_form form, const struct group *g,
                        const struct kernels_row_x *x, size_t b, int n_pairs, __mmask8 lanes)
{
    const __m512i lower = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i upper = _mm512_setr_epi32(4, 12, 5, 13, 6, 14, 7, 15, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i dot[4];
    UNROLL
    for (int j = 0; j < 4; j++)
        dot[j] = j < n_pairs
                     ? _mm512_dpbusd_epi32(_mm512_setzero_si512(), g->u[j],
                                           _mm512_loadu_si512(x->q + b * 32 + 64 * j))
                     : _mm512_setzero_si512();
    __m512i sums = form == KERNELS_OFFSET || form == KERNELS_MIN
                       ? add_transposed_small(dot[0], dot[1], dot[2], dot[3])
                       : add_transposed(dot[0], dot[1], dot[2], dot[3]);
    __m256i low = _mm512_castsi512_si256(_mm512_permutexvar_epi32(lower, sums));
    __m256i high = _mm512_castsi512_si256(_mm512_permutexvar_epi32(upper, sums));
    __m256 da = _mm256_loadu_ps(x->d + b);
    if (form == KERNELS_HALVES) {
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 0, 0, 0, 0, 0, 0, 0, 0);
        __m256 d0 = _mm512_castps512_ps256(_mm512_permutexvar_ps(even, g->d16));
        __m256 d1 = _mm512_castps512_ps256(_mm512_permutexvar_ps(odd, g->d16));
        low = _mm256_add_epi32(low, _mm256_loadu_si256((const __m256i *)(x->c[0] + b)));
        high = _mm256_add_epi32(high, _mm256_loadu_si256((const __m256i *)(x->c[1] + b)));
        acc = _mm256_mask3_fmadd_ps(_mm256_cvtepi32_ps(low), _mm256_mul_ps(d0, da), acc, lanes);
        return _mm256_mask3_fmadd_ps(_mm256_cvtepi32_ps(high), _mm256_mul_ps(d1, da), acc, lanes);
    }
    __m256i sum = _mm256_add_epi32(low, high);
    if (form != KERNELS_MIN)
        sum = _mm256_add_epi32(sum, _mm256_loadu_si256((const __m256i *)(x->c[0] + b)));
    acc = _mm256_mask3_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(g->d, da), acc, lanes);
    if (form == KERNELS_MIN)
        acc = _mm256_mask3_fmadd_ps(g->m, _mm256_loadu_ps(x->s + b), acc, lanes);
    return acc;
}

/* ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) */
INLINE float tree(__m256 s)
{
    s = _mm256_hadd_ps(s, s);
    s = _mm256_hadd_ps(s, s);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* block_bytes: of 32 weights, for k-blocks an eighth of theirs; n_words: 16-bit scales of small
 * blocks. */
INLINE void rows_tokens(group_fn *group, const enum kernels_form form, const size_t group_bytes,
                        const int n_words, const uint8_t *w, size_t row_bytes, size_t n_rows,
                        size_t n_blocks, const struct kernels_row_x *x, const size_t n_tokens,
                        float *y, size_t y_stride)
{
    const size_t n_whole = n_blocks & ~(size_t)7;
    const __mmask8 tail = (__mmask8)((1u << (n_blocks - n_whole)) - 1);
    struct words words = {.mask = {0}};
    if (n_words)
        words = words_init((int)(group_bytes / 8), n_words);
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        const uint8_t *p = w;
        struct group g;
        __m256 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm256_setzero_ps();
        for (size_t b = 0; b < n_whole; b += 8, p += group_bytes) {
            UNROLL
            for (size_t i = 0; i < group_bytes; i += 64)
                _mm_prefetch((const char *)p + PREFETCH_BYTES + i, _MM_HINT_T0);
            group(&g, &words, p, 4);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_group(acc[t], form, &g, &x[t], b, 4, 0xff);
        }
        if (tail && n_words) { /* k-blocks have no tail */
            uint8_t last[8 * 40];
            /* eight blocks are read, so the matrix must not end before */
            if ((n_rows - r) * row_bytes < (size_t)(p - w) + group_bytes)
                p = memcpy(last, p, (n_blocks - n_whole) * (group_bytes / 8));
            const int n_pairs = (int)(n_blocks - n_whole + 1) / 2;
            for (int j = 0; j < 4; j++)
                g.u[j] = _mm512_setzero_si512();
            group(&g, &words, p, n_pairs);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_group(acc[t], form, &g, &x[t], n_whole, n_pairs, tail);
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

#define DEFINE_ROWS(type, form, group_bytes, n_words)                                              \
    static void rows_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,       \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        switch (n_tokens) {                                                                        \
        case 1:                                                                                    \
            rows_tokens(group_##type, form, group_bytes, n_words, w, row_bytes, n_rows, n_blocks,  \
                        x, 1, y, y_stride);                                                        \
            break;                                                                                 \
        case 2:                                                                                    \
            rows_tokens(group_##type, form, group_bytes, n_words, w, row_bytes, n_rows, n_blocks,  \
                        x, 2, y, y_stride);                                                        \
            break;                                                                                 \
        case 3:                                                                                    \
            rows_tokens(group_##type, form, group_bytes, n_words, w, row_bytes, n_rows, n_blocks,  \
                        x, 3, y, y_stride);                                                        \
            break;                                                                                 \
        default:                                                                                   \
            rows_tokens(group_##type, form, group_bytes, n_words, w, row_bytes, n_rows, n_blocks,  \
                        x, 4, y, y_stride);                                                        \
        }                                                                                          \
    }
DEFINE_ROWS(q4_0, KERNELS_OFFSET, 8 * sizeof(struct quant_q4_0), 1)
DEFINE_ROWS(q4_1, KERNELS_MIN, 8 * sizeof(struct quant_q4_1), 2)
DEFINE_ROWS(q5_0, KERNELS_OFFSET, 8 * sizeof(struct quant_q5_0), 1)
DEFINE_ROWS(q5_1, KERNELS_MIN, 8 * sizeof(struct quant_q5_1), 2)
DEFINE_ROWS(q8_0, KERNELS_WIDE, 8 * sizeof(struct quant_q8_0), 1)
DEFINE_ROWS(q4_k, KERNELS_MIN, sizeof(struct quant_q4_k), 0)
DEFINE_ROWS(q5_k, KERNELS_MIN, sizeof(struct quant_q5_k), 0)
DEFINE_ROWS(q6_k, KERNELS_HALVES, sizeof(struct quant_q6_k), 0)

/* ---- floats: sixteen strands are sixteen lanes ---- */

typedef __m512 load_fn(const uint8_t *p, __mmask16 lanes);

INLINE __m512 load_f32(const uint8_t *p, __mmask16 lanes)
{
    return _mm512_maskz_loadu_ps(lanes, p);
}

INLINE __m512 load_f16(const uint8_t *p, __mmask16 lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p));
}

INLINE __m512 load_bf16(const uint8_t *p, __mmask16 lanes)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* Halves added to halves, as the reference does. */
INLINE float sum_lanes(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

INLINE void float_rows_tokens(load_fn *load, const size_t size, const uint8_t *w, size_t row_bytes,
                              size_t n_rows, size_t n, const float *x, size_t x_stride,
                              const size_t n_tokens, float *y, size_t y_stride)
{
    const size_t n_whole = n & ~(size_t)15;
    const __mmask16 tail = (__mmask16)((1u << (n - n_whole)) - 1);
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        __m512 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        for (size_t i = 0; i < n; i += 16) {
            __mmask16 lanes = i < n_whole ? 0xffff : tail;
            _mm_prefetch((const char *)w + i * size + PREFETCH_BYTES, _MM_HINT_T0);
            __m512 v = load(w + i * size, lanes);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = _mm512_mask3_fmadd_ps(
                    v, _mm512_maskz_loadu_ps(lanes, x + t * x_stride + i), acc[t], lanes);
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = sum_lanes(acc[t]);
    }
}

#define DEFINE_FLOAT(type, size)                                                                   \
    static void rows_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n,              \
                            const float *x, size_t x_stride, size_t n_tokens, float *y,            \
                            size_t y_stride)                                                       \
    {                                                                                              \
        if (n_tokens == 4) {                                                                       \
            float_rows_tokens(load_##type, size, w, row_bytes, n_rows, n, x, x_stride, 4, y,       \
                              y_stride);                                                           \
            return;                                                                                \
        }                                                                                          \
        for (size_t t = 0; t < n_tokens; t++)                                                      \
            float_rows_tokens(load_##type, size, w, row_bytes, n_rows, n, x + t * x_stride,        \
                              x_stride, 1, y + t * y_stride, y_stride);                            \
    }
DEFINE_FLOAT(f32, 4)
DEFINE_FLOAT(f16, 2)
DEFINE_FLOAT(bf16, 2)

void avx512_init_rows(struct kernels *k)
{
    k->types[QUANT_Q4_0].rows = rows_q4_0;
    k->types[QUANT_Q4_1].rows = rows_q4_1;
    k->types[QUANT_Q5_0].rows = rows_q5_0;
    k->types[QUANT_Q5_1].rows = rows_q5_1;
    k->types[QUANT_Q8_0].rows = rows_q8_0;
    k->types[QUANT_Q4_K].rows = rows_q4_k;
    k->types[QUANT_Q5_K].rows = rows_q5_k;
    k->types[QUANT_Q6_K].rows = rows_q6_k;
    k->types[QUANT_F32].float_rows = rows_f32;
    k->types[QUANT_F16].float_rows = rows_f16;
    k->types[QUANT_BF16].float_rows = rows_bf16;
}
