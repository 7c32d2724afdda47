/* The scalar reference of quantization and matrix products: what every tier must equal, bit for
 * bit. Written to be read; knows no instruction sets. */
#include "kernels/scalar.h"
#include "quant/blocks.h"
#include "quant/half.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* One block of 32 weights in the terms of kernels.h. */
struct block {
    uint8_t u[32];
    float d[2]; /* HALVES: of each half; else d[0] */
    float m[2]; /* MINS: of each half; else m[0] */
};

/* ---- the types ---- */

static void unpack_nibbles(const uint8_t *qs, uint8_t *u)
{
    for (int i = 0; i < 16; i++) {
        u[i] = qs[i] & 15;
        u[i + 16] = qs[i] >> 4;
    }
}

static void add_fifth_bits(const uint8_t *qh, uint8_t *u)
{
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)(u[i] | (qh[i / 8] >> i % 8 & 1) << 4);
}

static void unpack_q4_0(const void *row, size_t b, struct block *out)
{
    const struct quant_q4_0 *in = (const struct quant_q4_0 *)row + b;
    out->d[0] = half_to_float(in->d);
    unpack_nibbles(in->qs, out->u);
}

static void unpack_q4_1(const void *row, size_t b, struct block *out)
{
    const struct quant_q4_1 *in = (const struct quant_q4_1 *)row + b;
    out->d[0] = half_to_float(in->d);
    out->m[0] = half_to_float(in->m);
    unpack_nibbles(in->qs, out->u);
}

static void unpack_q5_0(const void *row, size_t b, struct block *out)
{
    const struct quant_q5_0 *in = (const struct quant_q5_0 *)row + b;
    out->d[0] = half_to_float(in->d);
    unpack_nibbles(in->qs, out->u);
    add_fifth_bits(in->qh, out->u);
}

static void unpack_q5_1(const void *row, size_t b, struct block *out)
{
    const struct quant_q5_1 *in = (const struct quant_q5_1 *)row + b;
    out->d[0] = half_to_float(in->d);
    out->m[0] = half_to_float(in->m);
    unpack_nibbles(in->qs, out->u);
    add_fifth_bits(in->qh, out->u);
}

static void unpack_q8_0(const void *row, size_t b, struct block *out)
{
    const struct quant_q8_0 *in = (const struct quant_q8_0 *)row + b;
    out->d[0] = half_to_float(in->d);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)(in->qs[i] + 128);
}

/* The scale and the minimum of a k-block: x = d * sc * q - dmin * mn. */
static void unpack_k_scale(const uint8_t *scales, uint16_t d, uint16_t dmin, size_t j,
                           struct block *out)
{
    int sc = scales[j % 4] & 63, mn = scales[j % 4 + 4] & 63;
    if (j >= 4) {
        sc = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
        mn = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
    }
    out->d[0] = half_to_float(d) * (float)sc;
    out->m[0] = -half_to_float(dmin) * (float)mn;
}

static void unpack_q4_k(const void *row, size_t b, struct block *out)
{
    const struct quant_q4_k *in = (const struct quant_q4_k *)row + b / 8;
    size_t j = b % 8;
    unpack_k_scale(in->scales, in->d, in->dmin, j, out);
    for (int i = 0; i < 32; i++)
        out->u[i] = in->qs[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15;
}

static void unpack_q5_k(const void *row, size_t b, struct block *out)
{
    const struct quant_q5_k *in = (const struct quant_q5_k *)row + b / 8;
    size_t j = b % 8;
    unpack_k_scale(in->scales, in->d, in->dmin, j, out);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)((in->qs[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15) |
                              (in->qh[i] >> j & 1) << 4);
}

static void unpack_q6_k(const void *row, size_t b, struct block *out)
{
    const struct quant_q6_k *in = (const struct quant_q6_k *)row + b / 8;
    size_t half = b % 8 / 4, k = b % 4;
    const uint8_t *ql = in->ql + half * 64 + k % 2 * 32, *qh = in->qh + half * 32;
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)((ql[i] >> (k < 2 ? 0 : 4) & 15) | (qh[i] >> 2 * k & 3) << 4);
    for (int i = 0; i < 2; i++)
        out->d[i] = half_to_float(in->d) * (float)in->scales[b % 8 * 2 + i];
}

