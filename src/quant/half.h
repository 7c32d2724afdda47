/* The 16-bit floats of weight files, exactly: IEEE binary16 ("half") and bfloat16 to and from
 * float, and floats of eight bits that are weights or scales, e4m3 and e8m0. Rounding is to
 * nearest, ties to even. Knows no blocks. */
#ifndef PENSIEVE_QUANT_HALF_H
#define PENSIEVE_QUANT_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_bits_to_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t half_float_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 0x1f;
    uint32_t fraction = h & 0x3ff;
    if (exponent == 0x1f) /* infinity or NaN: the payload stays, a NaN becomes quiet */
        return half_bits_to_float(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent)
        return half_bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
    float subnormal = (float)fraction * 0x1p-24f; /* exact: ten bits */
    return sign ? -subnormal : subnormal;
}

static inline uint16_t half_from_float(float x)
{
    uint32_t bits = half_float_to_bits(x);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* Below 2^-14: adding 0.5 leaves the value in steps of 2^-24 in the fraction, rounded. */
        float shifted = half_bits_to_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (half_float_to_bits(shifted) - 0x3f000000));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((magnitude >> 13) - (112 << 10)));
}

static inline float half_bf16_to_float(uint16_t b)
{
    return half_bits_to_float((uint32_t)b << 16);
}

static inline uint16_t half_bf16_from_float(float x)
{
    uint32_t bits = half_float_to_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* a NaN stays one when its low bits go */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Four bits of exponent and three of fraction, without infinity; all ones but the sign is NaN. */
static inline float half_e4m3_to_float(uint8_t x)
{
    const uint32_t exponent = x >> 3 & 15, fraction = x & 7;
    float f = (float)fraction * 0x1p-9f; /* subnormal */
    if (exponent)
        f = half_bits_to_float((exponent + 120) << 23 | fraction << 20);
    if (exponent == 15 && fraction == 7)
        f = half_bits_to_float(0x7fc00000);
    return x & 0x80 ? -f : f;
}

/* 2^(e - 128), the scale of an MXFP4 block; exact, the two lowest are subnormal. */
static inline float half_e8m0_to_float(uint8_t e)
{
    return half_bits_to_float(e < 2 ? (uint32_t)0x200000 << e : (uint32_t)(e - 1) << 23);
}

#endif
