/* The block formats of weights: layout, size and exact scalar decoding of every type. Type numbers
 * are GGUF's (github.com/ggml-org/ggml, docs/gguf.md). Knows no files and no threads. */
#ifndef PENSIEVE_QUANT_QUANT_H
#define PENSIEVE_QUANT_QUANT_H

#include <stddef.h>
#include <stdint.h>

/* X(NAME, number in GGUF, elements per block, bytes per block) */
#define QUANT_TYPES(X)                                                                             \
    X(F32, 0, 1, 4)                                                                                \
    X(F16, 1, 1, 2)                                                                                \
    X(Q4_0, 2, 32, 18)                                                                             \
    X(Q4_1, 3, 32, 20)                                                                             \
    X(Q5_0, 6, 32, 22)                                                                             \
    X(Q5_1, 7, 32, 24)                                                                             \
    X(Q8_0, 8, 32, 34)                                                                             \
    X(Q2_K, 10, 256, 84)                                                                           \
    X(Q3_K, 11, 256, 110)                                                                          \
    X(Q4_K, 12, 256, 144)                                                                          \
    X(Q5_K, 13, 256, 176)                                                                          \
    X(Q6_K, 14, 256, 210)                                                                          \
    X(IQ4_NL, 20, 32, 18)                                                                          \
    X(IQ4_XS, 23, 256, 136)                                                                        \
    X(BF16, 30, 1, 2)                                                                              \
    X(MXFP4, 39, 32, 17)

enum quant_type {
#define X(name, number, elements, bytes) QUANT_##name = number,
    QUANT_TYPES(X)
#undef X
};

struct quant_traits {
    const char *name;        /* "Q4_K" */
    uint32_t block_elements; /* elements one block stands for */
    uint32_t block_bytes;
    /* Decodes n elements (a multiple of block_elements) to floats, exactly as the format defines.
     * Blocks lie at an even address, but for MXFP4's. */
    void (*decode)(const void *blocks, float *out, size_t n);
};

/* The traits of a type, or NULL for a number this build does not know. */
const struct quant_traits *quant_traits(uint32_t type);

/* Bytes of a row of n elements; 0 when n is not a multiple of the block, the type is unknown or the
 * size overflows. */
size_t quant_row_bytes(uint32_t type, size_t n);

#endif
