/* See check.h. */
#include "check.h"

#include "quant/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS, NO = 0xffff };

#define X(NAME, number, elements, bytes, ...) {QUANT_##NAME, #NAME, elements, bytes},
const struct check_type check_types[] = {QUANT_BLOCK_TYPES(X)};
const struct check_type check_float_types[] = {QUANT_FLOAT_TYPES(X)};
const struct check_type check_packed_types[] = {QUANT_PACKED_TYPES(X)};
const struct check_type check_packed_float_types[] = {QUANT_PACKED_FLOAT_TYPES(X)};
#undef X
const size_t check_n_types = sizeof check_types / sizeof *check_types;
const size_t check_n_float_types = sizeof check_float_types / sizeof *check_float_types;
const size_t check_n_packed_types = sizeof check_packed_types / sizeof *check_packed_types;
const size_t check_n_packed_float_types =
    sizeof check_packed_float_types / sizeof *check_packed_float_types;

/* Where the 16-bit scales of a block are; others begin with the one they have. */
static void scales_of(enum quant_type type, uint32_t at[2])
{
    static const struct {
        enum quant_type type;
        uint32_t at[2];
    } scales[] = {{QUANT_Q4_1, {0, 2}},    {QUANT_Q5_1, {0, 2}},    {QUANT_Q4_K, {0, 2}},
                  {QUANT_Q5_K, {0, 2}},    {QUANT_Q6_K, {208, NO}}, {QUANT_Q2_K, {80, 82}},
                  {QUANT_Q3_K, {108, NO}}, {QUANT_MXFP4, {NO, NO}},
                  {QUANT_TQ1_0, {52, NO}}, {QUANT_TQ2_0, {64, NO}}, {QUANT_IQ1_M, {NO, NO}},
                  {QUANT_NVFP4, {NO, NO}}};
    at[0] = 0;
    at[1] = NO;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (scales[i].type == type)
            memcpy(at, scales[i].at, sizeof scales[i].at);
}

void *check_alloc(size_t n_bytes)
{
    size_t n = (n_bytes + 127) / 64 * 64;
    void *p = aligned_alloc(64, n);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memset(p, 0, n);
}

uint32_t check_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* Uniform in [-1, 1). */
static float uniform(void)
{
    return (float)check_random() * 0x1p-31f - 1.0f;
}

static float value(int pattern)
{
    switch (pattern) {
    case CHECK_RANDOM:
        return (uniform() + uniform() + uniform()) * (check_random() % 64 ? 1.0f : 20.0f);
    case CHECK_EXTREME:
        return check_random() & 1 ? 60000.0f : -60000.0f;
    case CHECK_TINY:
        return uniform() * powf(10.0f, -(float)(check_random() % 44));
    default:
        return 0;
    }
}

float *check_floats(size_t n, int pattern)
{
    float *x = malloc(n * sizeof *x + 4);
    if (!x)
        exit(1);
    for (size_t i = 0; i < n; i++)
        x[i] = value(pattern);
    return x;
}

/* ---- weights ---- */

/* A scale: positive or negative, sometimes subnormal, never infinite. */
static uint16_t random_scale(int pattern)
{
    if (pattern == CHECK_ZEROS)
        return 0;
    if (pattern == CHECK_EXTREME)
        return check_random() & 1 ? 0x7bff : 0xfbff;
    if (pattern == CHECK_TINY)
        return (uint16_t)(check_random() & 0x83ff);
    return half_from_float(uniform() * 0.02f);
}

/* The exponent of an MXFP4 block: extreme ones, but no overflow; tiny ones are subnormal. */
static uint8_t random_exponent(int pattern)
{
    if (pattern == CHECK_EXTREME)
        return check_random() & 1 ? 140 : 116;
    if (pattern == CHECK_TINY || pattern == CHECK_ZEROS)
        return check_random() & 3;
    return (uint8_t)(120 + check_random() % 12);
}

