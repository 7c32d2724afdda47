/* The blocks byte for byte, as they lie in a GGUF file (little-endian; f16 is IEEE binary16 as
 * uint16_t). Shared by the scalar decoders here and by the kernels, which read them in place. */
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

#endif
