/* Matrix times few tokens on AVX2: weights are streamed row by row, eight blocks at a time, whose
 * exact sums land in eight lanes, the strands of kernels.h. Also the float types. */
#include "kernels/x86/avx2_unpack_more.h"
#include "quant/quant.h"

/* Bytes that are fetched ahead: near, into the first cache, or far, into the second, as the CPU
 * likes it (x86.h); floats always far. */
enum { NEAR_BYTES = 4096, FAR_BYTES = 8192 };

INLINE size_t bytes_ahead(bool is_far)
{
    return is_far ? FAR_BYTES : NEAR_BYTES;
}

/* What is bytes_ahead() of n_bytes at p. */
INLINE void fetch(const void *p, const size_t n_bytes, bool is_far)
{
    UNROLL
    for (size_t i = 0; i < n_bytes; i += 64) {
        if (is_far)
            _mm_prefetch((const char *)p + FAR_BYTES + i, _MM_HINT_T1);
        else
            _mm_prefetch((const char *)p + NEAR_BYTES + i, _MM_HINT_NTA);
    }
}

/* Sums of the lower and of the upper half of each of eight registers of dwords. */
INLINE void add_dwords(const __m256i *v, __m256i *low, __m256i *high)
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    *low = _mm256_permute2x128_si256(a, b, 0x20);
    *high = _mm256_permute2x128_si256(a, b, 0x31);
}

/* Sums of products of the lower and of the upper halves of eight blocks. Sums stay in 16 bits as
 * long as they fit: eight products with u < 32, four with u < 64, and two of the wide
 * ones, which goes over |w| <= 128 and a with the sign of w. */
INLINE void dot_group(const __m256i *u, const int8_t *x, const enum kernels_form form, __m256i *low,
                      __m256i *high)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i v[8];
    if (is_wide(form)) {
        UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i w = _mm256_xor_si256(u[j], _mm256_set1_epi8((char)0x80));
            __m256i a = _mm256_sign_epi8(load32(x + j * 32), w);
            v[j] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), a), one);
        }
        add_dwords(v, low, high);
        return;
    }
    UNROLL
    for (int j = 0; j < 8; j++)
        v[j] = _mm256_maddubs_epi16(u[j], load32(x + j * 32));
    UNROLL
    for (int j = 0; j < 4; j++)
        v[j] = _mm256_hadd_epi16(v[2 * j], v[2 * j + 1]);
    __m256i a, b;
    if (form == KERNELS_OFFSET || form == KERNELS_MIN) {
        a = _mm256_madd_epi16(_mm256_hadd_epi16(v[0], v[1]), one);
        b = _mm256_madd_epi16(_mm256_hadd_epi16(v[2], v[3]), one);
    } else {
        a = _mm256_hadd_epi32(_mm256_madd_epi16(v[0], one), _mm256_madd_epi16(v[1], one));
        b = _mm256_hadd_epi32(_mm256_madd_epi16(v[2], one), _mm256_madd_epi16(v[3], one));
    }
    *low = _mm256_permute2x128_si256(a, b, 0x20);
    *high = _mm256_permute2x128_si256(a, b, 0x31);
}

/* Adds eight blocks from block b on, of which the sums of products are known; not with halves. */
INLINE __m256 add_sums(__m256 acc, const enum kernels_form form, const struct group *g,
                       __m256i sums, const struct kernels_row_x *x, size_t b)
{
    if (form == KERNELS_OFFSET)
        sums = _mm256_add_epi32(sums, load32(x->c[0] + b));
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums),
                          _mm256_mul_ps(g->d, _mm256_loadu_ps(x->d + b)), acc);
    if (form == KERNELS_MIN || form == KERNELS_WIDE_MIN)
        acc = _mm256_fmadd_ps(g->m, _mm256_loadu_ps(x->s + b), acc);
    if (form == KERNELS_MINS) {
        acc = _mm256_fmadd_ps(g->m, _mm256_loadu_ps(x->sh[0] + b), acc);
        acc = _mm256_fmadd_ps(g->m_high, _mm256_loadu_ps(x->sh[1] + b), acc);
    }
    return acc;
}

