/* Matrix times few tokens on AVX-512 VNNI: weights are streamed two rows at a time, eight blocks of
 * each, whose exact sums land in sixteen lanes, the strands of both rows (avx512_pair.h). What is
 * unpacked once serves all tokens. Also the float types. */
#include "kernels/x86/avx512_float.h"
#include "kernels/x86/avx512_pair_more.h"
#include "quant/quant.h"

/* Bytes that are fetched ahead, at the least. Near, into the first cache: DRAM's latency at full
 * speed. Far, into the second, for types of 8 bits and more: a core that loads so much leaves its
 * first cache no time for lines that come in beside that, which halves its speed; and where what is
 * fetched would push the activations out. */
enum { NEAR_BYTES = 4096, FAR_BYTES = 16384, NEAR_ROOM = 28 << 10 };

/* The sums of the four dwords of each 128 bits of v[0..3], side by side. */
INLINE __m512i add_crosswise(const __m512i *v)
{
    __m512i ab =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i cd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* Eight words for both rows of a pair. */
INLINE __m512i words_of_both(const void *p)
{
    const __m512i order = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm512_permutexvar_epi64(order, _mm512_castsi256_si512(_mm256_loadu_si256(p)));
}

INLINE __m512 floats_of_both(const float *p)
{
    return _mm512_castsi512_ps(words_of_both(p));
}

/* Adds eight blocks from block b on. Those not in `lanes` may be anything. */
INLINE __m512 add_pair(__m512 acc, const enum kernels_form form, const struct pair *g,
                       const struct kernels_row_x *x, size_t b, __mmask16 lanes)
{
    const bool halves = kernels_form_has_halves(form);
    const bool has_min = form == KERNELS_MIN || form == KERNELS_WIDE_MIN;
    const int8_t *q = x->q + b * KERNELS_BLOCK;
    __m512i dot[4], dot_upper[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        const __m512i *in = (const __m512i *)(q + j % 2 * 128);
        dot[j] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), g->u[j][0], _mm512_loadu_si512(in));
        dot_upper[j] = _mm512_dpbusd_epi32(halves ? _mm512_setzero_si512() : dot[j], g->u[j][1],
                                           _mm512_loadu_si512(in + 1));
    }
    const __m512 da = floats_of_both(x->d + b);
    if (halves) {
        __m512i low = _mm512_add_epi32(add_crosswise(dot), words_of_both(x->c[0] + b));
        __m512i high = _mm512_add_epi32(add_crosswise(dot_upper), words_of_both(x->c[1] + b));
        __m512 both = _mm512_mul_ps(_mm512_cvtepi32_ps(low), g->d);
        both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), g->d_upper, both);
        return _mm512_mask3_fmadd_ps(both, da, acc, lanes);
    }
    __m512i sums = add_crosswise(dot_upper);
    if (form != KERNELS_MIN && form != KERNELS_MINS)
        sums = _mm512_add_epi32(sums, words_of_both(x->c[0] + b));
    acc = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(g->d, da), acc, lanes);
    if (has_min && g->subtracts_m)
        acc = _mm512_mask3_fnmadd_ps(g->m, floats_of_both(x->s + b), acc, lanes);
    else if (has_min)
        acc = _mm512_mask3_fmadd_ps(g->m, floats_of_both(x->s + b), acc, lanes);
    if (form == KERNELS_MINS) {
        acc = _mm512_mask3_fmadd_ps(g->m, floats_of_both(x->sh[0] + b), acc, lanes);
        acc = _mm512_mask3_fmadd_ps(g->m_upper, floats_of_both(x->sh[1] + b), acc, lanes);
    }
    return acc;
}

/* ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) of both rows, in lanes 0 and 2. */
INLINE __m512 tree(__m512 s)
{
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    s = _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0xb1));
    return _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0x4e));
}

