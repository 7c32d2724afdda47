/* The exact decoder of every type, whose prototypes follow from the rows of types.h. Private to
 * src/quant, which keeps them in its tables; others ask quant_traits or matrix_decode. One module:
 * decoders, matrix, quant. */
#ifndef PENSIEVE_QUANT_DECODERS_H
#define PENSIEVE_QUANT_DECODERS_H

#include "quant/matrix.h"

/* n elements, a multiple of the block's, from blocks that lie behind each other. */
#define X(NAME, ...) void quant_decode_##NAME(const void *blocks, float *out, size_t n);
QUANT_FLOAT_TYPES(X)
QUANT_BLOCK_TYPES(X)
#undef X

/* Row `row` of the matrix (of its first expert). */
#define X(NAME, ...) void quant_decode_##NAME(const struct matrix *m, size_t row, float *out);
QUANT_PACKED_TYPES(X)
QUANT_PACKED_FLOAT_TYPES(X)
#undef X

#endif
