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
    float m;
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
    out->m = half_to_float(in->m);
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
    out->m = half_to_float(in->m);
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
    out->m = -half_to_float(dmin) * (float)mn;
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

static float add_block(float acc, enum kernels_form form, const struct block *w, const int8_t *a,
                       float da, float sa, int32_t c0, int32_t c1)
{
    if (form == KERNELS_HALVES) {
        acc = fmaf((float)(dot_bytes(w->u, a, 16) + c0), w->d[0] * da, acc);
        return fmaf((float)(dot_bytes(w->u + 16, a + 16, 16) + c1), w->d[1] * da, acc);
    }
    if (form == KERNELS_MIN) {
        acc = fmaf((float)dot_bytes(w->u, a, 32), w->d[0] * da, acc);
        return fmaf(w->m, sa, acc);
    }
    return fmaf((float)(dot_bytes(w->u, a, 32) + c0), w->d[0] * da, acc);
}

typedef void unpack_block(const void *row, size_t b, struct block *out);

static inline void dot_rows(unpack_block *unpack, enum kernels_form form, const void *w,
                            size_t row_bytes, size_t n_rows, size_t n_blocks,
                            const struct kernels_row_x *x, size_t n_tokens, float *y,
                            size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++) {
        const void *row = (const char *)w + r * row_bytes;
        float acc[KERNELS_FEW_TOKENS][KERNELS_STRANDS] = {{0}};
        for (size_t b = 0; b < n_blocks; b++) {
            struct block block;
            unpack(row, b, &block);
            for (size_t t = 0; t < n_tokens; t++) {
                float *strand = &acc[t][b % KERNELS_STRANDS];
                *strand = add_block(*strand, form, &block, x[t].q + b * 32, x[t].d[b], x[t].s[b],
                                    x[t].c[0][b], x[t].c[1][b]);
            }
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

static inline void pack_rows(unpack_block *unpack, enum kernels_form form, const void *w,
                             size_t row_bytes, size_t n_rows, size_t n_blocks,
                             const struct kernels_panel *panel)
{
    const size_t room = kernels_strand_room(n_blocks);
    for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++) {
        for (size_t b = 0; b < n_blocks; b++) {
            size_t place = b % KERNELS_STRANDS * room + b / KERNELS_STRANDS;
            struct block block = {{0}, {0, 0}, 0};
            if (r < n_rows)
                unpack((const char *)w + r * row_bytes, b, &block);
            for (int quad = 0; quad < 8; quad++)
                memcpy(panel->q + (place * 8 + quad) * 64 + r * 4, block.u + quad * 4, 4);
            if (form == KERNELS_HALVES) {
                panel->d[place * 32 + r] = block.d[0];
                panel->d[place * 32 + 16 + r] = block.d[1];
            } else {
                panel->d[place * 16 + r] = block.d[0];
            }
            if (form == KERNELS_MIN)
                panel->m[place * 16 + r] = block.m;
        }
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

/* ---- the many-token product ---- */

static void panel_block(enum kernels_form form, const struct kernels_panel *w, size_t place,
                        size_t row, struct block *out)
{
    for (int quad = 0; quad < 8; quad++)
        memcpy(out->u + quad * 4, w->q + (place * 8 + quad) * 64 + row * 4, 4);
    if (form == KERNELS_HALVES) {
        out->d[0] = w->d[place * 32 + row];
        out->d[1] = w->d[place * 32 + 16 + row];
    } else {
        out->d[0] = w->d[place * 16 + row];
    }
    out->m = form == KERNELS_MIN ? w->m[place * 16 + row] : 0;
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
                    acc[t][s] = add_block(acc[t][s], form, &block, x->q + p * 32, x->d[p],
                                          x->s[p], x->c[0][p], x->c[1][p]);
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

/* ---- activations ---- */

static void quantize_block(const float *x, int8_t *q, float *d, float *s, int32_t *low,
                           int32_t *high)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    float scale = most / 127.0f;
    float inverse = most >= 0x1p-100f ? 127.0f / most : 0; /* else it could overflow */
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

static inline float dot_floats(load_float *load, const void *row, size_t n, const float *x)
{
    float acc[16] = {0};
    for (size_t i = 0; i < n; i++)
        acc[i % 16] = fmaf(load(row, i), x[i], acc[i % 16]);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            acc[i] += acc[i + width];
    return acc[0];
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
    }
DEFINE_FLOAT(f32)
DEFINE_FLOAT(f16)
DEFINE_FLOAT(bf16)

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
    k->types[QUANT_F32] = (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_f32};
    k->types[QUANT_F16] = (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_f16};
    k->types[QUANT_BF16] = (struct kernels_type){KERNELS_FLOAT, 0, NULL, NULL, rows_bf16};
    k->quantize = quantize;
    k->panel[KERNELS_OFFSET] = panel_offset;
    k->panel[KERNELS_WIDE] = panel_offset;
    k->panel[KERNELS_MIN] = panel_min;
    k->panel[KERNELS_HALVES] = panel_halves;
}