/* The results of the first n_rows (of two) rows. */
INLINE void store_rows(const __m512 *acc, size_t n_rows, const size_t n_tokens, float *y,
                       size_t y_stride)
{
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        __m128 sums = _mm512_castps512_ps128(tree(acc[t]));
        y[t * y_stride] = _mm_cvtss_f32(sums);
        if (n_rows > 1)
            y[t * y_stride + 1] = _mm_cvtss_f32(_mm_movehl_ps(sums, sums));
    }
}

/* The lanes of the first n blocks in both rows. */
static __mmask16 lanes_of(size_t n)
{
    unsigned lanes = 0;
    for (size_t b = 0; b < n && b < 8; b++)
        lanes |= 5u << (b / 2 * 4 + b % 2);
    return (__mmask16)lanes;
}

struct ahead {
    size_t n_bytes;
    bool is_far;
};

/* Never less than a row: the second of a pair begins there. */
INLINE struct ahead ahead_of(size_t row_bytes, size_t n_blocks, const size_t n_tokens,
                             const bool is_far)
{
    enum { X_BYTES = 48 }; /* of a block of activations */
    const size_t row = row_bytes + 2048, near = row > NEAR_BYTES ? row : NEAR_BYTES;
    if (is_far || x86_fetches_far() || n_tokens * n_blocks * X_BYTES + 2 * near > NEAR_ROOM)
        return (struct ahead){row > FAR_BYTES ? row : FAR_BYTES, true};
    return (struct ahead){near, false};
}

/* The rows of a pair lie behind each other, so what comes is fetched as one stream of memory, not
 * as two: two are half as fast. */
INLINE void fetch(const uint8_t *p, const size_t n_bytes, const struct ahead *ahead)
{
    const char *from = (const char *)p + ahead->n_bytes;
    if (ahead->is_far) {
        UNROLL
        for (size_t i = 0; i < n_bytes; i += 64)
            _mm_prefetch(from + i, _MM_HINT_T1);
    } else {
        UNROLL
        for (size_t i = 0; i < n_bytes; i += 64)
            _mm_prefetch(from + i, _MM_HINT_NTA);
    }
}

/* Bytes at some address, by the same hint. */
INLINE void fetch_also(const void *p, size_t n_bytes, const struct ahead *ahead)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        if (ahead->is_far)
            _mm_prefetch((const char *)p + i, _MM_HINT_T1);
        else
            _mm_prefetch((const char *)p + i, _MM_HINT_NTA);
}

/* A row kernel of one type. */
struct stream {
    pair_init_fn *init;
    pair_fn *unpack;
    enum kernels_form form;
    size_t group_bytes; /* of eight blocks */
    bool has_tail;      /* rows need not be whole groups */
    bool is_fetched_far;
};

/* Two rows, the second of which may be the first again; `end` is that of the matrix. */
INLINE void add_rows(const struct stream *s, const struct pair_index *index,
                     const uint8_t *const rows[2], const uint8_t *end,
                     const struct ahead *ahead, size_t n_blocks, const struct kernels_row_x *x,
                     const size_t n_tokens, __m512 *acc)
{
    const uint8_t *p[2] = {rows[0], rows[1]};
    uint8_t copies[2][8 * 40];
    __mmask16 lanes = 0xffff;
    struct pair g;
    for (size_t b = 0; b < n_blocks; b += 8) {
        if (s->has_tail && b + 8 > n_blocks) {
            lanes = lanes_of(n_blocks - b);
            pair_copy_tail(p, end, s->group_bytes, n_blocks - b, copies);
        }
        fetch(rows[0] + b / 4 * s->group_bytes, 2 * s->group_bytes, ahead);
        s->unpack(&g, index, p);
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = add_pair(acc[t], s->form, &g, &x[t], b, lanes);
        p[0] += s->group_bytes;
        p[1] += s->group_bytes;
    }
}

