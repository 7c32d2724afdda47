/* See random_weights.h. A quantized block is random bits under a scale: where the scale lies and
 * how far its numbers spread is a table. */
#include "random_weights.h"

#include "quant/half.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Blocks of uniformly random bits, whose half-float scale d is put over them at d_at. */
struct block {
    const char *type;
    int d_at, m_at;  /* byte offsets; m_at -1: there is no offset */
    float deviation; /* of the elements where d = 1 */
    float m;         /* in units of d, so that the mean is 0 */
};

/* The deviation of n equally likely neighbours is sqrt((n^2 - 1) / 12): 16 levels have 4.61. In the
 * types with scales of their own inside the block those multiply it. */
static const struct block blocks[] = {
    {"Q4_0", 0, -1, 4.61f, 0},     {"Q4_1", 0, 2, 4.61f, -7.5f}, {"Q5_0", 0, -1, 9.23f, 0},
    {"Q5_1", 0, 2, 9.23f, -15.5f}, {"Q8_0", 0, -1, 73.9f, 0},    {"Q2_K", 80, 82, 13.9f, 1.5f},
    {"Q3_K", 108, -1, 43.0f, 0},   {"Q4_K", 0, 2, 258.0f, 7.5f}, {"Q5_K", 0, 2, 525.0f, 15.5f},
    {"Q6_K", 208, -1, 1367.0f, 0}, {"IQ4_NL", 0, -1, 70.0f, 0},  {"IQ4_XS", 0, -1, 1300.0f, 0},
};

/* MXFP4 has a power of two as its scale: byte 0 is the exponent, and the elements' deviation under
 * 2^(e - 128) is about 5.5. */
static const char mxfp4[] = "MXFP4";

static uint64_t next(struct random_weights *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u; /* splitmix64 (Steele et al. 2014) */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void random_weights_init(struct random_weights *r, uint64_t seed, const char *tensor)
{
    r->state = seed ^ 0xcbf29ce484222325u;
    for (; *tensor; tensor++) /* FNV-1a */
        r->state = (r->state ^ (unsigned char)*tensor) * 0x100000001b3u;
}

void random_weights_bytes(struct random_weights *r, void *out, size_t n_bytes)
{
    uint8_t *p = out;
    for (; n_bytes >= 8; n_bytes -= 8, p += 8)
        memcpy(p, &(uint64_t){next(r)}, 8);
    uint64_t last = next(r);
    memcpy(p, &last, n_bytes);
}

float random_weights_uniform(struct random_weights *r)
{
    return (float)(next(r) >> 40) * 0x1p-24f;
}

static const struct block *find_block(const char *name)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (!strcmp(blocks[i].type, name))
            return &blocks[i];
    return NULL;
}

int random_weights_type(const char *name)
{
    enum { MOST = 64 };
    for (int type = 0; type < MOST; type++) {
        const struct quant_traits *traits = quant_traits((uint32_t)type);
        if (!traits || strcmp(traits->name, name) != 0)
            continue;
        bool known = traits->block_elements == 1 || find_block(name) || !strcmp(name, mxfp4);
        return known ? type : -1;
    }
    return -1;
}

static void fill_floats(struct random_weights *r, uint32_t type, float mean, float deviation,
                        void *out, size_t n)
{
    const float width = deviation * 3.46410162f; /* a uniform number's is its range / sqrt(12) */
    for (size_t i = 0; i < n; i++) {
        float x = mean + width * (random_weights_uniform(r) - 0.5f);
        if (type == QUANT_F32)
            ((float *)out)[i] = x;
        else
            ((uint16_t *)out)[i] =
                type == QUANT_BF16 ? half_bf16_from_float(x) : half_from_float(x);
    }
}

static void fill_blocks(struct random_weights *r, const struct quant_traits *traits,
                        float deviation, uint8_t *out, size_t n)
{
    const struct block *block = find_block(traits->name);
    const size_t n_blocks = n / traits->block_elements;
    random_weights_bytes(r, out, n_blocks * traits->block_bytes);
    for (size_t i = 0; i < n_blocks; i++, out += traits->block_bytes) {
        if (!block) { /* MXFP4 */
            out[0] = (uint8_t)(128 + lrintf(log2f(deviation / 5.5f)));
            continue;
        }
        /* A random byte makes blocks differ: from half the scale to one and a half. */
        float d = deviation / block->deviation * (0.5f + (float)out[block->d_at] / 256.0f);
        uint16_t half = half_from_float(d);
        memcpy(out + block->d_at, &half, 2);
        if (block->m_at < 0)
            continue;
        half = half_from_float(d * block->m);
        memcpy(out + block->m_at, &half, 2);
    }
}

void random_weights_fill(struct random_weights *r, uint32_t type, float mean, float deviation,
                         void *out, size_t n)
{
    const struct quant_traits *traits = quant_traits(type);
    if (traits->block_elements == 1)
        fill_floats(r, type, mean, deviation, out, n);
    else
        fill_blocks(r, traits, deviation, out, n);
}
