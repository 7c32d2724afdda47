/* Matrix times few tokens on AVX-512 VNNI: weights are streamed two rows at a time, eight blocks of
 * each, whose exact sums land in sixteen lanes, the strands of both rows (avx512_pair.h). What is
 * unpacked once serves all tokens. Also the float types. */
#include "kernels/x86/avx512_float.h"
#include "kernels/x86/avx512_pair_more.h"
#include "quant/quant.h"

enum { PREFETCH_BYTES = 4096 }; /* ahead: DRAM's latency at full speed */

/* The sums of the four dwords of each 128 bits of v[0..3], side by side. Dwords of 8 products with
 * u < 32, or of 4 with u < 64 (HALVES), fit into 16 bits, and so do 16 products with u < 16. */
INLINE __m512i add_crosswise(const __m512i *v, const enum kernels_form form, const int max_u)
{
    const __m512i one = _mm512_set1_epi16(1);
    __m512i ab, cd;
    if (max_u > (form == KERNELS_HALVES ? 63 : 31)) {
        ab = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        cd = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    }
    ab = _mm512_madd_epi16(_mm512_packs_epi32(v[0], v[1]), one);
    cd = _mm512_madd_epi16(_mm512_packs_epi32(v[2], v[3]), one);
    if (max_u < 16)
        return _mm512_madd_epi16(_mm512_packs_epi32(ab, cd), one);
    __m512 x = _mm512_castsi512_ps(ab), y = _mm512_castsi512_ps(cd);
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}

INLINE __m512i load_twice(const void *p)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(p));
}

INLINE __m512 load_floats_twice(const float *p)
{
    return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
}

/* Adds the first n_blocks (4 or 8) of the eight blocks from block b on. Those not in `lanes` may be
 * anything. */
INLINE __m512 add_pair(__m512 acc, const enum kernels_form form, const int max_u,
                       const struct pair *g, const struct kernels_row_x *x, size_t b,
                       const int n_blocks, __mmask16 lanes)
{
    const bool halves = form == KERNELS_HALVES;
    const bool has_min = form == KERNELS_MIN || form == KERNELS_WIDE_MIN;
    const int8_t *q = x->q + b * KERNELS_BLOCK;
    __m512i dot[4], dot_upper[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        dot[j] = dot_upper[j] = _mm512_setzero_si512();
        if (j >= n_blocks / 2)
            continue;
        dot[j] = _mm512_dpbusd_epi32(dot[j], g->u[j][0], load_twice(q + 64 * j));
        __m512i *upper = halves ? &dot_upper[j] : &dot[j];
        *upper = _mm512_dpbusd_epi32(*upper, g->u[j][1], load_twice(q + 64 * j + 32));
    }
    __m512i sums = add_crosswise(dot, form, max_u);
    __m512 da = load_floats_twice(x->d + b);
    if (form != KERNELS_MIN && form != KERNELS_MINS)
        sums = _mm512_add_epi32(sums, load_twice(x->c[0] + b));
    acc = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(g->d, da), acc, lanes);
    if (has_min && g->subtracts_m)
        acc = _mm512_mask3_fnmadd_ps(g->m, load_floats_twice(x->s + b), acc, lanes);
    else if (has_min)
        acc = _mm512_mask3_fmadd_ps(g->m, load_floats_twice(x->s + b), acc, lanes);
    if (form == KERNELS_MINS) {
        acc = _mm512_mask3_fmadd_ps(g->m, load_floats_twice(x->sh[0] + b), acc, lanes);
        acc = _mm512_mask3_fmadd_ps(g->m_upper, load_floats_twice(x->sh[1] + b), acc, lanes);
    }
    if (halves) {
        sums = _mm512_add_epi32(add_crosswise(dot_upper, form, max_u), load_twice(x->c[1] + b));
        acc = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(g->d_upper, da), acc,
                                    lanes);
    }
    return acc;
}

/* ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) of both rows, in lanes 0 and 8. */
INLINE __m512 tree(__m512 s)
{
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    s = _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0xb1));
    return _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
}

