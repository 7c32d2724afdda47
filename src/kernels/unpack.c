/* See unpack.h; quant/blocks.h has the layouts. Written to be read; knows no instruction sets. */
#include "kernels/unpack.h"

#include "quant/blocks.h"
#include "quant/half.h"
#include "quant/integers.h"

#include <math.h>
#include <string.h>

static inline const void *block_at(const struct matrix *m, size_t row, size_t i, size_t n_bytes)
{
    return (const char *)matrix_row(m, MATRIX_BLOCKS, row) + i * n_bytes;
}

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

void kernels_unpack_Q4_0(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q4_0 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    unpack_nibbles(in->qs, out->u);
}

void kernels_unpack_Q4_1(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q4_1 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    out->m[0] = half_to_float(in->m);
    unpack_nibbles(in->qs, out->u);
}

void kernels_unpack_Q5_0(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q5_0 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    unpack_nibbles(in->qs, out->u);
    add_fifth_bits(in->qh, out->u);
}

void kernels_unpack_Q5_1(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q5_1 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    out->m[0] = half_to_float(in->m);
    unpack_nibbles(in->qs, out->u);
    add_fifth_bits(in->qh, out->u);
}

void kernels_unpack_Q8_0(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q8_0 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)(in->qs[i] + 128);
}

/* The scale and the minimum of a k-block: x = d * sc * q - dmin * mn. */
static void unpack_k_scale(const uint8_t *scales, uint16_t d, uint16_t dmin, size_t j,
                           struct kernels_block *out)
{
    int sc = scales[j % 4] & 63, mn = scales[j % 4 + 4] & 63;
    if (j >= 4) {
        sc = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
        mn = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
    }
    out->d[0] = half_to_float(d) * (float)sc;
    out->m[0] = -half_to_float(dmin) * (float)mn;
}

void kernels_unpack_Q4_K(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q4_k *in = block_at(m, row, b / 8, sizeof *in);
    size_t j = b % 8;
    unpack_k_scale(in->scales, in->d, in->dmin, j, out);
    for (int i = 0; i < 32; i++)
        out->u[i] = in->qs[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15;
}

void kernels_unpack_Q5_K(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q5_k *in = block_at(m, row, b / 8, sizeof *in);
    size_t j = b % 8;
    unpack_k_scale(in->scales, in->d, in->dmin, j, out);
    for (int i = 0; i < 32; i++)
        out->u[i] =
            (uint8_t)((in->qs[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15) | (in->qh[i] >> j & 1) << 4);
}

void kernels_unpack_Q6_K(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q6_k *in = block_at(m, row, b / 8, sizeof *in);
    size_t half = b % 8 / 4, k = b % 4;
    const uint8_t *ql = in->ql + half * 64 + k % 2 * 32, *qh = in->qh + half * 32;
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)((ql[i] >> (k < 2 ? 0 : 4) & 15) | (qh[i] >> 2 * k & 3) << 4);
    for (int i = 0; i < 2; i++)
        out->d[i] = half_to_float(in->d) * (float)in->scales[b % 8 * 2 + i];
}

/* Q2_K: the four-bit scale of a half goes into u; q is below 4. */
void kernels_unpack_Q2_K(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q2_k *in = block_at(m, row, b / 8, sizeof *in);
    const uint8_t *qs = in->qs + b % 8 / 4 * 32, *scales = in->scales + b % 8 * 2;
    out->d[0] = half_to_float(in->d);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)((qs[i] >> 2 * (b % 4) & 3) * (scales[i / 16] & 15));
    for (int i = 0; i < 2; i++)
        out->m[i] = -half_to_float(in->dmin) * (float)(scales[i] >> 4);
}

/* Q3_K: the scale of a half, -32 .. 31, goes into u, and as scale * (q - 4) reaches 128 but not
 * -128, the sign goes into d. */
void kernels_unpack_Q3_K(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_q3_k *in = block_at(m, row, b / 8, sizeof *in);
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

void kernels_unpack_IQ4_NL(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_iq4_nl *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_to_float(in->d);
    unpack_values(iq4_values, 128, in->qs, out->u);
}

void kernels_unpack_IQ4_XS(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_iq4_xs *in = block_at(m, row, b / 8, sizeof *in);
    size_t j = b % 8;
    int scale = (in->scales_l[j / 2] >> j % 2 * 4 & 15) | (in->scales_h >> 2 * j & 3) << 4;
    out->d[0] = half_to_float(in->d) * (float)(scale - 32);
    unpack_values(iq4_values, 128, in->qs + j * 16, out->u);
}

void kernels_unpack_MXFP4(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct quant_mxfp4 *in = block_at(m, row, b, sizeof *in);
    out->d[0] = half_e8m0_to_float(in->e);
    unpack_values(mxfp4_values, 12, in->qs, out->u);
}

/* ---- integers ---- */

#define X(NAME, number, elements, bytes, form, offset)                                             \
    void kernels_unpack_##NAME(const struct matrix *m, size_t row, size_t b,                       \
                               struct kernels_block *out)                                          \
    {                                                                                              \
        struct quant_integers in;                                                                  \
        quant_integers_##NAME(matrix_row(m, MATRIX_BLOCKS, row), b, &in);                          \
        const float factor = (number) == QUANT_NVFP4 ? matrix_factor(m) : 1;                       \
        for (int h = 0; h < 2; h++)                                                                \
            out->d[h] = in.d[h] * factor;                                                          \
        for (int i = 0; i < KERNELS_BLOCK; i++)                                                    \
            out->u[i] = (uint8_t)(in.v[i] + (offset));                                             \
    }
