/* The decoders of blocks that are integers times scales, and the integers of those whose numbers
 * lie side by side: of one and two bits, ternary ones, and NVFP4. Those that name vectors of a grid
 * are in grids.c. Knows no files, no threads. */
#include "quant/integers.h"

#include "quant/blocks.h"
#include "quant/decoders.h"
#include "quant/half.h"

#include <string.h>

_Static_assert(sizeof(struct quant_q1_0) == 18 && sizeof(struct quant_q2_0) == 18, "layout");
_Static_assert(sizeof(struct quant_tq1_0) == 54 && sizeof(struct quant_tq2_0) == 66, "layout");
_Static_assert(sizeof(struct quant_nvfp4) == 36, "layout");

static inline void decode_integers(quant_integers_fn *integers, const void *blocks, float *out,
                                   size_t n)
{
    for (size_t b = 0; b < n / 32; b++) {
        struct quant_integers in;
        integers(blocks, b, &in);
        for (int i = 0; i < 32; i++)
            *out++ = in.d[i / 16] * (float)in.v[i];
    }
}

#define X(NAME, ...)                                                                               \
    void quant_decode_##NAME(const void *blocks, float *out, size_t n)                             \
    {                                                                                              \
        decode_integers(quant_integers_##NAME, blocks, out, n);                                    \
    }
QUANT_INTEGER_TYPES(X)
#undef X

static void one_scale(struct quant_integers *out, uint16_t d)
{
    out->d[0] = out->d[1] = half_to_float(d);
}

void quant_integers_Q1_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_q1_0 *block = (const struct quant_q1_0 *)blocks + b / 4;
    const uint8_t *qs = block->qs + b % 4 * 4;
    one_scale(out, block->d);
    for (int i = 0; i < 4; i++) { /* 1, or -1 */
        const uint64_t eight = 0x0101010101010101 | ~quant_bytes_of_bits(qs[i]);
        memcpy(out->v + 8 * i, &eight, sizeof eight);
    }
}

void quant_integers_Q2_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_q2_0 *block = (const struct quant_q2_0 *)blocks + b / 2;
    const uint8_t *qs = block->qs + b % 2 * 8;
    one_scale(out, block->d);
    for (int i = 0; i < 32; i++)
        out->v[i] = (int8_t)((qs[i / 4] >> i % 4 * 2 & 3) - 1);
}

/* Of n bytes the digits that have k digits above them, less 1. A byte is a fraction of 256: times
 * 3^k the digits above are whole numbers and fall away, the next whole number is the digit. */
static void put_ternary(int8_t *out, const uint8_t *bytes, int n, size_t k)
{
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    for (int i = 0; i < n; i++)
        out[i] = (int8_t)(((uint8_t)(bytes[i] * powers[k]) * 3 >> 8) - 1);
}

void quant_integers_TQ1_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_tq1_0 *block = (const struct quant_tq1_0 *)blocks + b / 8;
    const size_t j = b % 8;
    one_scale(out, block->d);
    if (j < 5) {
        put_ternary(out->v, block->qs, 32, j);
        return;
    }
    put_ternary(out->v, block->qs + 32, 16, 2 * j - 10);
    if (j < 7)
        put_ternary(out->v + 16, block->qs + 32, 16, 2 * j - 9);
    for (size_t k = 0; k < 4 && j == 7; k++)
        put_ternary(out->v + 16 + 4 * k, block->qh, 4, k);
}

void quant_integers_TQ2_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_tq2_0 *block = (const struct quant_tq2_0 *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 / 4 * 32;
    one_scale(out, block->d);
    for (int i = 0; i < 32; i++)
        out->v[i] = (int8_t)((qs[i] >> b % 4 * 2 & 3) - 1);
}

/* Half of an unsigned float of four and three bits; 0x7f is 0, and the highest bit nothing. */
static float half_of_ue4m3(uint8_t x)
{
    const int exponent = x >> 3 & 15, fraction = x & 7;
    if (x == 0x7f)
        return 0;
    if (!exponent)
        return (float)fraction * 0x1p-10f;
    return half_bits_to_float((uint32_t)(exponent + 119) << 23 | (uint32_t)fraction << 20);
}

void quant_integers_NVFP4(const void *blocks, size_t b, struct quant_integers *out)
{
    static const int8_t values[16] = {QUANT_MXFP4_VALUES};
    const struct quant_nvfp4 *block = (const struct quant_nvfp4 *)blocks + b / 2;
    for (size_t h = 0; h < 2; h++) {
        const size_t part = b % 2 * 2 + h;
        out->d[h] = half_of_ue4m3(block->d[part]);
        for (size_t i = 0; i < 8; i++) {
            const uint8_t byte = block->qs[part * 8 + i];
            out->v[h * 16 + i] = values[byte & 15];
            out->v[h * 16 + i + 8] = values[byte >> 4];
        }
    }
}