/* The results of the first n_rows (of two) rows. */
INLINE void store_rows(const __m512 *acc, size_t n_rows, const size_t n_tokens, float *y,
                       size_t y_stride)
{
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        __m512 sums = tree(acc[t]);
        y[t * y_stride] = _mm512_cvtss_f32(sums);
        if (n_rows > 1)
            y[t * y_stride + 1] = _mm_cvtss_f32(_mm512_extractf32x4_ps(sums, 2));
    }
}

/* The lanes of the first n blocks in both rows. */
static __mmask16 lanes_of(size_t n)
{
    static const uint8_t order[8] = {PAIR_ORDER};
    unsigned lanes = 0;
    for (int i = 0; i < 8; i++)
        lanes |= order[i] < n ? 0x101u << i : 0;
    return (__mmask16)lanes;
}

/* What is fetched ahead: the stream's groups of both rows, then those of the next rows. */
struct ahead {
    const uint8_t *row;
    size_t at;
};

INLINE void ahead_step(struct ahead *a, size_t row_bytes, const size_t group_bytes)
{
    UNROLL
    for (size_t i = 0; i < group_bytes; i += 64) {
        _mm_prefetch((const char *)a->row + a->at + i, _MM_HINT_T0);
        _mm_prefetch((const char *)a->row + row_bytes + a->at + i, _MM_HINT_T0);
    }
    a->at += group_bytes;
    if (a->at >= row_bytes) {
        a->at -= row_bytes;
        a->row += 2 * row_bytes;
    }
}

/* A row kernel of one type. */
struct stream {
    pair_init_fn *init;
    pair_fn *unpack;
    enum kernels_form form;
    int max_u;
    size_t group_bytes; /* of eight blocks */
    bool has_tail;      /* rows need not be whole groups */
};

/* The last n blocks of two rows: eight are read, so the matrix must not end before. */
INLINE void copy_tail(const uint8_t **p, const uint8_t *end, const size_t group_bytes, size_t n,
                      uint8_t (*copies)[8 * 40])
{
    for (int i = 0; i < 2; i++)
        if ((size_t)(end - p[i]) < group_bytes)
            p[i] = memcpy(copies[i], p[i], n * (group_bytes / 8));
}

/* Two rows, the second of which may be the first again; `end` is that of the matrix. */
INLINE void add_rows(const struct stream *s, const struct pair_index *index, struct ahead *ahead,
                     const uint8_t *const rows[2], size_t row_bytes, const uint8_t *end,
                     size_t n_blocks, const struct kernels_row_x *x, const size_t n_tokens,
                     __m512 *acc)
{
    const uint8_t *p[2] = {rows[0], rows[1]};
    uint8_t copies[2][8 * 40];
    __mmask16 lanes = 0xffff;
    struct pair g;
    size_t b = 0;
    for (; b < n_blocks; b += 8) {
        if (s->has_tail && b + 8 > n_blocks) {
            lanes = lanes_of(n_blocks - b);
            copy_tail(p, end, s->group_bytes, n_blocks - b, copies);
            if (n_blocks - b <= 4)
                break;
        }
        ahead_step(ahead, row_bytes, s->group_bytes);
        s->unpack(&g, index, p, 8);
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = add_pair(acc[t], s->form, s->max_u, &g, &x[t], b, 8, lanes);
        p[0] += s->group_bytes;
        p[1] += s->group_bytes;
    }
    if (!s->has_tail || b >= n_blocks)
        return;
    s->unpack(&g, index, p, 4);
    UNROLL
    for (size_t t = 0; t < n_tokens; t++)
        acc[t] = add_pair(acc[t], s->form, s->max_u, &g, &x[t], b, 4, lanes);
}