static void fill_float(uint8_t *p, enum quant_type type, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = uniform();
        uint16_t h = type == QUANT_F16 ? half_from_float(f) : half_bf16_from_float(f);
        if (type == QUANT_F32)
            memcpy(p + i * 4, &f, 4);
        else
            memcpy(p + i * 2, &h, 2);
    }
}

/* Memory that ends where the last of n bytes is, so that a sanitizer sees every byte read behind
 * them. */
static void *exact_alloc(size_t n)
{
    void *p = malloc(n);
    if (!p)
        exit(1);
    return p;
}

static void fill_blocks(uint8_t *data, const struct check_type *type, size_t n, int pattern)
{
    uint32_t scales[2];
    scales_of(type->type, scales);
    for (size_t i = 0; i < n * type->block_bytes; i++)
        data[i] = (uint8_t)(pattern == CHECK_EXTREME ? (check_random() & 1 ? 0xff : 0)
                                                     : check_random());
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < 2; j++)
            if (scales[j] != NO) {
                uint16_t scale = random_scale(pattern);
                memcpy(data + i * type->block_bytes + scales[j], &scale, 2);
            }
    for (size_t i = 0; i < n && type->type == QUANT_IQ1_M; i++)
        data[i * type->block_bytes + 55] &= 0xbf; /* its scale's exponent: no infinity */
    for (size_t i = 0; i < n && type->type == QUANT_MXFP4; i++)
        data[i * type->block_bytes] = random_exponent(pattern);
}

void check_weights_init(struct check_weights *w, const struct check_type *type, size_t n_rows,
                        size_t n, int pattern, size_t misalign)
{
    const size_t n_all = n_rows * n / type->block_elements;
    uint8_t *memory = exact_alloc(n_all * type->block_bytes + misalign), *data = memory + misalign;
    if (type->block_elements == 1)
        fill_float(data, type->type, n_all);
    else
        fill_blocks(data, type, n_all, pattern);
    *w = (struct check_weights){.type = type,
                                .m = matrix_of_blocks(type->type, n, n_rows, 1, data),
                                .memory = {memory},
                                .n_rows = n_rows,
                                .n_blocks = n / 32};
}

void check_weights_deinit(struct check_weights *w)
{
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        free(w->memory[i]);
}

static void *packed_scales(size_t n, enum matrix_scale type, int pattern)
{
    const size_t n_bytes = matrix_scale_bytes(type);
    uint8_t *out = exact_alloc(n * n_bytes);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = random_scale(pattern);
        /* F32 has more digits than a half */
        const float f = half_to_float(half) * (type == MATRIX_SCALE_F32 ? 1.1f : 1.0f);
        const uint16_t bf16 = half_bf16_from_float(f);
        /* the lowest exponents are subnormal, and one lower by half still */
        const uint8_t exponent = (uint8_t)(pattern == CHECK_EXTREME ? half % 3 : 116 + half % 20);
        const uint8_t byte = type == MATRIX_SCALE_E8M0 ? exponent
                                                       : (uint8_t)((half & 0x80) | half % 127);
        const void *from = n_bytes == 1                ? (const void *)&byte
                           : type == MATRIX_SCALE_F16  ? (const void *)&half
                           : type == MATRIX_SCALE_BF16 ? (const void *)&bf16
                                                       : (const void *)&f;
        memcpy(out + i * n_bytes, from, n_bytes);
    }
    return out;
}