/* Q2_K: the four-bit scale of a half goes into u; q is below 4. */
static void unpack_q2_k(const void *row, size_t b, struct block *out)
{
    const struct quant_q2_k *in = (const struct quant_q2_k *)row + b / 8;
    const uint8_t *qs = in->qs + b % 8 / 4 * 32, *scales = in->scales + b % 8 * 2;
    out->d[0] = half_to_float(in->d);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)((qs[i] >> 2 * (b % 4) & 3) * (scales[i / 16] & 15));
    for (int i = 0; i < 2; i++)
        out->m[i] = -half_to_float(in->dmin) * (float)(scales[i] >> 4);
}

/* Q3_K: the scale of a half, -32 .. 31, goes into u, and as scale * (q - 4) reaches 128 but not
 * -128, the sign goes into d. */
static void unpack_q3_k(const void *row, size_t b, struct block *out)
{
    const struct quant_q3_k *in = (const struct quant_q3_k *)row + b / 8;
    const uint8_t *qs = in->qs + b % 8 / 4 * 32;
    out->d[0] = -half_to_float(in->d);
    for (int i = 0; i < 32; i++) {
        size_t h = b % 8 * 2 + i / 16;
        int low = in->scales[h % 8] >> h / 8 * 4 & 15, high = in->scales[8 + h % 4] >> h / 4 * 2;
        int scale = (low | (high & 3) << 4) - 32;
        int q = (qs[i] >> 2 * (b % 4) & 3) | (in->hmask[i] >> b % 8 & 1) << 2;
        out->u[i] = (uint8_t)(128 - scale * (q - 4));
    }
}

static void unpack_values(const int8_t values[16], int offset, const uint8_t *qs, uint8_t *u)
{
    unpack_nibbles(qs, u);
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)(values[u[i]] + offset);
}

static const int8_t iq4_values[16] = {QUANT_IQ4_VALUES};
static const int8_t mxfp4_values[16] = {QUANT_MXFP4_VALUES};
enum { MXFP4_OFFSET = 12 };

static void unpack_iq4_nl(const void *row, size_t b, struct block *out)
{
    const struct quant_iq4_nl *in = (const struct quant_iq4_nl *)row + b;
    out->d[0] = half_to_float(in->d);
    unpack_values(iq4_values, 128, in->qs, out->u);
}

static void unpack_iq4_xs(const void *row, size_t b, struct block *out)
{
    const struct quant_iq4_xs *in = (const struct quant_iq4_xs *)row + b / 8;
    size_t j = b % 8;
    int scale = (in->scales_l[j / 2] >> j % 2 * 4 & 15) | (in->scales_h >> 2 * j & 3) << 4;
    out->d[0] = half_to_float(in->d) * (float)(scale - 32);
    unpack_values(iq4_values, 128, in->qs + j * 16, out->u);
}

static void unpack_mxfp4(const void *row, size_t b, struct block *out)
{
    const struct quant_mxfp4 *in = (const struct quant_mxfp4 *)row + b;
    out->d[0] = half_e8m0_to_float(in->e);
    unpack_values(mxfp4_values, MXFP4_OFFSET, in->qs, out->u);
}

static void unpack_affine(const void *row, size_t b, struct block *out)
{
    const struct kernels_affine *w = row;
    size_t g = b * KERNELS_BLOCK / w->group;
    out->d[0] = w->bf16 ? half_bf16_to_float(w->scales[g]) : half_to_float(w->scales[g]);
    out->m[0] = w->bf16 ? half_bf16_to_float(w->biases[g]) : half_to_float(w->biases[g]);
    if (w->bits == 8)
        out->m[0] = fmaf(128, out->d[0], out->m[0]);
    for (size_t i = 0; i < 32; i++) {
        size_t bit = (b * 32 + i) * w->bits;
        out->u[i] = (uint8_t)(w->q[bit / 32] >> bit % 32 & ((1u << w->bits) - 1));
    }
}

