/* The integers of the IQ types of one to three bits: a number names a vector of four or eight, a
 * bit says the sign of each. quant/blocks.h has the layouts. */
#include "quant/grids.h"

#include "quant/blocks.h"
#include "quant/half.h"
#include "quant/integers.h"

#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(struct quant_iq1_s) == 50 && sizeof(struct quant_iq1_m) == 56, "layout");
_Static_assert(sizeof(struct quant_iq2_xxs) == 66 && sizeof(struct quant_iq2_xs) == 74, "layout");
_Static_assert(sizeof(struct quant_iq2_s) == 82, "layout");
_Static_assert(sizeof(struct quant_iq3_xxs) == 98 && sizeof(struct quant_iq3_s) == 110, "layout");

/* Vectors are words of eight bytes, the first the lowest. */
#define ONES 0x0101010101010101u

/* Eight elements of a grid, none of them 0, with the signs of bits: -x is the complement and 1, and
 * no byte carries into the next. */
static void put_signed(int8_t *out, uint64_t vector, unsigned signs)
{
    const uint64_t negative = quant_bytes_of_bits(signs);
    vector = (vector ^ negative) + (negative & ONES);
    memcpy(out, &vector, sizeof vector);
}

static uint64_t eight_of(const int8_t vector[8])
{
    uint64_t word;
    memcpy(&word, vector, sizeof word);
    return word;
}

static uint64_t two_fours_of(const int8_t first[4], const int8_t second[4])
{
    uint32_t words[2];
    memcpy(&words[0], first, sizeof words[0]);
    memcpy(&words[1], second, sizeof words[1]);
    return words[0] | (uint64_t)words[1] << 32;
}

/* Seven bits say eight signs: the number of negative ones is even. */
static unsigned even_signs(uint32_t bits)
{
    unsigned seven = bits & 127, odd = seven ^ seven >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return seven | (odd & 1) << 7;
}

/* The scale of IQ2's blocks: four bits and a half, in quarters. */
static float iq2_scale(uint16_t d, unsigned scale)
{
    return half_to_float(d) * ((float)scale + 0.5f) * 0.25f;
}

void quant_integers_IQ2_XXS(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq2_xxs *block = (const struct quant_iq2_xxs *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 8;
    uint32_t signs;
    memcpy(&signs, qs + 4, sizeof signs);
    out->d[0] = out->d[1] = iq2_scale(block->d, signs >> 28);
    for (int i = 0; i < 4; i++)
        put_signed(out->v + 8 * i, eight_of(quant_grid_iq2_xxs[qs[i]]), even_signs(signs >> 7 * i));
}

void quant_integers_IQ2_XS(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq2_xs *block = (const struct quant_iq2_xs *)blocks + b / 8;
    const uint16_t *qs = block->qs + b % 8 * 4;
    for (int h = 0; h < 2; h++)
        out->d[h] = iq2_scale(block->d, block->scales[b % 8] >> 4 * h & 15);
    for (int i = 0; i < 4; i++)
        put_signed(out->v + 8 * i, eight_of(quant_grid_iq2_xs[qs[i] & 511]),
                   even_signs(qs[i] >> 9));
}

void quant_integers_IQ2_S(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq2_s *block = (const struct quant_iq2_s *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 4, *signs = block->signs + b % 8 * 4;
    for (int h = 0; h < 2; h++)
        out->d[h] = iq2_scale(block->d, block->scales[b % 8] >> 4 * h & 15);
    for (int i = 0; i < 4; i++) {
        const unsigned number = qs[i] | (block->qh[b % 8] >> 2 * i & 3u) << 8;
        put_signed(out->v + 8 * i, eight_of(quant_grid_iq2_s[number]), signs[i]);
    }
}

void quant_integers_IQ3_XXS(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq3_xxs *block = (const struct quant_iq3_xxs *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 8;
    uint32_t signs;
    memcpy(&signs, block->signs + b % 8 * 4, sizeof signs);
    out->d[0] = out->d[1] = half_to_float(block->d) * ((float)(signs >> 28) + 0.5f) * 0.5f;
    for (int i = 0; i < 4; i++)
        put_signed(out->v + 8 * i,
                   two_fours_of(quant_grid_iq3_xxs[qs[2 * i]], quant_grid_iq3_xxs[qs[2 * i + 1]]),
                   even_signs(signs >> 7 * i));
}

void quant_integers_IQ3_S(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq3_s *block = (const struct quant_iq3_s *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 8, *signs = block->signs + b % 8 * 4;
    const int scale = block->scales[b % 8 / 2] >> b % 2 * 4 & 15;
    out->d[0] = out->d[1] = half_to_float(block->d) * (float)(1 + 2 * scale);
    for (int i = 0; i < 4; i++) {
        const unsigned high = block->qh[b % 8] >> 2 * i;
        const unsigned first = qs[2 * i] | (high & 1) << 8;
        const unsigned second = qs[2 * i + 1] | (high & 2) << 7;
        put_signed(out->v + 8 * i,
                   two_fours_of(quant_grid_iq3_s[first], quant_grid_iq3_s[second]), signs[i]);
    }
}

/* x = d * (vector +- 1/8): in eighths these are integers. */
static void put_shifted(int8_t *out, unsigned number, bool down)
{
    /* 128 more, so that no byte borrows */
    const uint64_t lifted = eight_of(quant_grid_iq1[number]) ^ 0x80 * ONES;
    const uint64_t vector = (down ? lifted - ONES : lifted + ONES) ^ 0x80 * ONES;
    memcpy(out, &vector, sizeof vector);
}

static float iq1_scale(float d, unsigned scale)
{
    return d * (float)(2 * scale + 1) * 0.125f;
}

void quant_integers_IQ1_S(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq1_s *block = (const struct quant_iq1_s *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 4;
    const unsigned qh = block->qh[b % 8];
    out->d[0] = out->d[1] = iq1_scale(half_to_float(block->d), qh >> 12 & 7);
    for (int i = 0; i < 4; i++)
        put_shifted(out->v + 8 * i, qs[i] | (qh >> 3 * i & 7) << 8, qh >> 15);
}

void quant_integers_IQ1_M(const void *blocks, size_t b, struct quant_integers *out)
{
    const struct quant_iq1_m *block = (const struct quant_iq1_m *)blocks + b / 8;
    const uint8_t *qs = block->qs + b % 8 * 4, *qh = block->qh + b % 8 * 2;
    const unsigned scales = block->scales[b % 8 / 2];
    unsigned d = 0;
    for (int i = 0; i < 4; i++)
        d |= (block->scales[i] >> 12u) << 4 * i;
    for (unsigned h = 0; h < 2; h++)
        out->d[h] =
            iq1_scale(half_to_float((uint16_t)d), scales >> (6 * (unsigned)(b % 2) + 3 * h) & 7);
    for (int i = 0; i < 4; i++) {
        const unsigned high = qh[i / 2] >> i % 2 * 4;
        put_shifted(out->v + 8 * i, qs[i] | (high & 7) << 8, high >> 3 & 1);
    }
}