QUANT_INTEGER_TYPES(X)
#undef X

/* ---- MLX's affine types: bits from the lowest on ---- */

static inline void unpack_affine(const struct matrix *m, size_t row, size_t b, unsigned bits,
                                 struct kernels_block *out)
{
    const uint8_t *packed = (const uint8_t *)matrix_row(m, MATRIX_PACKED, row) + b * 4 * bits;
    const size_t g = b * KERNELS_BLOCK / m->group;
    out->d[0] = matrix_scale(m, MATRIX_SCALES, row, g);
    out->m[0] = matrix_scale(m, MATRIX_BIASES, row, g);
    if (bits == 8) /* u - 128 is what WIDE_MIN multiplies */
        out->m[0] = fmaf(128, out->d[0], out->m[0]);
    uint32_t held = 0;
    unsigned n_held = 0;
    for (int i = 0; i < KERNELS_BLOCK; i++) {
        if (n_held < bits) {
            held |= (uint32_t)*packed++ << n_held;
            n_held += 8;
        }
        out->u[i] = (uint8_t)((held & ((1u << bits) - 1)) + (bits == 6 ? 128 : 0));
        held >>= bits;
        n_held -= bits;
    }
}

#define X(NAME, number, elements, bytes, ...)                                                      \
    void kernels_unpack_##NAME(const struct matrix *m, size_t row, size_t b,                       \
                               struct kernels_block *out)                                          \
    {                                                                                              \
        unpack_affine(m, row, b, 8 * (bytes) / (elements), out);                                   \
    }
QUANT_AFFINE_TYPES(X)
#undef X

/* ---- MLX's floats of four bits: the halves of MXFP4's values ---- */

static void unpack_scaled(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const uint8_t *packed = (const uint8_t *)matrix_row(m, MATRIX_PACKED, row) + b * 16;
    for (size_t h = 0; h < 2; h++)
        out->d[h] =
            0.5f * (matrix_factor(m) *
                    matrix_scale(m, MATRIX_SCALES, row, (b * KERNELS_BLOCK + h * 16) / m->group));
    for (int i = 0; i < KERNELS_BLOCK; i++)
        out->u[i] = (uint8_t)(mxfp4_values[packed[i / 2] >> (i % 2 * 4) & 15] + 12);
}

#define X(NAME, ...)                                                                               \
    void kernels_unpack_##NAME(const struct matrix *m, size_t row, size_t b,                       \
                               struct kernels_block *out)                                          \
    {                                                                                              \
        unpack_scaled(m, row, b, out);                                                             \
    }
QUANT_SCALED_TYPES(X)
#undef X

/* ---- all of them ---- */

kernels_unpack_fn *kernels_unpack_of(enum quant_type type)
{
    static kernels_unpack_fn *const table[QUANT_N_TYPES] = {
#define X(NAME, number, ...) [number] = kernels_unpack_##NAME,
        QUANT_BLOCK_TYPES(X) QUANT_PACKED_TYPES(X)
#undef X
    };
    return table[type];
}

size_t kernels_decode_chunk(const struct matrix *m, size_t row, size_t i, float *out)
{
    const size_t n_left = m->n_cols - i, n = n_left < KERNELS_CHUNK ? n_left : KERNELS_CHUNK;
    const struct matrix columns = matrix_columns(m, i, n);
    matrix_decode(&columns, row, out);
    return n;
}

/* Puts a block into the places of row r of a panel. */
static void pack_block(const struct kernels_block *block, enum kernels_form form, size_t place,
                       size_t r, const struct kernels_panel *panel)
{
    const size_t n_d = kernels_form_has_halves(form) ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
    for (int quad = 0; quad < 8; quad++)
        memcpy(panel->q + (place * 8 + (size_t)quad) * 64 + r * 4, block->u + quad * 4, 4);
    for (size_t h = 0; h < n_d; h++)
        panel->d[(place * n_d + h) * KERNELS_PANEL_ROWS + r] = block->d[h];
    for (size_t h = 0; h < n_m && kernels_form_has_min(form); h++)
        panel->m[(place * n_m + h) * KERNELS_PANEL_ROWS + r] = block->m[h];
}

void kernels_pack_blocks(const struct matrix *m, size_t first, size_t n,
                         const struct kernels_panel *panel)
{
    const size_t n_blocks = m->n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    const enum kernels_form form = kernels_form_of(m->type);
    kernels_unpack_fn *unpack = kernels_unpack_of(m->type);
    for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++)
        for (size_t b = 0; b < n_blocks; b++) {
            struct kernels_block block = {{0}, {0, 0}, {0, 0}};
            if (r < n)
                unpack(m, first + r, b, &block);
            pack_block(&block, form, b % KERNELS_STRANDS * room + b / KERNELS_STRANDS, r, panel);
        }
}
