/* A block of 32 weights as unsigned integers and scales: what the products compute with, exactly
 * and in plain C for every type. The reference computes with it alone, and so does a tier with the
 * types that it does not unpack itself. The prototypes follow from the rows of quant/types.h. */
#ifndef PENSIEVE_KERNELS_UNPACK_H
#define PENSIEVE_KERNELS_UNPACK_H

#include "kernels/kernels.h"

/* In the terms of kernels.h; what the form does not name may be anything. d has at most 19
 * significant bits, but with halves, and in packed types whose scales are F32. */
struct kernels_block {
    uint8_t u[KERNELS_BLOCK];
    float d[2]; /* with halves: of each half; else d[0] */
    float m[2]; /* MINS: of each half; MIN and WIDE_MIN: m[0] */
};

/* Block b of row `row`. */
typedef void kernels_unpack_fn(const struct matrix *m, size_t row, size_t b,
                               struct kernels_block *out);

#define X(NAME, ...) kernels_unpack_fn kernels_unpack_##NAME;
QUANT_BLOCK_TYPES(X)
QUANT_PACKED_TYPES(X)
#undef X

/* The one of a type that is no float. */
kernels_unpack_fn *kernels_unpack_of(enum quant_type type);

/* Elements from i on, a multiple of KERNELS_CHUNK, as floats: so many, or as many as are left.
 * Returns how many. What the kernels of floats without a load of their own compute with. */
enum { KERNELS_CHUNK = 256 };
size_t kernels_decode_chunk(const struct matrix *m, size_t row, size_t i, float *out);

/* kernels_type.pack of every type that is no float: panels are the same in all tiers. */
void kernels_pack_blocks(const struct matrix *m, size_t first, size_t n,
                         const struct kernels_panel *panel);

#endif
