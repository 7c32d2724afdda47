/* The decoders of MLX's floats of four bits (github.com/ml-explore/mlx) with a scale for a group:
 * mxfp4 and nvfp4. A product of the two is exact in F32, but for the largest and the smallest
 * scales of mxfp4, where it is rounded once. */
#include "quant/decoders.h"

/* e2m1; the highest bit is the sign, also of zero. */
static const float e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                               -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static void decode_scaled(const struct matrix *m, size_t row, float *out)
{
    const uint8_t *packed = matrix_row(m, MATRIX_PACKED, row);
    for (size_t g = 0; g < m->n_cols / m->group; g++) {
        const float scale = matrix_scale(m, MATRIX_SCALES, row, g);
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
