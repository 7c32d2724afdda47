/* Random numbers and random matrices of every type, the same in every run. */
#ifndef PENSIEVE_TESTS_BACKEND_RANDOM_MATRIX_H
#define PENSIEVE_TESTS_BACKEND_RANDOM_MATRIX_H

#include "quant/half.h"
#include "quant/matrix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline float fixture_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)(uint32_t)(state >> 16) * 0x1p-31f - 1.0f;
}

static inline void fixture_fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fixture_random() + fixture_random();
}

/* Of packed numbers; what groups and scales are differs with the shape. */
static inline struct matrix fixture_packed(enum quant_type type, uint64_t n_in, uint64_t n_out)
{
    const enum matrix_scale scale = (enum matrix_scale)((n_in / 32 + n_out) % 3);
    const uint32_t group = n_in % 64 ? 32 : n_in % 128 ? 64 : 128;
    const size_t n_packed = quant_row_bytes(type, n_in) * n_out, n_scales = n_in / group * n_out;
    uint8_t *packed = malloc(n_packed);
    float *scales[2];
    assert_non_null(packed);
    for (size_t i = 0; i < n_packed; i++)
        packed[i] = (uint8_t)(int)(fixture_random() * 127);
    for (size_t i = 0; i < n_packed && type == QUANT_PACKED_MXFP8; i++)
        packed[i] &= 0xbf; /* below 2 */
    for (int part = 0; part < 2; part++) {
        scales[part] = malloc(n_scales * sizeof(float));
        assert_non_null(scales[part]);
        for (size_t i = 0; i < n_scales; i++) {
            const float f = fixture_random() * 0x1p-6f;
            const uint16_t f16 = half_from_float(f), bf16 = half_bf16_from_float(f);
            if (scale == MATRIX_SCALE_F32)
                scales[part][i] = f;
            else
                memcpy((uint16_t *)scales[part] + i, scale == MATRIX_SCALE_F16 ? &f16 : &bf16, 2);
        }
    }
    return matrix_of_packed(type, scale, group, n_in, n_out, 1, packed, scales[0], scales[1]);
}

/* A matrix [n_out][n_in] with random bits and small scales; fixture_free(). */
static inline struct matrix fixture_matrix(enum quant_type type, uint64_t n_in, uint64_t n_out)
{
    if (quant_traits(type)->n_parts > 1)
        return fixture_packed(type, n_in, n_out);
    size_t n_bytes = quant_row_bytes(type, n_in) * n_out;
    uint8_t *data = malloc(n_bytes);
    assert_non_null(data);
    for (size_t i = 0; i < n_bytes; i++)
        data[i] = (uint8_t)(int)(fixture_random() * 127);
    const struct quant_traits *traits = quant_traits(type);
    for (size_t i = 0; i < n_bytes; i += traits->block_bytes) {
        const uint16_t d = 0x1c00, m = 0x9c00; /* 2^-8, -2^-8 */
        const float f = fixture_random();
        switch (type) {
        case QUANT_F32:
            memcpy(data + i, &f, 4);
            break;
        case QUANT_F16: /* exponents of numbers below 2 */
        case QUANT_BF16:
            data[i + 1] = (uint8_t)((data[i + 1] & 0x83) | (type == QUANT_F16 ? 0x38 : 0x3c));
            break;
        case QUANT_Q4_K:
        case QUANT_Q5_K:
        case QUANT_Q4_1:
        case QUANT_Q5_1:
            memcpy(data + i, &d, 2);
            memcpy(data + i + 2, &m, 2);
            break;
        case QUANT_Q6_K:
            memcpy(data + i + 208, &d, 2);
            break;
        case QUANT_Q2_K:
            memcpy(data + i + 80, &d, 2);
            memcpy(data + i + 82, &m, 2);
            break;
        case QUANT_Q3_K:
            memcpy(data + i + 108, &d, 2);
            break;
        case QUANT_MXFP4:
            data[i] = (uint8_t)(118 + i % 4);
            break;
        case QUANT_TQ1_0:
        case QUANT_TQ2_0:
            memcpy(data + i + traits->block_bytes - 2, &d, 2);
            break;
        case QUANT_IQ1_M: /* a nibble of d in each of four words */
            for (size_t k = 0; k < 4; k++)
                data[i + 49 + 2 * k] =
                    (uint8_t)((data[i + 49 + 2 * k] & 15) | (d >> 4 * k & 15) << 4);
            break;
        case QUANT_NVFP4:
            for (size_t k = 0; k < 4; k++)
                data[i + k] = (uint8_t)(8 + data[i + k] % 16);
            break;
        default:
            memcpy(data + i, &d, 2);
        }
    }
    return matrix_of_blocks(type, n_in, n_out, 1, data);
}

static inline void fixture_free(struct matrix *m)
{
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        free((void *)m->parts[i].data);
}

#endif