/* Adds eight blocks from block b on. */
INLINE __m256 add_group(__m256 acc, const enum kernels_form form, const struct group *g,
                        const struct kernels_row_x *x, size_t b)
{
    __m256i low, high;
    dot_group(g->u, x->q + b * 32, form, &low, &high);
    if (kernels_form_has_halves(form)) {
        if (form == KERNELS_HALVES) {
            low = _mm256_add_epi32(low, load32(x->c[0] + b));
            high = _mm256_add_epi32(high, load32(x->c[1] + b));
        }
        __m256 both = _mm256_mul_ps(_mm256_cvtepi32_ps(low), g->d);
        both = _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), g->d_high, both);
        return _mm256_fmadd_ps(both, _mm256_loadu_ps(x->d + b), acc);
    }
    return add_sums(acc, form, g, _mm256_add_epi32(low, high), x, b);
}

/* ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) */
INLINE float tree(__m256 s)
{
    s = _mm256_hadd_ps(s, s);
    s = _mm256_hadd_ps(s, s);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* All ones in the first n lanes. */
INLINE __m256 lanes(size_t n)
{
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), numbers));
}

INLINE void rows_tokens(group_fn *group, const enum kernels_form form, const size_t group_bytes,
                        const uint8_t *w, size_t row_bytes, size_t n_rows, size_t n_blocks,
                        const struct kernels_row_x *x, const size_t n_tokens, float *y,
                        size_t y_stride)
{
    const size_t n_tail = n_blocks % 8, n_whole = n_blocks - n_tail;
    const bool is_far = x86_fetches_far();
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        const uint8_t *p = w;
        struct group g;
        __m256 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm256_setzero_ps();
        for (size_t b = 0; b < n_whole; b += 8, p += group_bytes) {
            fetch(p, group_bytes, is_far);
            group(&g, p);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = add_group(acc[t], form, &g, &x[t], b);
        }
        if (n_tail) {
            uint8_t last[8 * 40];
            /* eight blocks are read, so the matrix must not end before */
            if ((n_rows - r) * row_bytes < (size_t)(p - w) + group_bytes)
                p = memcpy(last, p, n_tail * (group_bytes / 8));
            group(&g, p);
            UNROLL
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = _mm256_blendv_ps(acc[t], add_group(acc[t], form, &g, &x[t], n_whole),
                                          lanes(n_tail));
        }
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

INLINE void rows_by_twos(group_fn *group, const enum kernels_form form, const size_t group_bytes,
                         const struct matrix *m, size_t first, size_t n_rows,
                         const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    const uint8_t *w = matrix_row(m, MATRIX_BLOCKS, first);
    const size_t row_bytes = m->parts[MATRIX_BLOCKS].row_bytes;
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    size_t t = 0;
    for (; t + 2 <= n_tokens; t += 2)
        rows_tokens(group, form, group_bytes, w, row_bytes, n_rows, n_blocks, x + t, 2,
                    y + t * y_stride, y_stride);
    if (t < n_tokens)
        rows_tokens(group, form, group_bytes, w, row_bytes, n_rows, n_blocks, x + t, 1,
                    y + t * y_stride, y_stride);
}

#define DEFINE_ROWS(NAME)                                                                          \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        rows_by_twos(group_##NAME, (enum kernels_form)KERNELS_FORM_##NAME,                         \
                     X86_GROUP_BYTES(NAME), m, first, n, x, n_tokens, y, y_stride);                \
    }
AVX2_TYPES(DEFINE_ROWS)

/* ---- types that are unpacked elsewhere ---- */