INLINE void rows_tokens(const struct stream *s, const uint8_t *w, size_t row_bytes, size_t n_rows,
                        size_t n_blocks, const struct kernels_row_x *x, const size_t n_tokens,
                        float *y, size_t y_stride)
{
    const uint8_t *end = w + n_rows * row_bytes;
    struct pair_index index = {.mask = {0}};
    s->init(&index);
    const struct ahead ahead = ahead_of(row_bytes, n_blocks, n_tokens, s->is_fetched_far);
    for (size_t r = 0; r < n_rows; r += 2, w += 2 * row_bytes) {
        const uint8_t *const rows[2] = {w, r + 1 < n_rows ? w + row_bytes : w};
        __m512 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        add_rows(s, &index, rows, end, &ahead, n_blocks, x, n_tokens, acc);
        store_rows(acc, n_rows - r, n_tokens, y + r, y_stride);
    }
}

typedef void rows_fn(const struct matrix *m, size_t first, size_t n, const struct kernels_row_x *x,
                     float *y, size_t y_stride);

#define DEFINE_TOKENS(NAME, n_tokens)                                                              \
    static void rows_##NAME##_##n_tokens(const struct matrix *m, size_t first, size_t n,           \
                                         const struct kernels_row_x *x, float *y,                  \
                                         size_t y_stride)                                          \
    {                                                                                              \
        const struct stream s = {pair_init_##NAME,                                                 \
                                 pair_##NAME,                                                      \
                                 (enum kernels_form)KERNELS_FORM_##NAME,                           \
                                 X86_GROUP_BYTES(NAME),                                            \
                                 QUANT_ELEMENTS_##NAME < 256,                                      \
                                 QUANT_BYTES_##NAME >= QUANT_ELEMENTS_##NAME};                     \
        rows_tokens(&s, matrix_row(m, MATRIX_BLOCKS, first), m->parts[MATRIX_BLOCKS].row_bytes, n, \
                    m->n_cols / KERNELS_BLOCK, x, n_tokens, y, y_stride);                          \
    }
/* A function for each number of tokens, and one that chooses. */
#define DEFINE_BY_TOKENS(DEFINE, NAME)                                                             \
    DEFINE(NAME, 1)                                                                                \
    DEFINE(NAME, 2)                                                                                \
    DEFINE(NAME, 3)                                                                                \
    DEFINE(NAME, 4)                                                                                \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        static rows_fn *const by_tokens[] = {rows_##NAME##_1, rows_##NAME##_2, rows_##NAME##_3,    \
                                             rows_##NAME##_4};                                     \
        by_tokens[n_tokens - 1](m, first, n, x, y, y_stride);                                      \
    }
#define DEFINE_ROWS(NAME, ...) DEFINE_BY_TOKENS(DEFINE_TOKENS, NAME)
AVX512_TYPES(DEFINE_ROWS)

/* ---- types that are unpacked elsewhere ---- */

INLINE void rows_any(const enum kernels_form form, const struct matrix *m, size_t first, size_t n,
                     const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    kernels_unpack_fn *unpack = kernels_unpack_of(m->type);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    for (size_t r = 0; r < n; r += 2) {
        const size_t rows[2] = {first + r, r + 1 < n ? first + r + 1 : first + r};
        __m512 acc[KERNELS_FEW_TOKENS];
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        for (size_t b = 0; b < n_blocks; b += 8) {
            const size_t n_here = n_blocks - b < 8 ? n_blocks - b : 8;
            struct pair g;
            pair_any(&g, unpack, m, rows, b, n_here);
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_pair(acc[t], form, &g, &x[t], b, lanes_of(n_here));
        }
        store_rows(acc, n - r, n_tokens, y + r, y_stride);
    }
}

#define DEFINE_ANY(form)                                                                           \
    static void rows_##form(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        rows_any(KERNELS_##form, m, first, n, x, n_tokens, y, y_stride);                           \
    }
