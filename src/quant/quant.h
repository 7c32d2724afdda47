/* The types of weights: sizes and exact scalar decoding of every type of the table in types.h.
 * Knows no files and no threads. */
#ifndef PENSIEVE_QUANT_QUANT_H
#define PENSIEVE_QUANT_QUANT_H

#include "quant/types.h"

#include <stddef.h>
#include <stdint.h>

struct matrix;

struct quant_traits {
    const char *name;        /* "Q4_K" */
    uint32_t block_elements; /* elements one block stands for */
    uint32_t block_bytes;
    uint32_t n_parts; /* of a matrix (quant/matrix.h); above 1 it is packed */
    /* Decodes n elements (a multiple of block_elements) to floats, exactly as the format defines.
     * Blocks lie at an even address, but for MXFP4's; floats at any. NULL for packed types. */
    void (*decode)(const void *blocks, float *out, size_t n);
    /* The same of a row of a matrix of a packed type; NULL for others. */
    void (*decode_row)(const struct matrix *m, size_t row, float *out);
};

/* The traits of a type, or NULL for a number this build does not know. */
const struct quant_traits *quant_traits(uint32_t type);

/* Bytes of a row of n elements (of a packed type: of the numbers alone); 0 when n is not a multiple
 * of the block, the type is unknown or the size overflows. */
size_t quant_row_bytes(uint32_t type, size_t n);

#endif
