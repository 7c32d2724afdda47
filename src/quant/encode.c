/* Encoders of floats and of blocks of 32, and the table of all. */
#include "quant/encode.h"

#include "quant/blocks.h"
#include "quant/encode_blocks.h"
#include "quant/fit.h"
#include "quant/half.h"

#include <float.h>
#include <math.h>
#include <string.h>

void encode_weights(const float *x, const float *importance, size_t n, float *weights)
{
    float sum = 0, total = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (size_t i = 0; i < n; i++) {
        weights[i] = (importance ? importance[i] : 1) * sqrtf(sum / (float)n + x[i] * x[i]);
        total += weights[i];
    }
    if (!(total > 0) || !(total <= FLT_MAX))
        for (size_t i = 0; i < n; i++)
            weights[i] = 1;
}

void encode_nibbles(const uint8_t q[32], uint8_t qs[16])
{
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
}

/* ---- floats ---- */

static void encode_f32(const float *x, const float *importance, size_t n, void *out)
{
    (void)importance;
    memcpy(out, x, n * sizeof *x);
}

static void encode_f16(const float *x, const float *importance, size_t n, void *out)
{
    (void)importance;
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = encode_half(x[i]);
        memcpy((char *)out + 2 * i, &half, sizeof half);
    }
}

static void encode_bf16(const float *x, const float *importance, size_t n, void *out)
{
    (void)importance;
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = half_bf16_from_float(x[i]);
        memcpy((char *)out + 2 * i, &half, sizeof half);
    }
}

/* ---- blocks of 32 ---- */

/* Numbers of a block that are `offset` above what the levels say; returns d. */
static uint16_t encode_scaled(const struct fit_levels *levels, const float *x,
                              const float *importance, uint8_t u[32])
{
    float weights[32], q[32];
    encode_weights(x, importance, 32, weights);
    const uint16_t d = encode_half(fit_scale(levels, x, weights, 32));
    fit_round(levels, x, 32, half_to_float(d), q);
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)(q[i] - levels->low);
    return d;
}

static void encode_line(int high, const float *x, const float *importance, uint8_t u[32],
                        uint16_t *d, uint16_t *m)
{
    float weights[32], q[32];
    encode_weights(x, importance, 32, weights);
    struct fit_line line = fit_line(high, 0, x, weights, 32);
    *d = encode_half(line.scale);
    *m = encode_half(line.offset);
    line = (struct fit_line){half_to_float(*d), half_to_float(*m)};
    fit_line_round(line, high, x, 32, q);
    for (int i = 0; i < 32; i++)
        u[i] = (uint8_t)q[i];
}

static void put_fifth_bits(const uint8_t u[32], uint8_t qh[4], uint8_t qs[16])
{
    uint8_t low[32];
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++) {
        low[i] = u[i] & 15;
        qh[i / 8] |= (uint8_t)((u[i] >> 4) << i % 8);
    }
    encode_nibbles(low, qs);
}

static void encode_q4_0(const float *x, const float *importance, void *block)
{
    static const struct fit_levels levels = {-8, 7, NULL};
    struct quant_q4_0 *out = block;
    uint8_t u[32];
    out->d = encode_scaled(&levels, x, importance, u);
    encode_nibbles(u, out->qs);
}

static void encode_q4_1(const float *x, const float *importance, void *block)
{
    struct quant_q4_1 *out = block;
    uint8_t u[32];
    encode_line(15, x, importance, u, &out->d, &out->m);
    encode_nibbles(u, out->qs);
}

static void encode_q5_0(const float *x, const float *importance, void *block)
{
    static const struct fit_levels levels = {-16, 15, NULL};
    struct quant_q5_0 *out = block;
    uint8_t u[32];
    out->d = encode_scaled(&levels, x, importance, u);
    put_fifth_bits(u, out->qh, out->qs);
}

static void encode_q5_1(const float *x, const float *importance, void *block)
{
    struct quant_q5_1 *out = block;
    uint8_t u[32];
    encode_line(31, x, importance, u, &out->d, &out->m);
    put_fifth_bits(u, out->qh, out->qs);
}

