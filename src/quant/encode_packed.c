/* Encoders of MLX's packed types (github.com/ml-explore/mlx, mlx/backend/cpu/quantized.cpp): a row
 * becomes numbers of a few bits, scales and biases. */
#include "quant/encode.h"
#include "quant/encode_blocks.h"
#include "quant/fit.h"
#include "quant/half.h"

#include <math.h>
#include <string.h>

static void put_scale(enum matrix_scale type, void *scales, size_t g, float value)
{
    uint16_t half;
    switch (type) {
    case MATRIX_SCALE_F16:
        half = half_from_float(value);
        memcpy((char *)scales + 2 * g, &half, sizeof half);
        break;
    case MATRIX_SCALE_BF16:
        half = half_bf16_from_float(value);
        memcpy((char *)scales + 2 * g, &half, sizeof half);
        break;
    default:
        memcpy((char *)scales + 4 * g, &value, sizeof value);
    }
}

/* Number i of a row of zeros, the first in the lowest bits. */
static void put_number(uint8_t *packed, size_t i, unsigned bits, unsigned number)
{
    const size_t at = i * bits, byte = at / 8, shift = at % 8;
    packed[byte] |= (uint8_t)(number << shift);
    if (shift + bits > 8)
        packed[byte + 1] |= (uint8_t)(number >> (8 - shift));
}

/* A group's line as MLX chooses it: the end that is farther from 0 is hit exactly, and so is 0
 * itself where it lies between the ends. The scale is negative where that end is the upper one. */
static struct fit_line mlx_line(int high, const float *x, size_t n)
{
    float least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        most = x[i] > most ? x[i] : most;
        least = x[i] < least ? x[i] : least;
    }
    const bool is_lower = fabsf(least) > fabsf(most);
    const float width = (most - least) / (float)high, scale = width > 1e-7f ? width : 1e-7f;
    struct fit_line line = {is_lower ? scale : -scale, 0};
    const float edge = is_lower ? least : most, steps = rintf(edge / line.scale);
    if (steps != 0)
        line = (struct fit_line){edge / steps, edge};
    return line;
}

static void encode_affine(const struct quant_packed_row *out, unsigned bits, const float *row,
                          const float *importance, size_t n)
{
    enum { MOST_GROUP = 128 };
    const int high = (1 << bits) - 1;
    const uint32_t group = out->group < MOST_GROUP ? out->group : MOST_GROUP;
    float weights[MOST_GROUP];
    for (size_t g = 0; g < n / group; g++) {
        const float *x = row + g * group;
        struct fit_line line = mlx_line(high, x, group);
        if (importance) {
            encode_weights(x, importance + g * group, group, weights);
            line = fit_line(high, 0, x, weights, group);
            line.scale = line.scale > 1e-7f ? line.scale : 1e-7f;
        }
        put_scale(out->scale, out->scales, g, line.scale);
        put_scale(out->scale, out->biases, g, line.offset);
        for (size_t i = 0; i < group; i++) {
            float u = rintf((x[i] - line.offset) / line.scale);
            u = u > 0 ? u : 0;
            u = u < (float)high ? u : (float)high;
            put_number(out->packed, g * group + i, bits, (unsigned)u);
        }
    }
}

static void encode_packed_mxfp4(const struct quant_packed_row *out, const float *row,
                                const float *importance, size_t n)
{
    for (size_t g = 0; g < n / 32; g++) {
        float weights[32];
        uint8_t codes[32];
        encode_weights(row + g * 32, importance ? importance + g * 32 : NULL, 32, weights);
        ((uint8_t *)out->scales)[g] = encode_mxfp4(row + g * 32, weights, codes);
        for (size_t i = 0; i < 32; i++)
            put_number(out->packed, g * 32 + i, 4, codes[i]);
    }
}

void quant_encode_packed(const struct quant_packed_row *out, const float *row,
                         const float *importance, size_t n)
{
    memset(out->packed, 0, quant_row_bytes(out->type, n));
    switch (out->type) {
#define X(NAME, number, elements, bytes, ...)                                                      \
    case QUANT_##NAME:                                                                             \
        encode_affine(out, 8 * (bytes) / (elements), row, importance, n);                          \
        break;
        QUANT_AFFINE_TYPES(X)
#undef X
    case QUANT_PACKED_MXFP4:
        encode_packed_mxfp4(out, row, importance, n);
        break;
    default:
        break;
    }
}