INLINE void rows_tokens(const struct stream *s, const uint8_t *w, size_t row_bytes, size_t n_rows,
                        size_t n_blocks, const struct kernels_row_x *x, const size_t n_tokens,
                        float *y, size_t y_stride)
{
    const uint8_t *end = w + n_rows * row_bytes;
    struct ahead ahead = {w, PREFETCH_BYTES / 2};
    struct pair_index index = {.mask = {0}};
    s->init(&index);
    for (; ahead.at >= row_bytes; ahead.at -= row_bytes)
        ahead.row += 2 * row_bytes;
    for (size_t r = 0; r < n_rows; r += 2, w += 2 * row_bytes) {
        const uint8_t *const rows[2] = {w, r + 1 < n_rows ? w + row_bytes : w};
        __m512 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        add_rows(s, &index, &ahead, rows, row_bytes, end, n_blocks, x, n_tokens, acc);
        store_rows(acc, n_rows - r, n_tokens, y + r, y_stride);
    }
}

#define DEFINE_TOKENS(type, n, ...)                                                                \
    static void rows_##type##_##n(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks, \
                                  const struct kernels_row_x *x, float *y, size_t y_stride)        \
    {                                                                                              \
        const struct stream s = {pair_init_##type, pair_##type, __VA_ARGS__};                      \
        rows_tokens(&s, w, row_bytes, n_rows, n_blocks, x, n, y, y_stride);                        \
    }
#define DEFINE_ROWS(type, ...)                                                                     \
    DEFINE_TOKENS(type, 1, __VA_ARGS__)                                                            \
    DEFINE_TOKENS(type, 2, __VA_ARGS__)                                                            \
    DEFINE_TOKENS(type, 3, __VA_ARGS__)                                                            \
    DEFINE_TOKENS(type, 4, __VA_ARGS__)                                                            \
    static void rows_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,       \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        static rows_fn *const by_tokens[] = {rows_##type##_1, rows_##type##_2, rows_##type##_3,    \
                                             rows_##type##_4};                                     \
        by_tokens[n_tokens - 1](w, row_bytes, n_rows, n_blocks, x, y, y_stride);                   \
    }
typedef void rows_fn(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,
                     const struct kernels_row_x *x, float *y, size_t y_stride);
#define SMALL(type) 8 * sizeof(struct quant_##type), true
#define WHOLE(type) sizeof(struct quant_##type), false
DEFINE_ROWS(q4_0, KERNELS_OFFSET, 15, SMALL(q4_0))
DEFINE_ROWS(q4_1, KERNELS_MIN, 15, SMALL(q4_1))
DEFINE_ROWS(q5_0, KERNELS_OFFSET, 31, SMALL(q5_0))
DEFINE_ROWS(q5_1, KERNELS_MIN, 31, SMALL(q5_1))
DEFINE_ROWS(q8_0, KERNELS_WIDE, 255, SMALL(q8_0))
DEFINE_ROWS(q4_k, KERNELS_MIN, 15, WHOLE(q4_k))
DEFINE_ROWS(q5_k, KERNELS_MIN, 31, WHOLE(q5_k))
DEFINE_ROWS(q6_k, KERNELS_HALVES, 63, WHOLE(q6_k))
DEFINE_ROWS(q2_k, KERNELS_MINS, 45, WHOLE(q2_k))
DEFINE_ROWS(q3_k, KERNELS_WIDE, 255, WHOLE(q3_k))
DEFINE_ROWS(iq4_nl, KERNELS_WIDE, 255, SMALL(iq4_nl))
DEFINE_ROWS(iq4_xs, KERNELS_WIDE, 255, WHOLE(iq4_xs))
DEFINE_ROWS(mxfp4, KERNELS_OFFSET, 24, SMALL(mxfp4))

/* ---- MLX's affine weights ---- */

INLINE void affine_tokens(const struct kernels_affine *w, const uint32_t bits, size_t n_rows,
                          size_t n_blocks, const struct kernels_row_x *x, const size_t n_tokens,
                          float *y, size_t y_stride)
{
    const enum kernels_form form = bits == 8 ? KERNELS_WIDE_MIN : KERNELS_MIN;
    const __m512i blocks = pair_affine_blocks(w);
    for (size_t r = 0; r < n_rows; r += 2) {
        size_t at[2] = {r * n_blocks, (r + 1 < n_rows ? r + 1 : r) * n_blocks}, b = 0;
        __m512 acc[KERNELS_FEW_TOKENS];
        struct pair g;
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        for (; b + 8 <= n_blocks; b += 8, at[0] += 8, at[1] += 8) {
            UNROLL
            for (size_t i = 0; i < 32 * bits; i += 64) {
                _mm_prefetch((const char *)(w->q + at[0] * bits) + PREFETCH_BYTES + i, _MM_HINT_T0);
                _mm_prefetch((const char *)(w->q + at[1] * bits) + PREFETCH_BYTES + i, _MM_HINT_T0);
            }
            pair_affine(&g, w, blocks, bits, at, 8);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_pair(acc[t], form, bits == 8 ? 255 : 15, &g, &x[t], b, 8, 0xffff);
        }
        if (b < n_blocks) {
            pair_affine(&g, w, blocks, bits, at, n_blocks - b);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_pair(acc[t], form, bits == 8 ? 255 : 15, &g, &x[t], b, 8,
                                  lanes_of(n_blocks - b));
        }
        store_rows(acc, n_rows - r, n_tokens, y + r, y_stride);
    }
}

#define AFFINE_CASE(n)                                                                             \
    case n:                                                                                        \
        if (w->bits == 8)                                                                          \
            affine_tokens(w, 8, n_rows, n_blocks, x, n, y, y_stride);                              \
        else                                                                                       \
            affine_tokens(w, 4, n_rows, n_blocks, x, n, y, y_stride);                              \
        break;
static void affine_rows(const struct kernels_affine *w, size_t n_rows, size_t n_blocks,
                        const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    switch (n_tokens) {
        AFFINE_CASE(1)
        AFFINE_CASE(2)
        AFFINE_CASE(3)
        AFFINE_CASE(4)
    }
}

/* ---- activations in the order of avx512_pair.h ---- */

INLINE void order_words(void *eight)
{
    const __m256i order = _mm256_setr_epi32(PAIR_ORDER);
    __m256i v = _mm256_loadu_si256(eight);
    _mm256_storeu_si256(eight, _mm256_permutevar8x32_epi32(v, order));
}

static void arrange(const struct kernels_blocks *row, size_t n_blocks)
{
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i odd = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (size_t b = 0; b < n_blocks; b += 8) {
        for (size_t i = b; i < b + 8; i += 4) {
            int8_t *q = row->q + i * KERNELS_BLOCK;
            __m512i v = _mm512_loadu_si512(q), w = _mm512_loadu_si512(q + 64);
            _mm512_storeu_si512(q, _mm512_permutex2var_epi64(v, even, w));
            _mm512_storeu_si512(q + 64, _mm512_permutex2var_epi64(v, odd, w));
        }
        order_words(row->d + b);
        order_words(row->s + b);
        order_words(row->half[0] + b);
        order_words(row->half[1] + b);
    }
}

/* ---- floats: sixteen strands are sixteen lanes ---- */

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
    k->arrange = arrange;
    k->types[QUANT_Q4_0].rows = rows_q4_0;
    k->types[QUANT_Q4_1].rows = rows_q4_1;
    k->types[QUANT_Q5_0].rows = rows_q5_0;
    k->types[QUANT_Q5_1].rows = rows_q5_1;
    k->types[QUANT_Q8_0].rows = rows_q8_0;
    k->types[QUANT_Q4_K].rows = rows_q4_k;
    k->types[QUANT_Q5_K].rows = rows_q5_k;
    k->types[QUANT_Q6_K].rows = rows_q6_k;
    k->types[QUANT_Q2_K].rows = rows_q2_k;
    k->types[QUANT_Q3_K].rows = rows_q3_k;
    k->types[QUANT_IQ4_NL].rows = rows_iq4_nl;
    k->types[QUANT_IQ4_XS].rows = rows_iq4_xs;
    k->types[QUANT_MXFP4].rows = rows_mxfp4;
    k->affine_rows = affine_rows;
    k->types[QUANT_F32].float_rows = rows_f32;
    k->types[QUANT_F16].float_rows = rows_f16;
    k->types[QUANT_BF16].float_rows = rows_bf16;
}
