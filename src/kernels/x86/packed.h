/* MLX's packed weights as the row and panel kernels of x86 read them: affine ones of 4 and 8 bits
 * with scales of 16, and floats of 4 bits with exponents as scales; whatever else a packed type may
 * be takes the generic way. See quant/matrix.h. */
#ifndef PENSIEVE_KERNELS_X86_PACKED_H
#define PENSIEVE_KERNELS_X86_PACKED_H

#include "kernels/x86/x86.h"

enum packed_kind {
    PACKED_KIND_AFFINE_4,
    PACKED_KIND_AFFINE_8,
    PACKED_KIND_MXFP4,
};

/* X(NAME of the type, kind) */
#define PACKED_KINDS(X)                                                                            \
    X(AFFINE_4, PACKED_KIND_AFFINE_4)                                                              \
    X(AFFINE_8, PACKED_KIND_AFFINE_8)                                                              \
    X(PACKED_MXFP4, PACKED_KIND_MXFP4)

INLINE uint32_t packed_bits(const enum packed_kind kind)
{
    return kind == PACKED_KIND_AFFINE_8 ? 8 : 4;
}

INLINE enum kernels_form packed_form(const enum packed_kind kind)
{
    return kind == PACKED_KIND_MXFP4      ? KERNELS_OFFSET
           : kind == PACKED_KIND_AFFINE_8 ? KERNELS_WIDE_MIN
                                          : KERNELS_MIN;
}

INLINE bool packed_is_plain(const struct matrix *m, const enum packed_kind kind)
{
    if (kind == PACKED_KIND_MXFP4)
        return m->scale == MATRIX_SCALE_E8M0 && m->group == 32;
    return (m->scale == MATRIX_SCALE_F16 || m->scale == MATRIX_SCALE_BF16) && m->group >= 32;
}

/* What all rows of a matrix have in common. */
struct affine {
    int shift; /* a block's number shifted so is that of its scale */
    bool bf16; /* scales and biases; else f16 */
};

struct packed_row {
    const uint8_t *q;                /* a block is 4 * bits bytes */
    const uint16_t *scales, *biases; /* one for 1, 2 or 4 blocks */
    const uint8_t *exponents;        /* MXFP4's scales, one for each block */
};

INLINE struct affine affine_of(const struct matrix *m)
{
    return (struct affine){m->group == 32   ? 0
                           : m->group == 64 ? 1
                                            : 2,
                           m->scale == MATRIX_SCALE_BF16};
}

INLINE struct packed_row packed_row_of(const struct matrix *m, size_t row)
{
    const bool has_biases = m->parts[MATRIX_BIASES].data;
    return (struct packed_row){matrix_row(m, MATRIX_PACKED, row),
                               matrix_row(m, MATRIX_SCALES, row),
                               has_biases ? matrix_row(m, MATRIX_BIASES, row) : NULL,
                               matrix_row(m, MATRIX_SCALES, row)};
}

#endif