/* ---- the one order of additions ---- */

static float tree(const float *s)
{
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static int32_t dot_bytes(const uint8_t *u, const int8_t *a, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += u[i] * a[i];
    return sum;
}

/* A block of one token's activations. */
struct block_x {
    const int8_t *q;
    float d, s, sh[2];
    int32_t c[2];
};

static struct block_x row_block(const struct kernels_row_x *x, enum kernels_form form, size_t b)
{
    struct block_x out = {x->q + b * 32, x->d[b], x->s[b], {0, 0}, {x->c[0][b], x->c[1][b]}};
    for (int h = 0; h < 2 && form == KERNELS_MINS; h++)
        out.sh[h] = x->sh[h][b];
    return out;
}

static struct block_x tile_block(const struct kernels_tile_x *x, enum kernels_form form, size_t p)
{
    const struct kernels_row_x row = {x->q, x->d, x->s, {x->c[0], x->c[1]}, {x->sh[0], x->sh[1]}};
    return row_block(&row, form, p);
}

static float add_block(float acc, enum kernels_form form, const struct block *w,
                       const struct block_x *x)
{
    float both;
    switch (form) {
    case KERNELS_HALVES:
        both = (float)(dot_bytes(w->u, x->q, 16) + x->c[0]) * w->d[0];
        both = fmaf((float)(dot_bytes(w->u + 16, x->q + 16, 16) + x->c[1]), w->d[1], both);
        return fmaf(both, x->d, acc);
    case KERNELS_MIN:
        acc = fmaf((float)dot_bytes(w->u, x->q, 32), w->d[0] * x->d, acc);
        return fmaf(w->m[0], x->s, acc);
    case KERNELS_MINS:
        acc = fmaf((float)dot_bytes(w->u, x->q, 32), w->d[0] * x->d, acc);
        return fmaf(w->m[1], x->sh[1], fmaf(w->m[0], x->sh[0], acc));
    case KERNELS_WIDE_MIN:
        acc = fmaf((float)(dot_bytes(w->u, x->q, 32) + x->c[0]), w->d[0] * x->d, acc);
        return fmaf(w->m[0], x->s, acc);
    default:
        return fmaf((float)(dot_bytes(w->u, x->q, 32) + x->c[0]), w->d[0] * x->d, acc);
    }
}

typedef void unpack_block(const void *row, size_t b, struct block *out);

/* One weight row; `row` is what `unpack` takes. */
static inline void dot_row(unpack_block *unpack, enum kernels_form form, const void *row,
                           size_t n_blocks, const struct kernels_row_x *x, size_t n_tokens,
                           float *y, size_t y_stride)
{
    float acc[KERNELS_FEW_TOKENS][KERNELS_STRANDS] = {{0}};
    for (size_t b = 0; b < n_blocks; b++) {
        struct block block;
        unpack(row, b, &block);
        for (size_t t = 0; t < n_tokens; t++) {
            float *strand = &acc[t][b % KERNELS_STRANDS];
            struct block_x in = row_block(&x[t], form, b);
            *strand = add_block(*strand, form, &block, &in);
        }
    }
    for (size_t t = 0; t < n_tokens; t++)
        y[t * y_stride] = tree(acc[t]);
}

static inline void dot_rows(unpack_block *unpack, enum kernels_form form, const void *w,
                            size_t row_bytes, size_t n_rows, size_t n_blocks,
                            const struct kernels_row_x *x, size_t n_tokens, float *y,
                            size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++)
        dot_row(unpack, form, (const char *)w + r * row_bytes, n_blocks, x, n_tokens, y + r,
                y_stride);
}

static void affine_rows(const struct kernels_affine *w, size_t n_rows, size_t n_blocks,
                        const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++) {
        struct kernels_affine row = kernels_affine_at(w, r, n_blocks);
        dot_row(unpack_affine, kernels_affine_form(w), &row, n_blocks, x, n_tokens, y + r,
                y_stride);
    }
}