INLINE void rows_any(const enum kernels_form form, const struct matrix *m, size_t first, size_t n,
                     const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    kernels_unpack_fn *unpack = kernels_unpack_of(m->type);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    for (size_t r = 0; r < n; r++) {
        __m256 acc[KERNELS_FEW_TOKENS];
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm256_setzero_ps();
        for (size_t b = 0; b < n_blocks; b += 8) {
            const size_t n_here = n_blocks - b < 8 ? n_blocks - b : 8;
            struct group g;
            group_any(&g, unpack, m, first + r, b, n_here);
            for (size_t t = 0; t < n_tokens; t++)
                acc[t] = _mm256_blendv_ps(acc[t], add_group(acc[t], form, &g, &x[t], b),
                                          lanes(n_here));
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
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

/* 16 bytes at p, and those a block later. */
INLINE __m256i halves_of_two(const int8_t *p)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
        _mm_loadu_si128((const __m128i *)(p + KERNELS_BLOCK)), 1);
}

/* Sums of products of eight blocks, from packed_twos(). Sixteen products with u < 16 fit in 16
 * bits, with MXFP4's u < 32 eight. */
INLINE __m256i dot_twos(const __m256i (*u)[2], const int8_t *x, const enum packed_kind kind)
{
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i natural = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i v[4];
    UNROLL
    for (int j = 0; j < 4; j++)
        v[j] = _mm256_add_epi16(_mm256_maddubs_epi16(u[j][0], halves_of_two(x + j * 64)),
                                _mm256_maddubs_epi16(u[j][1], halves_of_two(x + j * 64 + 16)));
    __m256i a = _mm256_hadd_epi16(v[0], v[1]), b = _mm256_hadd_epi16(v[2], v[3]);
    /* blocks 0, 2, 4, 6, then the odd ones */
    __m256i sums = kind == PACKED_KIND_MXFP4 ? _mm256_hadd_epi32(_mm256_madd_epi16(a, one),
                                                                 _mm256_madd_epi16(b, one))
                                             : _mm256_madd_epi16(_mm256_hadd_epi16(a, b), one);
    return _mm256_permutevar8x32_epi32(sums, natural);
}

/* Adds n <= 8 blocks from block b on. */
INLINE void add_packed(__m256 *acc, const enum packed_kind kind, const struct packed_row *row,
                       struct affine affine, __m256i blocks, const struct kernels_row_x *x,
                       const size_t n_tokens, size_t b, size_t n)
{
    const enum kernels_form form = packed_form(kind);
    struct group g;
    __m256i u[4][2];
    if (kind == PACKED_KIND_AFFINE_8) {
        group_packed(&g, row, affine, blocks, kind, b, n);
    } else {
        const uint8_t *q = row->q + b * 16;
        uint8_t whole[8 * 16];
        if (n < 8) {
            memset(whole, 0, sizeof whole);
            q = memcpy(whole, q, n * 16);
        }
        packed_scales(&g, row, affine, blocks, kind, b, n);
        UNROLL
        for (int j = 0; j < 4; j++)
            packed_twos(u[j], q + 32 * j, kind);
    }
    UNROLL
    for (size_t t = 0; t < n_tokens; t++) {
        __m256 sum = kind == PACKED_KIND_AFFINE_8
                         ? add_group(acc[t], form, &g, &x[t], b)
                         : add_sums(acc[t], form, &g, dot_twos(u, x[t].q + b * 32, kind), &x[t], b);
        acc[t] = n < 8 ? _mm256_blendv_ps(acc[t], sum, lanes(n)) : sum;
    }
}

INLINE void packed_tokens(const struct matrix *m, const enum packed_kind kind, size_t first,
                          size_t n_rows, const struct kernels_row_x *x, const size_t n_tokens,
                          float *y, size_t y_stride)
{
    const size_t group_bytes = 8 * 4 * packed_bits(kind);
    const struct affine affine = affine_of(m);
    const __m256i blocks = affine_blocks(affine);
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK;
    const size_t scale_bytes = m->parts[MATRIX_SCALES].row_bytes;
    const bool is_far = x86_fetches_far();
    const size_t scales_ahead =
        bytes_ahead(is_far) * scale_bytes / m->parts[MATRIX_PACKED].row_bytes;
    for (size_t r = 0; r < n_rows; r++) {
        const struct packed_row row = packed_row_of(m, first + r);
        for (size_t i = 0; i < scale_bytes; i += 64) {
            _mm_prefetch((const char *)row.scales + scales_ahead + i, _MM_HINT_NTA);
            if (kind != PACKED_KIND_MXFP4)
                _mm_prefetch((const char *)row.biases + scales_ahead + i, _MM_HINT_NTA);
        }
        __m256 acc[KERNELS_FEW_TOKENS];
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            acc[t] = _mm256_setzero_ps();
        size_t b = 0;
        for (; b + 8 <= n_blocks; b += 8) {
            fetch(row.q + b / 8 * group_bytes, group_bytes, is_far);
            add_packed(acc, kind, &row, affine, blocks, x, n_tokens, b, 8);
        }
        if (b < n_blocks)
            add_packed(acc, kind, &row, affine, blocks, x, n_tokens, b, n_blocks - b);
        UNROLL
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

#define DEFINE_PACKED(NAME, kind)                                                                  \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        size_t t = 0;                                                                              \
        if (!packed_is_plain(m, kind)) {                                                           \
            rows_any(packed_form(kind), m, first, n, x, n_tokens, y, y_stride);                    \
            return;                                                                                \
        }                                                                                          \
        for (; t + 2 <= n_tokens; t += 2)                                                          \
            packed_tokens(m, kind, first, n, x + t, 2, y + t * y_stride, y_stride);                \
        if (t < n_tokens)                                                                          \
            packed_tokens(m, kind, first, n, x + t, 1, y + t * y_stride, y_stride);                \
    }
PACKED_KINDS(DEFINE_PACKED)

/* ---- floats: sixteen strands are two registers ---- */

typedef void load_fn(const uint8_t *p, __m256 out[2]);

INLINE void load_F32(const uint8_t *p, __m256 out[2])
{
    out[0] = _mm256_loadu_ps((const float *)p);
    out[1] = _mm256_loadu_ps((const float *)p + 8);
}

INLINE void load_F16(const uint8_t *p, __m256 out[2])
{
    out[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    out[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1));
}

INLINE void load_BF16(const uint8_t *p, __m256 out[2])
{
    for (int i = 0; i < 2; i++) {
        __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p + i));
        out[i] = _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
    }
}

