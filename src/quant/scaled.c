/* The decoders of MLX's floats of four and eight bits (github.com/ml-explore/mlx) with a scale for
 * a group: mxfp4, nvfp4 and mxfp8. A product of the two is exact in F32, but for the largest and
 * the smallest scales of the mx ones, where it is rounded once; with a factor the scale is rounded,
 * too. */
#include "quant/decoders.h"
#include "quant/half.h"

/* e2m1; the highest bit is the sign, also of zero. */
static const float e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                               -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static void decode_scaled(const struct matrix *m, size_t row, float *out)
{
    const uint8_t *packed = matrix_row(m, MATRIX_PACKED, row);
    const float factor = matrix_factor(m);
    for (size_t g = 0; g < m->n_cols / m->group; g++) {
        const float scale = matrix_scale(m, MATRIX_SCALES, row, g) * factor;
        for (size_t i = g * m->group; i < (g + 1) * m->group; i++)
            out[i] = scale * e2m1[packed[i / 2] >> (i % 2 * 4) & 15];
    }
}

#define X(NAME, ...)                                                                               \
    void quant_decode_##NAME(const struct matrix *m, size_t row, float *out)                       \
    {                                                                                              \
        decode_scaled(m, row, out);                                                                \
    }
QUANT_SCALED_TYPES(X)
#undef X

void quant_decode_PACKED_MXFP8(const struct matrix *m, size_t row, float *out)
{
    const uint8_t *packed = matrix_row(m, MATRIX_PACKED, row);
    for (size_t g = 0; g < m->n_cols / m->group; g++) {
        const float scale = matrix_scale(m, MATRIX_SCALES, row, g);
        for (size_t i = g * m->group; i < (g + 1) * m->group; i++)
            out[i] = scale * half_e4m3_to_float(packed[i]);
    }
}
