/* The exact scalar decoders: every block format spelled out once, as the reference for all kernels.
 * The order of the float operations is part of each format's definition here. Knows no files, no
 * threads. */
#include "quant/quant.h"

#include "quant/blocks.h"
#include "quant/decoders.h"
#include "quant/half.h"

#include <string.h>

#define X(NAME, number, elements, bytes, ...)                                                      \
    _Static_assert(bytes > 0 && elements > 0 && elements <= 256, "block size of " #NAME);
QUANT_TYPES(X)
#undef X
_Static_assert(sizeof(struct quant_q4_0) == 18 && sizeof(struct quant_q4_1) == 20, "layout");
_Static_assert(sizeof(struct quant_q5_0) == 22 && sizeof(struct quant_q5_1) == 24, "layout");
_Static_assert(sizeof(struct quant_q8_0) == 34 && sizeof(struct quant_q4_k) == 144, "layout");
_Static_assert(sizeof(struct quant_q2_k) == 84 && sizeof(struct quant_q3_k) == 110, "layout");
_Static_assert(sizeof(struct quant_iq4_nl) == 18 && sizeof(struct quant_iq4_xs) == 136, "layout");
_Static_assert(sizeof(struct quant_mxfp4) == 17, "layout");
_Static_assert(sizeof(struct quant_q5_k) == 176 && sizeof(struct quant_q6_k) == 210, "layout");

void quant_decode_F32(const void *blocks, float *out, size_t n)
{
    memcpy(out, blocks, n * sizeof *out);
}

/* Floats lie at any address: safetensors files pad nothing. */
static uint16_t half_at(const void *halves, size_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)halves + i * sizeof half, sizeof half);
    return half;
}

void quant_decode_F16(const void *blocks, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_to_float(half_at(blocks, i));
}

void quant_decode_BF16(const void *blocks, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_bf16_to_float(half_at(blocks, i));
}

void quant_decode_Q4_0(const void *blocks, float *out, size_t n)
{
    const struct quant_q4_0 *block = blocks;
    for (; n; n -= 32, out += 32, block++) {
        float d = half_to_float(block->d);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((block->qs[i] & 15) - 8);
            out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
        }
    }
}

void quant_decode_Q4_1(const void *blocks, float *out, size_t n)
{
    const struct quant_q4_1 *block = blocks;
    for (; n; n -= 32, out += 32, block++) {
        float d = half_to_float(block->d), m = half_to_float(block->m);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(block->qs[i] & 15) + m;
            out[i + 16] = d * (float)(block->qs[i] >> 4) + m;
        }
    }
}

/* Element i (0..31) of a five-bit block: a nibble of qs and bit i of qh. */
static int five_bits(const uint8_t qs[16], const uint8_t qh[4], int i)
{
    int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (qh[i / 8] >> (i % 8) & 1) << 4;
}

void quant_decode_Q5_0(const void *blocks, float *out, size_t n)
{
    const struct quant_q5_0 *block = blocks;
    for (; n; n -= 32, out += 32, block++) {
        float d = half_to_float(block->d);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)(five_bits(block->qs, block->qh, i) - 16);
    }
}

void quant_decode_Q5_1(const void *blocks, float *out, size_t n)
{
    const struct quant_q5_1 *block = blocks;
    for (; n; n -= 32, out += 32, block++) {
        float d = half_to_float(block->d), m = half_to_float(block->m);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)five_bits(block->qs, block->qh, i) + m;
    }
}

void quant_decode_Q8_0(const void *blocks, float *out, size_t n)
{
    const struct quant_q8_0 *block = blocks;
    for (; n; n -= 32, out += 32, block++) {
        float d = half_to_float(block->d);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)block->qs[i];
    }
}

/* The six-bit scale and minimum of sub-block j (0..7), packed as blocks.h says. */
static void k_scale_and_min(const uint8_t scales[12], int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
        *min = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
    }
}

void quant_decode_Q4_K(const void *blocks, float *out, size_t n)
{
    const struct quant_q4_k *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d), dmin = half_to_float(block->dmin);
        for (int j = 0; j < 8; j++) {
            int scale, min;
            k_scale_and_min(block->scales, j, &scale, &min);
            float s = d * (float)scale, m = dmin * (float)min;
            const uint8_t *qs = block->qs + j / 2 * 32;
            int shift = j % 2 * 4;
            for (int l = 0; l < 32; l++)
                *out++ = s * (float)(qs[l] >> shift & 15) - m;
        }
    }
}

void quant_decode_Q5_K(const void *blocks, float *out, size_t n)
{
    const struct quant_q5_k *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d), dmin = half_to_float(block->dmin);
        for (int j = 0; j < 8; j++) {
            int scale, min;
            k_scale_and_min(block->scales, j, &scale, &min);
            float s = d * (float)scale, m = dmin * (float)min;
            const uint8_t *qs = block->qs + j / 2 * 32;
            int shift = j % 2 * 4;
            for (int l = 0; l < 32; l++) {
                int q = (qs[l] >> shift & 15) | (block->qh[l] >> j & 1) << 4;
                *out++ = s * (float)q - m;
            }
        }
    }
}