/* Halves added to halves, as the reference does. */
INLINE float sum_lanes(__m256 low, __m256 high)
{
    __m256 a = _mm256_add_ps(low, high);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

INLINE float dot_floats(load_fn *load, const size_t size, const uint8_t *row, size_t n,
                        const float *x)
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, v[2];
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm_prefetch((const char *)row + i * size + FAR_BYTES, _MM_HINT_T1);
        load(row + i * size, v);
        acc[0] = _mm256_fmadd_ps(v[0], _mm256_loadu_ps(x + i), acc[0]);
        acc[1] = _mm256_fmadd_ps(v[1], _mm256_loadu_ps(x + i + 8), acc[1]);
    }
    if (i < n) {
        uint8_t last[64] = {0};
        float last_x[16] = {0};
        memcpy(last, row + i * size, (n - i) * size);
        memcpy(last_x, x + i, (n - i) * sizeof *x);
        load(last, v);
        acc[0] = _mm256_fmadd_ps(v[0], _mm256_loadu_ps(last_x), acc[0]);
        acc[1] = _mm256_fmadd_ps(v[1], _mm256_loadu_ps(last_x + 8), acc[1]);
    }
    return sum_lanes(acc[0], acc[1]);
}

#define AVX2_FLOAT_TYPES(X) X(F32) X(F16) X(BF16)

#define DEFINE_FLOAT(NAME)                                                                         \
    static void rows_##NAME(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        for (size_t r = 0; r < n; r++)                                                             \
            for (size_t t = 0; t < n_tokens; t++)                                                  \
                y[t * y_stride + r] =                                                              \
                    dot_floats(load_##NAME, QUANT_BYTES_##NAME,                                    \
                               matrix_row(m, MATRIX_BLOCKS, first + r), m->n_cols, x[t].x);        \
    }
AVX2_FLOAT_TYPES(DEFINE_FLOAT)

/* Of floats that are decoded elsewhere, whole chunks of 32 at the least. */
static void rows_FLOAT(const struct matrix *m, size_t first, size_t n,
                       const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n; r++) {
        __m256 acc[KERNELS_FEW_TOKENS][2];
        for (size_t t = 0; t < KERNELS_FEW_TOKENS; t++)
            acc[t][0] = acc[t][1] = _mm256_setzero_ps();
        for (size_t i = 0, n_here; i < m->n_cols; i += n_here) {
            float w[KERNELS_CHUNK];
            n_here = kernels_decode_chunk(m, first + r, i, w);
            for (size_t j = 0; j < n_here; j += 8)
                for (size_t t = 0; t < n_tokens; t++)
                    acc[t][j / 8 % 2] =
                        _mm256_fmadd_ps(_mm256_loadu_ps(w + j), _mm256_loadu_ps(x[t].x + i + j),
                                        acc[t][j / 8 % 2]);
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = sum_lanes(acc[t][0], acc[t][1]);
    }
}

void avx2_init_rows(struct kernels *k)
{
#define X(NAME, number, elements, bytes, form, ...) k->types[number].rows = rows_##form;
    QUANT_BLOCK_TYPES(X)
    QUANT_PACKED_TYPES(X)
    QUANT_PACKED_FLOAT_TYPES(X)
#undef X
#define X(NAME) k->types[QUANT_##NAME].rows = rows_##NAME;
    AVX2_TYPES(X)
    AVX2_FLOAT_TYPES(X)
#undef X
#define X(NAME, kind) k->types[QUANT_##NAME].rows = rows_##NAME;
    PACKED_KINDS(X)
#undef X
}