/* Row r of a panel; without `row` zeros. */
static inline void pack_row(unpack_block *unpack, enum kernels_form form, const void *row, size_t r,
                            size_t n_blocks, const struct kernels_panel *panel)
{
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t b = 0; b < n_blocks; b++) {
        size_t place = b % KERNELS_STRANDS * room + b / KERNELS_STRANDS;
        struct block block = {{0}, {0, 0}, {0, 0}};
        if (row)
            unpack(row, b, &block);
        for (int quad = 0; quad < 8; quad++)
            memcpy(panel->q + (place * 8 + quad) * 64 + r * 4, block.u + quad * 4, 4);
        const size_t n_d = form == KERNELS_HALVES ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
        for (size_t h = 0; h < n_d; h++)
            panel->d[(place * n_d + h) * 16 + r] = block.d[h];
        if (form != KERNELS_MIN && form != KERNELS_WIDE_MIN && form != KERNELS_MINS)
            continue;
        for (size_t h = 0; h < n_m; h++)
            panel->m[(place * n_m + h) * 16 + r] = block.m[h];
    }
}

static inline void pack_rows(unpack_block *unpack, enum kernels_form form, const void *w,
                             size_t row_bytes, size_t n_rows, size_t n_blocks,
                             const struct kernels_panel *panel)
{
    for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++)
        pack_row(unpack, form, r < n_rows ? (const char *)w + r * row_bytes : NULL, r, n_blocks,
                 panel);
}

static void affine_pack(const struct kernels_affine *w, size_t n_rows, size_t n_blocks,
                        const struct kernels_panel *panel)
{
    for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++) {
        struct kernels_affine row = kernels_affine_at(w, r, n_blocks);
        pack_row(unpack_affine, kernels_affine_form(w), r < n_rows ? &row : NULL, r, n_blocks,
                 panel);
    }
}

#define DEFINE_TYPE(type, form)                                                                    \
    static void rows_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,       \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        dot_rows(unpack_##type, form, w, row_bytes, n_rows, n_blocks, x, n_tokens, y, y_stride);   \
    }                                                                                              \
    static void pack_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n_blocks,       \
                            const struct kernels_panel *panel)                                     \
    {                                                                                              \
        pack_rows(unpack_##type, form, w, row_bytes, n_rows, n_blocks, panel);                     \
    }
DEFINE_TYPE(q4_0, KERNELS_OFFSET)
DEFINE_TYPE(q4_1, KERNELS_MIN)
DEFINE_TYPE(q5_0, KERNELS_OFFSET)
DEFINE_TYPE(q5_1, KERNELS_MIN)
DEFINE_TYPE(q8_0, KERNELS_WIDE)
DEFINE_TYPE(q4_k, KERNELS_MIN)
DEFINE_TYPE(q5_k, KERNELS_MIN)
DEFINE_TYPE(q6_k, KERNELS_HALVES)
DEFINE_TYPE(q2_k, KERNELS_MINS)
DEFINE_TYPE(q3_k, KERNELS_WIDE)
DEFINE_TYPE(iq4_nl, KERNELS_WIDE)
DEFINE_TYPE(iq4_xs, KERNELS_WIDE)
DEFINE_TYPE(mxfp4, KERNELS_OFFSET)

/* ---- the many-token product ---- */

static void panel_block(enum kernels_form form, const struct kernels_panel *w, size_t place,
                        size_t row, struct block *out)
{
    for (int quad = 0; quad < 8; quad++)
        memcpy(out->u + quad * 4, w->q + (place * 8 + quad) * 64 + row * 4, 4);
    const size_t n_d = form == KERNELS_HALVES ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
    const bool has_m =
        form == KERNELS_MIN || form == KERNELS_WIDE_MIN || form == KERNELS_MINS;
    for (size_t h = 0; h < n_d; h++)
        out->d[h] = w->d[(place * n_d + h) * 16 + row];
    for (size_t h = 0; h < n_m && has_m; h++)
        out->m[h] = w->m[(place * n_m + h) * 16 + row];
}

static inline void panel_rows(enum kernels_form form, const struct kernels_panel *w, size_t n_rows,
                              size_t n_blocks, const struct kernels_tile_x *x, size_t n_tokens,
                              float *y, size_t y_stride)
{
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t r = 0; r < n_rows; r++) {
        float acc[KERNELS_TILE_TOKENS][KERNELS_STRANDS] = {{0}};
        for (size_t s = 0; s < KERNELS_STRANDS; s++) {
            for (size_t i = 0; i < kernels_strand_length(n_blocks, s); i++) {
                struct block block;
                panel_block(form, w, s * room + i, r, &block);
                for (size_t t = 0; t < n_tokens; t++) {
                    size_t p = (s * room + i) * KERNELS_TILE_TOKENS + t;
                    struct block_x in = tile_block(x, form, p);
                    acc[t][s] = add_block(acc[t][s], form, &block, &in);
                }
            }
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

#define DEFINE_PANEL(name, form)                                                                   \
    static void panel_##name(const struct kernels_panel *w, size_t n_rows, size_t n_blocks,        \
                             const struct kernels_tile_x *x, size_t n_tokens, float *y,            \
                             size_t y_stride)                                                      \
    {                                                                                              \
        panel_rows(form, w, n_rows, n_blocks, x, n_tokens, y, y_stride);                           \
    }
DEFINE_PANEL(offset, KERNELS_OFFSET)
DEFINE_PANEL(min, KERNELS_MIN)
DEFINE_PANEL(halves, KERNELS_HALVES)
DEFINE_PANEL(mins, KERNELS_MINS)
DEFINE_PANEL(wide_min, KERNELS_WIDE_MIN)

/* ---- activations ---- */

static void quantize_block(const float *x, int8_t *q, float *d, float *s, int32_t *low,
                           int32_t *high)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    float scale = kernels_scale_of(most);
    float inverse = scale > 0 ? 1.0f / scale : 0;
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        q[i] = (int8_t)rintf(x[i] * inverse);
        sum[i / 16] += q[i];
    }
    *d = scale;
    *low = sum[0];
    *high = sum[1];
    *s = scale * (float)(sum[0] + sum[1]);
}