void quant_decode_Q6_K(const void *blocks, float *out, size_t n)
{
    const struct quant_q6_k *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, quarter = i / 32 % 4, l = i % 32;
            int low = block->ql[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
            int high = block->qh[half * 32 + l] >> (quarter * 2) & 3;
            float s = d * (float)block->scales[i / 16];
            *out++ = s * (float)((low | high << 4) - 32);
        }
    }
}

void quant_decode_Q2_K(const void *blocks, float *out, size_t n)
{
    const struct quant_q2_k *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d), dmin = half_to_float(block->dmin);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, quarter = i / 32 % 4, scale = block->scales[i / 16];
            int q = block->qs[half * 32 + i % 32] >> (quarter * 2) & 3;
            float s = d * (float)(scale & 15), m = dmin * (float)(scale >> 4);
            *out++ = s * (float)q - m;
        }
    }
}

/* The six-bit scale of sub-block i (0..15), packed as blocks.h says. */
static int q3_k_scale(const uint8_t scales[12], int i)
{
    int low = scales[i % 8] >> (i / 8 * 4) & 15;
    return (low | (scales[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32;
}

void quant_decode_Q3_K(const void *blocks, float *out, size_t n)
{
    const struct quant_q3_k *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, quarter = i / 32 % 4, l = i % 32;
            int low = block->qs[half * 32 + l] >> (quarter * 2) & 3;
            int high = block->hmask[l] >> (i / 32) & 1;
            float s = d * (float)q3_k_scale(block->scales, i / 16);
            *out++ = s * (float)((low | high << 2) - 4);
        }
    }
}

/* d times the values of 32 nibbles. */
static void decode_values(const int8_t values[16], const uint8_t qs[16], float d, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)values[qs[i] & 15];
        out[i + 16] = d * (float)values[qs[i] >> 4];
    }
}

static const int8_t iq4_values[16] = {QUANT_IQ4_VALUES};
static const int8_t mxfp4_values[16] = {QUANT_MXFP4_VALUES};

void quant_decode_IQ4_NL(const void *blocks, float *out, size_t n)
{
    const struct quant_iq4_nl *block = blocks;
    for (; n; n -= 32, out += 32, block++)
        decode_values(iq4_values, block->qs, half_to_float(block->d), out);
}

void quant_decode_IQ4_XS(const void *blocks, float *out, size_t n)
{
    const struct quant_iq4_xs *block = blocks;
    for (; n; n -= 256, block++) {
        float d = half_to_float(block->d);
        for (int j = 0; j < 8; j++, out += 32) {
            int low = block->scales_l[j / 2] >> (j % 2 * 4) & 15;
            int scale = (low | (block->scales_h >> (2 * j) & 3) << 4) - 32;
            decode_values(iq4_values, block->qs + j * 16, d * (float)scale, out);
        }
    }
}

void quant_decode_MXFP4(const void *blocks, float *out, size_t n)
{
    const struct quant_mxfp4 *block = blocks;
    for (; n; n -= 32, out += 32, block++)
        decode_values(mxfp4_values, block->qs, half_e8m0_to_float(block->e), out);
}

const struct quant_traits *quant_traits(uint32_t type)
{
    static const struct quant_traits table[QUANT_N_TYPES] = {
#define X(NAME, number, elements, bytes, ...)                                                      \
    [number] = {#NAME, elements, bytes, 1, quant_decode_##NAME, NULL},
        QUANT_FLOAT_TYPES(X) QUANT_BLOCK_TYPES(X)
#undef X
#define X(NAME, number, elements, bytes, ...)                                                      \
    [number] = {#NAME, elements, bytes, 3, NULL, quant_decode_##NAME},
        QUANT_AFFINE_TYPES(X)
#undef X
#define X(NAME, number, elements, bytes, ...)                                                      \
    [number] = {#NAME, elements, bytes, 2, NULL, quant_decode_##NAME},
        QUANT_SCALED_TYPES(X) QUANT_PACKED_FLOAT_TYPES(X)
#undef X
    };
    if (type >= QUANT_N_TYPES || !table[type].name)
        return NULL;
    return &table[type];
}

size_t quant_row_bytes(uint32_t type, size_t n)
{
    const struct quant_traits *traits = quant_traits(type);
    if (!traits || n % traits->block_elements)
        return 0;
    size_t n_blocks = n / traits->block_elements;
    if (n_blocks > SIZE_MAX / traits->block_bytes)
        return 0;
    return n_blocks * traits->block_bytes;
}