void check_packed_init(struct check_weights *w, const struct check_type *type,
                       enum matrix_scale scale, uint32_t group, size_t n_rows, size_t n_blocks,
                       int pattern)
{
    const size_t n_bytes = n_rows * n_blocks * type->block_bytes;
    const size_t n_groups = n_rows * n_blocks * 32 / group;
    uint8_t *q = exact_alloc(n_bytes);
    for (size_t i = 0; i < n_bytes; i++)
        q[i] = (uint8_t)(pattern == CHECK_EXTREME ? 0u - (check_random() & 1) : check_random());
    for (size_t i = 0; i < n_bytes && type->type == QUANT_PACKED_MXFP8; i++)
        q[i] &= 0xf7; /* no NaN */
    *w = (struct check_weights){.type = type,
                                .memory = {q, packed_scales(n_groups, scale, pattern),
                                           packed_scales(n_groups, scale, pattern)},
                                .n_rows = n_rows,
                                .n_blocks = n_blocks};
    const void *biases = quant_traits(type->type)->n_parts > 2 ? w->memory[2] : NULL;
    w->m = matrix_of_packed(type->type, scale, group, n_blocks * 32, n_rows, 1, w->memory[0],
                            w->memory[1], biases);
}

float check_affine_value(const struct check_weights *w, size_t row, size_t i)
{
    const unsigned bits = w->type->block_bytes / 4;
    const size_t n = w->n_blocks * 32, bit = (row * n + i) * bits, g = (row * n + i) / w->m.group;
    const size_t n_words = w->n_rows * n * bits / 32;
    uint32_t words[2] = {0, 0};
    memcpy(words, (const uint32_t *)w->memory[0] + bit / 32, bit / 32 + 1 < n_words ? 8 : 4);
    const uint64_t both = words[0] | (uint64_t)words[1] << 32;
    const uint32_t u = (uint32_t)(both >> bit % 32) & ((1u << bits) - 1);
    float d[2];
    for (int j = 0; j < 2; j++) {
        const uint16_t half = ((const uint16_t *)w->memory[1 + j])[g];
        d[j] = w->m.scale == MATRIX_SCALE_F32    ? ((const float *)w->memory[1 + j])[g]
               : w->m.scale == MATRIX_SCALE_BF16 ? half_bf16_to_float(half)
                                                 : half_to_float(half);
    }
    return d[0] * (float)u + d[1];
}

struct kernels_panel check_panel(size_t n_places)
{
    return (struct kernels_panel){.q = check_alloc(n_places * R * 32),
                                  .d = check_alloc(n_places * R * 2 * sizeof(float)),
                                  .m = check_alloc(n_places * R * 2 * sizeof(float))};
}

void check_panel_deinit(struct kernels_panel *panel)
{
    free(panel->q);
    free(panel->d);
    free(panel->m);
}

/* ---- activations ---- */

void check_x_init(struct check_x *x, const struct kernels *k, const float *floats, size_t n_tokens,
                  size_t n_blocks, size_t n_tile)
{
    const size_t room = kernels_strand_room(n_blocks);
    x->n_places = room * KERNELS_STRANDS;
    const size_t n = x->n_places * ((n_tokens + T - 1) / T * T);
    x->q = check_alloc(n * 32);
    x->d = check_alloc(n * sizeof *x->d);
    x->s = check_alloc(n * sizeof *x->s);
    x->e = check_alloc(n * sizeof *x->e);
    for (int h = 0; h < 2; h++) {
        x->half[h] = check_alloc(n * sizeof(int32_t));
        x->c[h] = check_alloc(n * sizeof(int32_t));
        x->sh[h] = check_alloc(n * sizeof(float));
    }
    for (size_t t = 0; t < n_tokens; t++) {
        size_t first = t * x->n_places, strand = 1, step = KERNELS_STRANDS;
        if (n_tile) {
            first = t / T * T * x->n_places + t % T;
            strand = room * T;
            step = T;
        }
        struct kernels_blocks out = {x->q + first * 32, x->d + first, x->s + first,
                                     {x->half[0] + first, x->half[1] + first}, strand, step};
        k->quantize(floats + t * n_blocks * 32, n_blocks, &out);
    }
    kernels_scale_exponents(x->d, n, x->e);
}

