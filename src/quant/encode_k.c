/* Encoders of blocks of 256 elements, whose subblocks have scales of their own. */
#include "quant/blocks.h"
#include "quant/encode_blocks.h"
#include "quant/fit.h"
#include "quant/half.h"

#include <string.h>

/* x ~ d * scales[j] * u - dmin * mins[j]: what is said of it, and the numbers. */
static void k_lines(int high, int top, size_t n_sub, const float *x, const float *importance,
                    struct fit_lines *f, uint8_t u[256])
{
    const size_t n = FIT_BLOCK / n_sub;
    float weights[FIT_BLOCK], q[FIT_BLOCK];
    encode_weights(x, importance, FIT_BLOCK, weights);
    fit_block_lines(high, top, x, weights, n_sub, n, f);
    for (size_t j = 0; j < n_sub; j++)
        fit_line_round(fit_lines_at(f, j), high, x + j * n, n, q + j * n);
    for (int i = 0; i < FIT_BLOCK; i++)
        u[i] = (uint8_t)q[i];
}

/* x ~ d * scales[j] * q; the numbers are counted from the lowest level. */
static void k_scales(const struct fit_levels *levels, int least, size_t n_sub, const float *x,
                     const float *importance, struct fit_scales *f, float q[256])
{
    const size_t n = FIT_BLOCK / n_sub;
    float weights[FIT_BLOCK];
    encode_weights(x, importance, FIT_BLOCK, weights);
    fit_block_scales(levels, least, x, weights, n_sub, n, f);
    for (size_t j = 0; j < n_sub; j++)
        fit_round(levels, x + j * n, n, f->d * (float)f->scales[j], q + j * n);
}

/* Two bits of element i as Q2_K and Q3_K have them. */
static void put_two_bits(uint8_t qs[64], int i, unsigned bits)
{
    qs[i / 128 * 32 + i % 32] |= (uint8_t)(bits << i / 32 % 4 * 2);
}

void encode_q2_k(const float *x, const float *importance, void *block)
{
    struct quant_q2_k *out = block;
    struct fit_lines f;
    uint8_t u[256];
    k_lines(3, 15, 16, x, importance, &f, u);
    memset(out, 0, sizeof *out);
    out->d = half_from_float(f.d);
    out->dmin = half_from_float(f.dmin);
    for (int j = 0; j < 16; j++)
        out->scales[j] = (uint8_t)(f.scales[j] | f.mins[j] << 4);
    for (int i = 0; i < 256; i++)
        put_two_bits(out->qs, i, u[i]);
}

void encode_q3_k(const float *x, const float *importance, void *block)
{
    static const struct fit_levels levels = {-4, 3, NULL};
    struct quant_q3_k *out = block;
    struct fit_scales f;
    float q[256];
    k_scales(&levels, -32, 16, x, importance, &f, q);
    memset(out, 0, sizeof *out);
    out->d = half_from_float(f.d);
    for (int i = 0; i < 16; i++) {
        const unsigned scale = (unsigned)(f.scales[i] + 32);
        out->scales[i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4);
        out->scales[8 + i % 4] |= (uint8_t)((scale >> 4) << i / 4 * 2);
    }
    for (int i = 0; i < 256; i++) {
        const unsigned u = (unsigned)(q[i] + 4);
        put_two_bits(out->qs, i, u & 3);
        out->hmask[i % 32] |= (uint8_t)((u >> 2) << i / 32);
    }
}

/* The six-bit scales and minima of eight subblocks, as blocks.h says. */
static void put_scales_and_mins(const struct fit_lines *f, uint8_t scales[12])
{
    memset(scales, 0, 12);
    for (int j = 0; j < 8; j++) {
        const unsigned scale = (unsigned)f->scales[j], min = (unsigned)f->mins[j];
        if (j < 4) {
            scales[j] = (uint8_t)scale;
            scales[j + 4] = (uint8_t)min;
        } else {
            scales[j + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
            scales[j - 4] |= (uint8_t)((scale >> 4) << 6);
            scales[j] |= (uint8_t)((min >> 4) << 6);
        }
    }
}

/* The low nibbles of Q4_K's and Q5_K's numbers. */
static void put_low_nibbles(const uint8_t u[256], uint8_t qs[128])
{
    for (int i = 0; i < 256; i += 64)
        for (int l = 0; l < 32; l++)
            qs[i / 2 + l] = (uint8_t)((u[i + l] & 15) | (u[i + 32 + l] & 15) << 4);
}

void encode_q4_k(const float *x, const float *importance, void *block)
{
    struct quant_q4_k *out = block;
    struct fit_lines f;
    uint8_t u[256];
    k_lines(15, 63, 8, x, importance, &f, u);
    out->d = half_from_float(f.d);
    out->dmin = half_from_float(f.dmin);
    put_scales_and_mins(&f, out->scales);
    put_low_nibbles(u, out->qs);
}

void encode_q5_k(const float *x, const float *importance, void *block)
{
    struct quant_q5_k *out = block;
    struct fit_lines f;
    uint8_t u[256];
    k_lines(31, 63, 8, x, importance, &f, u);
    out->d = half_from_float(f.d);
    out->dmin = half_from_float(f.dmin);
    put_scales_and_mins(&f, out->scales);
    put_low_nibbles(u, out->qs);
    memset(out->qh, 0, sizeof out->qh);
    for (int i = 0; i < 256; i++)
        out->qh[i % 32] |= (uint8_t)((u[i] >> 4) << i / 32);
}

void encode_q6_k(const float *x, const float *importance, void *block)
{
    static const struct fit_levels levels = {-32, 31, NULL};
    struct quant_q6_k *out = block;
    struct fit_scales f;
    float q[256];
    k_scales(&levels, -128, 16, x, importance, &f, q);
    memset(out, 0, sizeof *out);
    out->d = half_from_float(f.d);
    for (int j = 0; j < 16; j++)
        out->scales[j] = (int8_t)f.scales[j];
    for (int i = 0; i < 256; i++) {
        const int half = i / 128, quarter = i / 32 % 4, l = i % 32;
        const unsigned u = (unsigned)(q[i] + 32);
        out->ql[half * 64 + quarter % 2 * 32 + l] |= (uint8_t)((u & 15) << quarter / 2 * 4);
        out->qh[half * 32 + l] |= (uint8_t)((u >> 4) << quarter * 2);
    }
}

void encode_iq4_xs(const float *x, const float *importance, void *block)
{
    const struct fit_levels levels = {-127, 113, encode_iq4_values};
    struct quant_iq4_xs *out = block;
    struct fit_scales f;
    float q[256];
    k_scales(&levels, -32, 8, x, importance, &f, q);
    memset(out, 0, sizeof *out);
    out->d = half_from_float(f.d);
    for (int j = 0; j < 8; j++) {
        const unsigned scale = (unsigned)(f.scales[j] + 32);
        uint8_t u[32];
        out->scales_l[j / 2] |= (uint8_t)((scale & 15) << j % 2 * 4);
        out->scales_h |= (uint16_t)((scale >> 4) << 2 * j);
        for (int i = 0; i < 32; i++)
            u[i] = encode_iq4_index(q[j * 32 + i]);
        encode_nibbles(u, out->qs + j * 16);
    }
}
