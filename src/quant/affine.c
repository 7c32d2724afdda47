/* The decoders of MLX's affine types: w = scale * u + bias. The product of a 16-bit float and of a
 * number of eight bits is exact in F32, so there is one rounding; with F32 scales there are two. */
#include "quant/decoders.h"

/* The number of `bits` bits that is the i-th of a row: the first is in the lowest bits of a byte
 * (MLX's little-endian words are the same). */
static uint32_t packed_number(const uint8_t *row, size_t i, unsigned bits)
{
    const size_t at = i * bits, byte = at / 8, shift = at % 8;
    uint32_t both = row[byte];
    if (shift + bits > 8)
        both |= (uint32_t)row[byte + 1] << 8;
    return both >> shift & ((1u << bits) - 1);
}

static void decode_affine(const struct matrix *m, size_t row, float *out, unsigned bits)
{
    const uint8_t *packed = matrix_row(m, MATRIX_PACKED, row);
    for (size_t g = 0; g < m->n_cols / m->group; g++) {
        const float scale = matrix_scale(m, MATRIX_SCALES, row, g);
        const float bias = matrix_scale(m, MATRIX_BIASES, row, g);
        for (size_t i = g * m->group; i < (g + 1) * m->group; i++)
            out[i] = scale * (float)packed_number(packed, i, bits) + bias;
    }
}

#define X(NAME, number, elements, bytes, ...)                                                      \
    void quant_decode_##NAME(const struct matrix *m, size_t row, float *out)                       \
    {                                                                                              \
        decode_affine(m, row, out, 8 * (bytes) / (elements));                                      \
    }
QUANT_AFFINE_TYPES(X)
#undef X
