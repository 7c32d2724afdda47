/* Floats to weights of a type: the way back of quant_traits()->decode, where it is a choice and not
 * an inverse. Encoders search for the scales that lose least by a weighted sum of squares (fit.h).
 * What a row becomes depends on it and its importance alone. Knows no files and no threads; any
 * thread may call.
 *
 * Importance: how much column i counts, like the mean square of what is multiplied with it
 * (llama.cpp's importance matrix); only its proportions matter. NULL: all columns are alike. Floats
 * must be finite; what is too large for the type becomes the largest that it has. */
#ifndef PENSIEVE_QUANT_ENCODE_H
#define PENSIEVE_QUANT_ENCODE_H

#include "quant/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether this build can make the type at all: a float or block type with quant_encode, a packed
 * one with quant_encode_packed. */
bool quant_can_encode(uint32_t type);

/* A row [n] as blocks, quant_row_bytes(type, n) of them; n is a multiple of the type's block. */
void quant_encode(uint32_t type, const float *row, const float *importance, size_t n, void *blocks);

/* A row [n] of a packed type in groups; n is a multiple of the group. `out` says the type, the
 * scales' type and the group, and where the row's parts begin; AFFINE_* and PACKED_MXFP4.
 * Without importance an affine row is what mlx.core.quantize makes of it, bit for bit; an mxfp4 row
 * loses no more than there. */
struct quant_packed_row {
    enum quant_type type;
    enum matrix_scale scale; /* of affine types: F16, BF16 or F32 */
    uint32_t group;
    void *packed, *scales, *biases; /* biases: of affine types */
};
void quant_encode_packed(const struct quant_packed_row *out, const float *row,
                         const float *importance, size_t n);

#endif
