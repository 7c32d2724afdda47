/* Blocks that are small integers times scales, as QUANT_INTEGER_TYPES of quant/types.h lists them:
 * one function tells both of 32 weights, and the decoder (integers.c) as well as the kernels'
 * unpack follow from it. */
#ifndef PENSIEVE_QUANT_INTEGERS_H
#define PENSIEVE_QUANT_INTEGERS_H

#include "quant/types.h"

#include <stddef.h>
#include <stdint.h>

/* w[i] = d[i / 16] * v[i], which is exact in F32: the scales have at most 16 significant bits, the
 * integers 6. */
struct quant_integers {
    int8_t v[32];
    float d[2]; /* the same twice, unless the type's form has halves */
};

/* Weights 32 * b .. 32 * b + 31 of the row that begins with `blocks`, at an even address. */
typedef void quant_integers_fn(const void *blocks, size_t b, struct quant_integers *out);

/* Eight bits as the bytes of a word, 0 or 255, the lowest first. */
static inline uint64_t quant_bytes_of_bits(unsigned bits)
{
    const uint64_t ones = 0x0101010101010101;
    /* bit i of byte i, then the byte's highest bit, then the whole byte */
    const uint64_t spread = (bits & 255) * ones & 0x8040201008040201;
    return ((spread + 0x7f * ones) >> 7 & ones) * 255;
}

#define X(NAME, ...) quant_integers_fn quant_integers_##NAME;
QUANT_INTEGER_TYPES(X)
#undef X

#endif
