/* What the encoders' files share. Private to src/quant. One module: encode, encode_k,
 * encode_packed. */
#ifndef PENSIEVE_QUANT_ENCODE_BLOCKS_H
#define PENSIEVE_QUANT_ENCODE_BLOCKS_H

#include "quant/half.h"

#include <stddef.h>
#include <stdint.h>

/* The nearest half float that is finite. */
static inline uint16_t encode_half(float x)
{
    return half_from_float(x > 65504 ? 65504 : x < -65504 ? -65504 : x);
}

/* How much each of n <= FIT_BLOCK elements counts: its importance, and more the larger it is, as
 * what is lost of large weights is felt more. Never all 0. */
void encode_weights(const float *x, const float *importance, size_t n, float *weights);

/* Numbers 0..15 of 32 elements as nibbles, the first 16 in the low ones. */
void encode_nibbles(const uint8_t q[32], uint8_t qs[16]);

extern const float encode_iq4_values[16];
/* The place of one of these values in the table. */
uint8_t encode_iq4_index(float value);

/* The exponent of a block of 32 under which the floats of four bits lose least, counted from 127
 * for 1; and those floats (e2m1, the highest bit the sign). */
uint8_t encode_mxfp4(const float *x, const float *weights, uint8_t codes[32]);

/* A block of 256 elements. */
void encode_q2_k(const float *x, const float *importance, void *block);
void encode_q3_k(const float *x, const float *importance, void *block);
void encode_q4_k(const float *x, const float *importance, void *block);
void encode_q5_k(const float *x, const float *importance, void *block);
void encode_q6_k(const float *x, const float *importance, void *block);
void encode_iq4_xs(const float *x, const float *importance, void *block);

#endif
