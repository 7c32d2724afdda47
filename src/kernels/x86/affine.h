/* MLX's affine weights of 4 and 8 bits with scales of 16, as the row and panel kernels of x86 read
 * them; whatever else an affine type may be takes the generic way. See quant/matrix.h. */
#ifndef PENSIEVE_KERNELS_X86_AFFINE_H
#define PENSIEVE_KERNELS_X86_AFFINE_H

#include "kernels/x86/x86.h"

/* What all rows of a matrix have in common. */
struct affine {
    int shift; /* a block's number shifted so is that of its scale */
    bool bf16; /* scales and biases; else f16 */
};

struct affine_row {
    const uint8_t *q;                /* a block is 4 * bits bytes */
    const uint16_t *scales, *biases; /* one for 1, 2 or 4 blocks */
};

INLINE bool affine_is_plain(const struct matrix *m)
{
    return (m->scale == MATRIX_SCALE_F16 || m->scale == MATRIX_SCALE_BF16) && m->group >= 32;
}

INLINE struct affine affine_of(const struct matrix *m)
{
    return (struct affine){m->group == 32   ? 0
                           : m->group == 64 ? 1
                                            : 2,
                           m->scale == MATRIX_SCALE_BF16};
}

INLINE struct affine_row affine_row_of(const struct matrix *m, size_t row)
{
    return (struct affine_row){matrix_row(m, MATRIX_PACKED, row),
                               matrix_row(m, MATRIX_SCALES, row),
                               matrix_row(m, MATRIX_BIASES, row)};
}

#endif