static void quantize(const float *x, size_t n_blocks, const struct kernels_blocks *out)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t p = b % KERNELS_STRANDS * out->strand + b / KERNELS_STRANDS * out->step;
        quantize_block(x + b * 32, out->q + p * 32, &out->d[p], &out->s[p], &out->half[0][p],
                       &out->half[1][p]);
    }
}

static void arrange(const struct kernels_blocks *row, size_t n_blocks)
{
    (void)row; /* the natural order will do */
    (void)n_blocks;
}

/* ---- weights that are floats: sixteen strands, element i in strand i mod 16 ---- */

typedef float load_float(const void *row, size_t i);

static float load_f32(const void *row, size_t i)
{
    float f;
    memcpy(&f, (const char *)row + i * 4, 4);
    return f;
}

static float load_f16(const void *row, size_t i)
{
    uint16_t h;
    memcpy(&h, (const char *)row + i * 2, 2);
    return half_to_float(h);
}

static float load_bf16(const void *row, size_t i)
{
    uint16_t h;
    memcpy(&h, (const char *)row + i * 2, 2);
    return half_bf16_to_float(h);
}

static float sum_halves(float *acc)
{
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            acc[i] += acc[i + width];
    return acc[0];
}

static inline float dot_floats(load_float *load, const void *row, size_t n, const float *x)
{
    float acc[16] = {0};
    for (size_t i = 0; i < n; i++)
        acc[i % 16] = fmaf(load(row, i), x[i], acc[i % 16]);
    return sum_halves(acc);
}

#define DEFINE_FLOAT(type)                                                                         \
    static void rows_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n,              \
                            const float *x, size_t x_stride, size_t n_tokens, float *y,            \
                            size_t y_stride)                                                       \
    {                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                        \
            for (size_t t = 0; t < n_tokens; t++)                                                  \
                y[t * y_stride + r] = dot_floats(                                                  \
                    load_##type, (const char *)w + r * row_bytes, n, x + t * x_stride);            \
    }                                                                                              \
    static void float_pack_##type(const void *w, size_t row_bytes, size_t n_rows, size_t n,        \
                                  float *panel)                                                    \
    {                                                                                              \
        const size_t room = (n + 15) / 16;                                                         \
        for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++)                                            \
            for (size_t i = 0; i < n; i++)                                                         \
                panel[(i % 16 * room + i / 16) * 16 + r] =                                         \
                    r < n_rows ? load_##type((const char *)w + r * row_bytes, i) : 0;              \
    }
