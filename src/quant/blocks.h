/* The blocks byte for byte, as they lie in a GGUF file (little-endian; f16 is IEEE binary16 as
 * uint16_t). Shared by the scalar decoders here and by the kernels, which read them in place. The
 * layouts are those of ggml (github.com/ggml-org/ggml, src/ggml-common.h and src/ggml-quants.c);
 * MXFP4's numbers are the Open Compute Project's "Microscaling Formats (MX)", version 1.0. */
#ifndef PENSIEVE_QUANT_BLOCKS_H
#define PENSIEVE_QUANT_BLOCKS_H

#include <stdint.h>

/* x = d * (q - 8); low nibbles are elements 0..15, high nibbles 16..31 */
struct quant_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* x = d * q + m; nibbles as in Q4_0 */
struct quant_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};

/* x = d * (q - 16); bit i of qh (little-endian uint32) is bit 4 of element i */
struct quant_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* x = d * q + m; bits as in Q5_0 */
struct quant_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* x = d * q */
struct quant_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

/* Eight sub-blocks of 32: x = d * sc * q - dmin * mn. Six-bit sc and mn: for sub-block j < 4 they
 * are the low 6 bits of scales[j] and scales[j + 4]; for j >= 4 the low 4 bits are the nibbles of
 * scales[j + 4], the high 2 bits the top bits of scales[j - 4] and scales[j].
 * qs: each 32 bytes hold two sub-blocks, low nibbles the even one, high nibbles the odd one. */
struct quant_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};

/* As Q4_K, with bit 4 of sub-block j's element l in bit j of qh[l]. */
struct quant_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

/* Sixteen sub-blocks of 16: x = d * scales[i] * (q - 32). Per half of 128 elements: ql has 64
 * bytes, qh 32; element l (0..31) of quarter k takes its low nibble from ql[l + 32 * (k & 1)] (low
 * nibble for k < 2, high for k >= 2) and its high two bits from qh[l] >> 2k. */
struct quant_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};

/* Sixteen sub-blocks of 16: x = d * (scales[i] & 15) * q - dmin * (scales[i] >> 4). Per half of 128
 * elements qs has 32 bytes; element l (0..31) of quarter k is qs[l] >> 2k & 3. */
struct quant_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
};

/* Sixteen sub-blocks of 16: x = d * (sc[i] - 32) * (q - 4). The low two bits of q lie as in Q2_K,
 * bit 2 of element l (0..31) of block j of 32 is bit j of hmask[l]. Six-bit sc: the low 4 bits of
 * sc[i] and sc[i + 8] are the nibbles of scales[i], the high 2 are scales[8 + i % 4] >> i / 4 * 2.
 */
struct quant_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};

/* The sixteen values of a nibble in IQ4_NL and IQ4_XS. */
#define QUANT_IQ4_VALUES                                                                           \
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

/* x = d * value[q]; nibbles as in Q4_0 */
struct quant_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

/* Eight sub-blocks of 32: x = d * (sc[j] - 32) * value[q]. Six-bit sc: the low 4 bits are a nibble
 * of scales_l[j / 2] (low ones for even j), the high 2 are scales_h >> 2j. Each sub-block has 16
 * bytes, with nibbles as in Q4_0. */
struct quant_iq4_xs {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

/* Twice the sixteen values of MXFP4, e2m1 floats whose highest bit is the sign. */
#define QUANT_MXFP4_VALUES 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12

/* x = 2^(e - 128) * value[q] (that is 2^(e - 127) times half of it); nibbles as in Q4_0. Blocks are
 * 17 bytes: the only ones that lie at odd addresses. */
struct quant_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};

/* x = d * (bit ? 1 : -1), the first bit in the lowest one. */
struct quant_q1_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* x = d * (q - 1), the first two bits in the lowest ones. */
struct quant_q2_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* x = d * (q - 1) of digits 0, 1, 2. A byte is the fraction of five of them to the base of 3, in
 * 256ths, rounded up: digit n of qs[l] (l < 32) is element 32 * n + l, that of qs[32 + l] (l < 16)
 * is 160 + 16 * n + l, that of qh[l], which has four, is 240 + 4 * n + l. */
struct quant_tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint16_t d;
};

/* x = d * (q - 1). Per half of 128 elements qs has 32 bytes; element l (0..31) of quarter k is
 * qs[l] >> 2k & 3. */
struct quant_tq2_0 {
    uint8_t qs[64];
    uint16_t d;
};

/* Four sub-blocks of 16: x = d[i] * value[q] / 2, d being floats without a sign, four bits of
 * exponent and three of fraction. Each sub-block has 8 bytes, whose low nibbles are elements 0..7.
 */
struct quant_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
};

/* The IQ types of one to three bits: eight sub-blocks of 32, of which numbers name vectors of
 * grids (quant/grids.h). Where signs have seven bits for eight elements, their number is even. */

/* x = d * (s + 1/2) / 4 * vector. A sub-block has eight bytes: four numbers, then from the lowest
 * bit on four times seven signs and s. */
struct quant_iq2_xxs {
    uint16_t d;
    uint8_t qs[64];
};

/* The same with s for each half, low nibbles first: nine bits of number and seven signs. */
struct quant_iq2_xs {
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
};

/* The same with eight signs each; bits 8 and 9 of four numbers are in a byte of qh. */
struct quant_iq2_s {
    uint16_t d;
    uint8_t qs[32], signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
};

/* x = d * (s + 1/2) / 2 * vector, eight vectors of four; signs and s as in IQ2_XXS. */
struct quant_iq3_xxs {
    uint16_t d;
    uint8_t qs[64];
    uint8_t signs[32];
};

/* x = d * (2 s + 1) * vector; bit 8 of the sub-block's eight numbers is in a byte of qh, s in a
 * nibble of scales, low ones first. */
struct quant_iq3_s {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
};

/* x = d * (2 s + 1) * (vector + shift) of -1, 0, 1. From the lowest bit on qh has four times the
 * three high bits of a number, s in three, and 1 for a shift of -1/8, else +1/8. */
struct quant_iq1_s {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
};

/* The same with s for each half of 16 and a shift for each vector: a nibble of qh has three high
 * bits and the shift's. Word j of scales has four s, three bits each, of sub-blocks 2j and 2j + 1;
 * its highest four are nibble j of d. */
struct quant_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint16_t scales[4];
};

#endif
