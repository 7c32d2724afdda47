/* The one table of types of weights. A type is its row here; enum, sizes, prototypes and the tables
 * of quant/ and kernels/ follow from the rows. Beside the row a type has
 *
 *   quant_decode_<NAME>     the exact decoder (quant/decoders.h), for a block or float type over
 *                           blocks, for a packed type over a row of a matrix;
 *   kernels_unpack_<NAME>   a block of 32 as unsigned integers and scales (kernels/unpack.h), in
 *                           the terms of its form; float types have none;
 *   an unpack of its own in a tier that shall be fast at it, beside its name in that tier's list
 *                           of types (kernels/x86/avx2_unpack_more.h, avx512_pair_more.h); the
 *                           other tiers take the one above.
 *
 * A form says what the integers u mean (kernels/kernels.h), `offset` is the one of OFFSET, WIDE,
 * HALVES, WIDE_HALVES and WIDE_MIN. Numbers below 64 are GGUF's (github.com/ggml-org/ggml,
 * docs/gguf.md), those of packed types ours alone: no file has them. */
#ifndef PENSIEVE_QUANT_TYPES_H
#define PENSIEVE_QUANT_TYPES_H

/* Types that a build is given from outside: a header that defines QUANT_EXTRA_TYPES(X), rows like
 * those of the block types below. */
#ifdef QUANT_EXTRA_TYPES_FILE
#include QUANT_EXTRA_TYPES_FILE
#else
#define QUANT_EXTRA_TYPES(X)
#endif

/* X(NAME, number, elements, bytes, form, offset) */

#define QUANT_FLOAT_TYPES(X)                                                                       \
    X(F32, 0, 1, 4, FLOAT, 0)                                                                      \
    X(F16, 1, 1, 2, FLOAT, 0)                                                                      \
    X(BF16, 30, 1, 2, FLOAT, 0)

/* Numbers, scales and minima side by side in blocks of so many elements and bytes. */
#define QUANT_BLOCK_TYPES(X)                                                                       \
    X(Q4_0, 2, 32, 18, OFFSET, 8)                                                                  \
    X(Q4_1, 3, 32, 20, MIN, 0)                                                                     \
    X(Q5_0, 6, 32, 22, OFFSET, 16)                                                                 \
    X(Q5_1, 7, 32, 24, MIN, 0)                                                                     \
    X(Q8_0, 8, 32, 34, WIDE, 128)                                                                  \
    X(Q2_K, 10, 256, 84, MINS, 0)                                                                  \
    X(Q3_K, 11, 256, 110, WIDE, 128)                                                               \
    X(Q4_K, 12, 256, 144, MIN, 0)                                                                  \
    X(Q5_K, 13, 256, 176, MIN, 0)                                                                  \
    X(Q6_K, 14, 256, 210, HALVES, 32)                                                              \
    X(IQ4_NL, 20, 32, 18, WIDE, 128)                                                               \
    X(IQ4_XS, 23, 256, 136, WIDE, 128)                                                             \
    X(MXFP4, 39, 32, 17, OFFSET, 12)                                                               \
    QUANT_INTEGER_TYPES(X)                                                                         \
    QUANT_EXTRA_TYPES(X)

/* Those whose decoder and unpack follow from one function, quant_integers_<NAME>
 * (quant/integers.h): small integers and scales. */
#define QUANT_INTEGER_TYPES(X)                                                                     \
    X(IQ2_XXS, 16, 256, 66, WIDE, 128)                                                             \
    X(IQ2_XS, 17, 256, 74, WIDE_HALVES, 128)                                                       \
    X(IQ3_XXS, 18, 256, 98, WIDE, 128)                                                             \
    X(IQ1_S, 19, 256, 50, OFFSET, 9)                                                               \
    X(IQ3_S, 21, 256, 110, OFFSET, 15)                                                             \
    X(IQ2_S, 22, 256, 82, WIDE_HALVES, 128)                                                        \
    X(IQ1_M, 29, 256, 56, HALVES, 9)                                                               \
    X(TQ1_0, 34, 256, 54, OFFSET, 1)                                                               \
    X(TQ2_0, 35, 256, 66, OFFSET, 1)                                                               \
    X(NVFP4, 40, 64, 36, HALVES, 12)                                                               \
    X(Q1_0, 41, 128, 18, OFFSET, 1)                                                                \
    X(Q2_0, 42, 64, 18, OFFSET, 1)

/* Numbers of a few bits in one array, scales and biases in two others (quant/matrix.h): so many
 * elements take so many bytes of the first. They are MLX's (github.com/ml-explore/mlx):
 * w = scale * u + bias. Six bits of u are lifted by 128, so that eight and six have one form. Their
 * decoders and unpacks follow from these rows, too (quant/affine.c, kernels/unpack.c). */
#define QUANT_AFFINE_TYPES(X)                                                                      \
    X(AFFINE_1, 71, 32, 4, MIN, 0)                                                                 \
    X(AFFINE_2, 64, 32, 8, MIN, 0)                                                                 \
    X(AFFINE_3, 65, 32, 12, MIN, 0)                                                                \
    X(AFFINE_4, 66, 32, 16, MIN, 0)                                                                \
    X(AFFINE_5, 67, 32, 20, MIN, 0)                                                                \
    X(AFFINE_6, 68, 32, 24, WIDE_MIN, 128)                                                         \
    X(AFFINE_8, 70, 32, 32, WIDE_MIN, 128)

/* Floats of four bits, e2m1, the first in the lowest ones, and scales in one other array; MLX's,
 * too. u is twice the float and 12. */
#define QUANT_SCALED_TYPES(X)                                                                      \
    X(PACKED_MXFP4, 72, 32, 16, OFFSET, 12)                                                        \
    X(PACKED_NVFP4, 74, 32, 16, HALVES, 12)

#define QUANT_PACKED_TYPES(X) QUANT_AFFINE_TYPES(X) QUANT_SCALED_TYPES(X)

/* The same with floats that no small integers stand for, e4m3 of eight bits: they are decoded, and
 * computed with as floats. */
#define QUANT_PACKED_FLOAT_TYPES(X) X(PACKED_MXFP8, 73, 32, 32, FLOAT, 0)

#define QUANT_TYPES(X)                                                                             \
    QUANT_FLOAT_TYPES(X)                                                                           \
    QUANT_BLOCK_TYPES(X)                                                                           \
    QUANT_PACKED_TYPES(X)                                                                          \
    QUANT_PACKED_FLOAT_TYPES(X)

enum quant_type {
#define X(NAME, number, ...) QUANT_##NAME = number,
    QUANT_TYPES(X)
#undef X
};

enum {
#define X(NAME, number, elements, bytes, ...)                                                      \
    QUANT_ELEMENTS_##NAME = elements, QUANT_BYTES_##NAME = bytes,
    QUANT_TYPES(X)
#undef X
/* one above every number: the size of the largest of arrays that are so long */
#define X(NAME, number, ...) char of_##NAME[(number) + 1];
    QUANT_N_TYPES = sizeof(union { QUANT_TYPES(X) })
#undef X
};

#endif