DEFINE_FLOAT(f32)
DEFINE_FLOAT(f16)
DEFINE_FLOAT(bf16)

static void float_panel(const float *w, size_t n_rows, size_t n, const float *x, size_t n_tokens,
                        float *y, size_t y_stride)
{
    const size_t room = (n + 15) / 16;
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t r = 0; r < n_rows; r++) {
            float acc[16] = {0};
            for (size_t i = 0; i < n; i++) {
                size_t at = (i % 16 * room + i / 16) * 16;
                acc[i % 16] = fmaf(w[at + r], x[at + t], acc[i % 16]);
            }
            y[t * y_stride + r] = sum_halves(acc);
        }
    }
}

void scalar_init_matmul(struct kernels *k)
{
    k->types[QUANT_Q4_0] = (struct kernels_type){KERNELS_OFFSET, 8, rows_q4_0, pack_q4_0, NULL};
    k->types[QUANT_Q4_1] = (struct kernels_type){KERNELS_MIN, 0, rows_q4_1, pack_q4_1, NULL};
    k->types[QUANT_Q5_0] = (struct kernels_type){KERNELS_OFFSET, 16, rows_q5_0, pack_q5_0, NULL};
    k->types[QUANT_Q5_1] = (struct kernels_type){KERNELS_MIN, 0, rows_q5_1, pack_q5_1, NULL};
    k->types[QUANT_Q8_0] = (struct kernels_type){KERNELS_WIDE, 128, rows_q8_0, pack_q8_0, NULL};
    k->types[QUANT_Q4_K] = (struct kernels_type){KERNELS_MIN, 0, rows_q4_k, pack_q4_k, NULL};
    k->types[QUANT_Q5_K] = (struct kernels_type){KERNELS_MIN, 0, rows_q5_k, pack_q5_k, NULL};
    k->types[QUANT_Q6_K] = (struct kernels_type){KERNELS_HALVES, 32, rows_q6_k, pack_q6_k, NULL};
    k->types[QUANT_F32] =
        (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_f32, float_pack_f32};
    k->types[QUANT_F16] =
        (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_f16, float_pack_f16};
    k->types[QUANT_BF16] =
        (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_bf16, float_pack_bf16};
    k->float_panel = float_panel;
    k->types[QUANT_Q2_K] = (struct kernels_type){KERNELS_MINS, 0, rows_q2_k, pack_q2_k, NULL};
    k->types[QUANT_Q3_K] = (struct kernels_type){KERNELS_WIDE, 128, rows_q3_k, pack_q3_k, NULL};
    k->types[QUANT_IQ4_NL] =
        (struct kernels_type){KERNELS_WIDE, 128, rows_iq4_nl, pack_iq4_nl, NULL};
    k->types[QUANT_IQ4_XS] =
        (struct kernels_type){KERNELS_WIDE, 128, rows_iq4_xs, pack_iq4_xs, NULL};
    k->types[QUANT_MXFP4] =
        (struct kernels_type){KERNELS_OFFSET, MXFP4_OFFSET, rows_mxfp4, pack_mxfp4, NULL};
    k->affine_rows = affine_rows;
    k->affine_pack = affine_pack;
    k->quantize = quantize;
    k->arrange = arrange;
    k->panel[KERNELS_OFFSET] = panel_offset;
    k->panel[KERNELS_WIDE] = panel_offset;
    k->panel[KERNELS_MIN] = panel_min;
    k->panel[KERNELS_HALVES] = panel_halves;
    k->panel[KERNELS_MINS] = panel_mins;
    k->panel[KERNELS_WIDE_MIN] = panel_wide_min;
}
