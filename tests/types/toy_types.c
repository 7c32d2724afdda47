/* The toys of toy_types.h: for each its exact decoder, and its block as the kernels want it. */
#include "kernels/unpack.h"
#include "quant/decoders.h"
#include "quant/half.h"

/* x = d * (q - 3); the bits of q follow one another, the first in the lowest */
struct toy_3 {
    uint16_t d;
    uint8_t qs[12];
};

/* x = d * scales[i / 16] * (q - 2), four q in a byte */
struct toy_2 {
    uint16_t d;
    int8_t scales[4];
    uint8_t qs[16];
};
_Static_assert(sizeof(struct toy_3) == 14 && sizeof(struct toy_2) == 22, "layout");

static int toy_3_number(const struct toy_3 *block, int i)
{
    int q = 0;
    for (int bit = 3 * i; bit < 3 * i + 3; bit++)
        q |= (block->qs[bit / 8] >> bit % 8 & 1) << (bit - 3 * i);
    return q;
}

static int toy_2_number(const struct toy_2 *block, int i)
{
    return block->qs[i / 4] >> i % 4 * 2 & 3;
}

void quant_decode_TOY_3(const void *blocks, float *out, size_t n)
{
    const struct toy_3 *block = blocks;
    for (; n; n -= 32, out += 32, block++)
        for (int i = 0; i < 32; i++)
            out[i] = half_to_float(block->d) * (float)(toy_3_number(block, i) - 3);
}

void quant_decode_TOY_2(const void *blocks, float *out, size_t n)
{
    const struct toy_2 *block = blocks;
    for (; n; n -= 64, out += 64, block++)
        for (int i = 0; i < 64; i++)
            out[i] = half_to_float(block->d) * (float)block->scales[i / 16] *
                     (float)(toy_2_number(block, i) - 2);
}

void kernels_unpack_TOY_3(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct toy_3 *block = (const struct toy_3 *)matrix_row(m, MATRIX_BLOCKS, row) + b;
    out->d[0] = half_to_float(block->d);
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)toy_3_number(block, i);
}

void kernels_unpack_TOY_2(const struct matrix *m, size_t row, size_t b, struct kernels_block *out)
{
    const struct toy_2 *block = (const struct toy_2 *)matrix_row(m, MATRIX_BLOCKS, row) + b / 2;
    for (int h = 0; h < 2; h++)
        out->d[h] = half_to_float(block->d) * (float)block->scales[b % 2 * 2 + (size_t)h];
    for (int i = 0; i < 32; i++)
        out->u[i] = (uint8_t)toy_2_number(block, (int)(b % 2) * 32 + i);
}