/* With 255 levels a search gains nothing that is worth its time: the largest is the largest. */
static void encode_q8_0(const float *x, const float *importance, void *block)
{
    static const struct fit_levels levels = {-127, 127, NULL};
    struct quant_q8_0 *out = block;
    float q[32], most = 0;
    (void)importance;
    for (int i = 0; i < 32; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    out->d = encode_half(most / 127);
    fit_round(&levels, x, 32, half_to_float(out->d), q);
    for (int i = 0; i < 32; i++)
        out->qs[i] = (int8_t)q[i];
}

const float encode_iq4_values[16] = {QUANT_IQ4_VALUES};

uint8_t encode_iq4_index(float value)
{
    uint8_t i = 0;
    while (i < 15 && encode_iq4_values[i] < value)
        i++;
    return i;
}

static void encode_iq4_nl(const float *x, const float *importance, void *block)
{
    const struct fit_levels levels = {-127, 113, encode_iq4_values};
    struct quant_iq4_nl *out = block;
    float weights[32], q[32];
    uint8_t u[32];
    encode_weights(x, importance, 32, weights);
    out->d = encode_half(fit_scale(&levels, x, weights, 32));
    fit_round(&levels, x, 32, half_to_float(out->d), q);
    for (int i = 0; i < 32; i++)
        u[i] = encode_iq4_index(q[i]);
    encode_nibbles(u, out->qs);
}

/* ---- floats of four bits ---- */

/* The nearest e2m1 of |x|; the middle between two goes to the even one. */
static uint8_t e2m1_of(float x)
{
    const uint8_t sign = signbit(x) ? 8 : 0;
    const float a = fabsf(x);
    const int n = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                  (a >= 3.5f) + (a > 5.0f);
    return (uint8_t)(sign | n);
}

static float mxfp4_error(const float *x, const float *weights, int exponent)
{
    static const float values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    const float scale = ldexpf(1, exponent), inverse = ldexpf(1, -exponent);
    float sum = 0;
    for (int i = 0; i < 32; i++) {
        const float lost = fabsf(x[i]) - scale * values[e2m1_of(x[i] * inverse) & 7];
        sum += weights[i] * lost * lost;
    }
    return sum;
}

uint8_t encode_mxfp4(const float *x, const float *weights, uint8_t codes[32])
{
    enum { LEAST = -126, MOST = 126 };
    float most = 0, error = FLT_MAX;
    int exponent = 0, best = -127;
    for (int i = 0; i < 32; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (most > 0)
        frexpf(most / 6, &exponent); /* most / 6 is in [2^(exponent - 1), 2^exponent) */
    for (int e = exponent - 2; most > 0 && e <= exponent + 1; e++) {
        const int tried = e < LEAST ? LEAST : e > MOST ? MOST : e;
        const float e_error = mxfp4_error(x, weights, tried);
        if (!(e_error < error))
            continue;
        error = e_error;
        best = tried;
    }
    for (int i = 0; i < 32; i++)
        codes[i] = best > -127 ? e2m1_of(x[i] * ldexpf(1, -best)) : 0;
    return (uint8_t)(best + 127);
}

static void encode_mxfp4_block(const float *x, const float *importance, void *block)
{
    struct quant_mxfp4 *out = block;
    float weights[32];
    uint8_t codes[32];
    encode_weights(x, importance, 32, weights);
    out->e = encode_mxfp4(x, weights, codes);
    encode_nibbles(codes, out->qs);
}

/* ---- the table ---- */

static const struct {
    void (*floats)(const float *x, const float *importance, size_t n, void *out);
    void (*block)(const float *x, const float *importance, void *block);
} encoders[QUANT_N_TYPES] = {
    [QUANT_F32] = {.floats = encode_f32},
    [QUANT_F16] = {.floats = encode_f16},
    [QUANT_BF16] = {.floats = encode_bf16},
    [QUANT_Q4_0] = {.block = encode_q4_0},
    [QUANT_Q4_1] = {.block = encode_q4_1},
    [QUANT_Q5_0] = {.block = encode_q5_0},
    [QUANT_Q5_1] = {.block = encode_q5_1},
    [QUANT_Q8_0] = {.block = encode_q8_0},
    [QUANT_Q2_K] = {.block = encode_q2_k},
    [QUANT_Q3_K] = {.block = encode_q3_k},
    [QUANT_Q4_K] = {.block = encode_q4_k},
    [QUANT_Q5_K] = {.block = encode_q5_k},
    [QUANT_Q6_K] = {.block = encode_q6_k},
    [QUANT_IQ4_NL] = {.block = encode_iq4_nl},
    [QUANT_IQ4_XS] = {.block = encode_iq4_xs},
    [QUANT_MXFP4] = {.block = encode_mxfp4_block},
};

bool quant_can_encode(uint32_t type)
{
#define X(NAME, number, ...) || type == (number)
    const bool is_packed = type == QUANT_PACKED_MXFP4 QUANT_AFFINE_TYPES(X);
#undef X
    return is_packed || (type < QUANT_N_TYPES && (encoders[type].floats || encoders[type].block));
}

void quant_encode(uint32_t type, const float *row, const float *importance, size_t n, void *blocks)
{
    const struct quant_traits *traits = quant_traits(type);
    if (encoders[type].floats) {
        encoders[type].floats(row, importance, n, blocks);
        return;
    }
    for (size_t i = 0; i < n; i += traits->block_elements) {
        encoders[type].block(row + i, importance ? importance + i : NULL, blocks);
        blocks = (char *)blocks + traits->block_bytes;
    }
}