KERNELS_INTEGER_FORMS(DEFINE_ANY)

/* ---- MLX's packed weights ---- */

INLINE void packed_tokens(const struct matrix *m, const enum packed_kind kind, size_t first,
                          size_t n_rows, const struct kernels_row_x *x, const size_t n_tokens,
                          float *y, size_t y_stride)
{
    const enum kernels_form form = packed_form(kind);
    const size_t group_bytes = 8 * 4 * packed_bits(kind);
    const struct affine affine = affine_of(m);
    const __m512i blocks = pair_affine_blocks(affine);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    const struct ahead ahead =
        ahead_of(m->parts[MATRIX_PACKED].row_bytes, n_blocks, n_tokens,
                 kind == PACKED_KIND_AFFINE_8);
    const size_t scale_bytes = m->parts[MATRIX_SCALES].row_bytes;
    const size_t scales_ahead = ahead.n_bytes * scale_bytes / m->parts[MATRIX_PACKED].row_bytes;
    for (size_t r = 0; r < n_rows; r += 2) {
        const struct packed_row rows[2] = {
            packed_row_of(m, first + r), packed_row_of(m, first + (r + 1 < n_rows ? r + 1 : r))};
        fetch_also((const char *)rows[0].scales + scales_ahead, 2 * scale_bytes, &ahead);
        if (kind != PACKED_KIND_MXFP4)
            fetch_also((const char *)rows[0].biases + scales_ahead, 2 * scale_bytes, &ahead);
        size_t b = 0;
        __m512 acc[KERNELS_FEW_TOKENS];
        struct pair g;
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        for (; b + 8 <= n_blocks; b += 8) {
            fetch(rows[0].q + b / 4 * group_bytes, 2 * group_bytes, &ahead);
            pair_mlx(&g, rows, affine, blocks, kind, b, 8);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_pair(acc[t], form, &g, &x[t], b, 0xffff);
        }
        if (b < n_blocks) {
            pair_mlx(&g, rows, affine, blocks, kind, b, n_blocks - b);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_pair(acc[t], form, &g, &x[t], b, lanes_of(n_blocks - b));
        }
        store_rows(acc, n_rows - r, n_tokens, y + r, y_stride);
    }
}

#define DEFINE_PACKED_TOKENS(kind, n_tokens)                                                       \
    static void rows_##kind##_##n_tokens(const struct matrix *m, size_t first, size_t n,           \
                                         const struct kernels_row_x *x, float *y,                  \
                                         size_t y_stride)                                          \
    {                                                                                              \
        packed_tokens(m, kind, first, n, x, n_tokens, y, y_stride);                                \
    }
#define DEFINE_PACKED(NAME, kind)                                                                  \
    DEFINE_BY_TOKENS(DEFINE_PACKED_TOKENS, kind)                                                   \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        if (packed_is_plain(m, kind))                                                              \
            rows_##kind(m, first, n, x, n_tokens, y, y_stride);                                    \
        else                                                                                       \
            rows_any(packed_form(kind), m, first, n, x, n_tokens, y, y_stride);                    \
    }
PACKED_KINDS(DEFINE_PACKED)

/* ---- activations in the order of avx512_pair.h ---- */

static void arrange(const struct kernels_blocks *row, size_t n_blocks)
{
    const __m512i even = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i odd = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    for (size_t b = 0; b < n_blocks; b += 8) {
        __m512i *q = (__m512i *)(row->q + b * KERNELS_BLOCK), v[4];
        for (int i = 0; i < 4; i++)
            v[i] = _mm512_loadu_si512(q + i);
        /* the even blocks of both registers, then the odd ones */
        __m512i turned[4] = {
            _mm512_shuffle_i32x4(v[0], v[1], 0x44), _mm512_shuffle_i32x4(v[0], v[1], 0xee),
            _mm512_shuffle_i32x4(v[2], v[3], 0x44), _mm512_shuffle_i32x4(v[2], v[3], 0xee)};
        for (int i = 0; i < 4; i++)
            _mm512_storeu_si512(q + i, _mm512_permutex2var_epi64(turned[i / 2], i % 2 ? odd : even,
                                                                 turned[i / 2 + 2]));
    }
}

