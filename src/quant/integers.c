/* The decoders of blocks that are integers times scales, and the integers of those whose numbers
 * lie side by side: of one and two bits, ternary ones, and NVFP4. Those that name vectors of a grid
 * are in grids.c. Knows no files, no threads. */
#include "quant/integers.h"

#include "quant/blocks.h"
#include "quant/decoders.h"
#include "quant/half.h"

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
    for (int i = 0; i < 32; i++)
        out->v[i] = qs[i / 8] >> i % 8 & 1 ? 1 : -1;
}

void quant_integers_Q2_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_q2_0 *block = (const struct quant_q2_0 *)blocks + b / 2;
    const uint8_t *qs = block->qs + b % 2 * 8;
    one_scale(out, block->d);
    for (int i = 0; i < 32; i++)
        out->v[i] = (int8_t)((qs[i / 4] >> i % 4 * 2 & 3) - 1);
}

/* The digit that has n digits above it. A byte is a fraction of 256: times 3^n the digits above
 * are whole numbers and fall away, the next whole number is the digit. */
static int ternary_digit(uint8_t byte, unsigned n)
{
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    return (uint8_t)(byte * powers[n]) * 3 >> 8;
}

void quant_integers_TQ1_0(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_tq1_0 *block = (const struct quant_tq1_0 *)blocks + b / 8;
    one_scale(out, block->d);
    for (unsigned i = 0; i < 32; i++) {
        const unsigned e = (unsigned)(b % 8) * 32 + i;
        uint8_t byte = block->qs[i];
        unsigned n = e / 32;
        if (e >= 240) {
            byte = block->qh[e % 4];
            n = (e - 240) / 4;
        } else if (e >= 160) {
            byte = block->qs[32 + e % 16];
            n = (e - 160) / 16;
        }
        out->v[i] = (int8_t)(ternary_digit(byte, n) - 1);
    }
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