void check_x_arrange(const struct check_x *x, const struct kernels *k, size_t n_tokens)
{
    for (size_t t = 0; t < n_tokens; t++) {
        const size_t first = t * x->n_places;
        const struct kernels_blocks row = {x->q + first * 32, x->d + first, x->s + first,
                                           {x->half[0] + first, x->half[1] + first}, 1,
                                           KERNELS_STRANDS};
        k->arrange(&row, x->n_places);
    }
}

void check_x_correct(struct check_x *x, size_t n, enum kernels_form form, int32_t offset)
{
    for (size_t i = 0; i < n; i++) {
        bool halves = kernels_form_has_halves(form);
        x->c[0][i] = -offset * (halves ? x->half[0][i] : x->half[0][i] + x->half[1][i]);
        x->c[1][i] = -offset * x->half[1][i];
        for (int h = 0; h < 2; h++)
            x->sh[h][i] = x->d[i] * (float)x->half[h][i];
    }
}

struct kernels_row_x check_x_row(const struct check_x *x, size_t t)
{
    size_t p = t * x->n_places;
    return (struct kernels_row_x){NULL,     x->q + p * 32, x->d + p,
                                  x->s + p, {x->c[0] + p, x->c[1] + p},
                                  {x->sh[0] + p, x->sh[1] + p}};
}

struct kernels_tile_x check_x_tile(const struct check_x *x, size_t t)
{
    size_t p = t * x->n_places;
    return (struct kernels_tile_x){NULL,     x->q + p * 32, x->d + p,
                                   x->s + p, {x->c[0] + p, x->c[1] + p},
                                   {x->sh[0] + p, x->sh[1] + p}, x->e + p};
}

void check_x_deinit(struct check_x *x)
{
    free(x->q);
    free(x->d);
    free(x->s);
    free(x->e);
    for (int h = 0; h < 2; h++) {
        free(x->half[h]);
        free(x->c[h]);
        free(x->sh[h]);
    }
}

/* ---- products ---- */

void check_rows_product(const struct kernels *k, const struct check_weights *w, const float *x,
                        size_t n_tokens, float *y)
{
    const struct kernels_type *type = &k->types[w->m.type];
    struct check_x q;
    check_x_init(&q, k, x, n_tokens, w->n_blocks, 0);
    check_x_arrange(&q, k, n_tokens);
    check_x_correct(&q, q.n_places * n_tokens, type->form, type->offset);
    for (size_t t = 0; t < n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x rows[KERNELS_FEW_TOKENS];
        size_t n = 0;
        for (; n < KERNELS_FEW_TOKENS && t + n < n_tokens; n++)
            rows[n] = check_x_row(&q, t + n);
        type->rows(&w->m, 0, w->n_rows, rows, n, y + t * w->n_rows, w->n_rows);
    }
    check_x_deinit(&q);
}

void check_panel_product(const struct kernels *k, const struct check_weights *w, const float *x,
                         size_t n_tokens, float *y)
{
    const struct kernels_type *type = &k->types[w->m.type];
    struct check_x q;
    check_x_init(&q, k, x, n_tokens, w->n_blocks, T);
    check_x_correct(&q, q.n_places * ((n_tokens + T - 1) / T * T), type->form, type->offset);
    struct kernels_panel panel = check_panel(q.n_places);
    memset(panel.q, 0xaa, q.n_places * R * 32);
    panel.has_long_scales = kernels_has_long_scales(&w->m);
    for (size_t r = 0; r < w->n_rows; r += R) {
        size_t n = w->n_rows - r < R ? w->n_rows - r : R;
        type->pack(&w->m, r, n, &panel);
        for (size_t t = 0; t < n_tokens; t += T) {
            const struct kernels_tile_x tile = check_x_tile(&q, t);
            k->panel[type->form](&panel, n, w->m.n_cols, &tile,
                                 n_tokens - t < T ? n_tokens - t : T, y + t * w->n_rows + r,
                                 w->n_rows);
        }
    }
    check_panel_deinit(&panel);
    check_x_deinit(&q);
}