/* ---- floats: sixteen strands are sixteen lanes ---- */

INLINE void float_rows_tokens(load_fn *load, const size_t size, const struct matrix *m,
                              size_t first, size_t n_rows, const struct kernels_row_x *rows,
                              const size_t n_tokens, float *y, size_t y_stride)
{
    const uint8_t *w = matrix_row(m, MATRIX_BLOCKS, first);
    const size_t row_bytes = m->parts[MATRIX_BLOCKS].row_bytes;
    const size_t n = m->n_cols, n_whole = n & ~(size_t)15;
    const float *x[KERNELS_FEW_TOKENS];
    UNROLL
    for (size_t t = 0; t < n_tokens; t++)
        x[t] = rows[t].x;
    const __mmask16 tail = (__mmask16)((1u << (n - n_whole)) - 1);
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        __m512 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm512_setzero_ps();
        for (size_t i = 0; i < n; i += 16) {
            __mmask16 lanes = i < n_whole ? 0xffff : tail;
            _mm_prefetch((const char *)w + i * size + FAR_BYTES, _MM_HINT_T1);
            __m512 v = load(w + i * size, lanes);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = _mm512_mask3_fmadd_ps(
                    v, _mm512_maskz_loadu_ps(lanes, x[t] + i), acc[t], lanes);
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = sum_lanes(acc[t]);
    }
}

#define DEFINE_FLOAT(NAME)                                                                         \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        if (n_tokens == 4) {                                                                       \
            float_rows_tokens(load_##NAME, QUANT_BYTES_##NAME, m, first, n, x, 4, y, y_stride);    \
            return;                                                                                \
        }                                                                                          \
        for (size_t t = 0; t < n_tokens; t++)                                                      \
            float_rows_tokens(load_##NAME, QUANT_BYTES_##NAME, m, first, n, x + t, 1,              \
                              y + t * y_stride, y_stride);                                         \
    }
AVX512_FLOAT_TYPES(DEFINE_FLOAT)

/* Of floats that are decoded elsewhere, whole chunks of 32 at the least. */
static void rows_FLOAT(const struct matrix *m, size_t first, size_t n,
                       const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n; r++) {
        __m512 acc[KERNELS_FEW_TOKENS];
        for (size_t t = 0; t < KERNELS_FEW_TOKENS; t++)
            acc[t] = _mm512_setzero_ps();
        for (size_t i = 0, n_here; i < m->n_cols; i += n_here) {
            float w[KERNELS_CHUNK];
            n_here = kernels_decode_chunk(m, first + r, i, w);
            for (size_t j = 0; j < n_here; j += 16)
                for (size_t t = 0; t < n_tokens; t++)
                    acc[t] = _mm512_fmadd_ps(_mm512_loadu_ps(w + j),
                                             _mm512_loadu_ps(x[t].x + i + j), acc[t]);
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = sum_lanes(acc[t]);
    }
}

void avx512_init_rows(struct kernels *k)
{
    k->arrange = arrange;
#define X(NAME, number, elements, bytes, form, ...) k->types[number].rows = rows_##form;
    QUANT_BLOCK_TYPES(X)
    QUANT_PACKED_TYPES(X)
    QUANT_PACKED_FLOAT_TYPES(X)
#undef X
#define X(NAME) k->types[QUANT_##NAME].rows = rows_##NAME;
    AVX512_TYPES(X)
    AVX512_FLOAT_TYPES(X)
#undef X
#define X(NAME, kind) k->types[QUANT_##NAME].rows = rows_##NAME;
    PACKED_KINDS(X)
#undef X
}
