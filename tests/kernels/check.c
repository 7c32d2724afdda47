/* See check.h. */
#include "check.h"

#include "quant/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS, NO = 0xffff };

#define TYPES(X)                                                                                   \
    X(Q4_0, 0, NO)                                                                                 \
    X(Q4_1, 0, 2)                                                                                  \
    X(Q5_0, 0, NO)                                                                                 \
    X(Q5_1, 0, 2)                                                                                  \
    X(Q8_0, 0, NO)                                                                                 \
    X(Q4_K, 0, 2)                                                                                  \
    X(Q5_K, 0, 2)                                                                                  \
    X(Q6_K, 208, NO)                                                                               \
    X(Q2_K, 80, 82)                                                                                \
    X(Q3_K, 108, NO)                                                                               \
    X(IQ4_NL, 0, NO)                                                                               \
    X(IQ4_XS, 0, NO)                                                                               \
    X(MXFP4, NO, NO)

#define X(NAME, number, elements, bytes) enum { E_##NAME = elements, B_##NAME = bytes };
QUANT_TYPES(X)
#undef X

static void decode(enum quant_type type, const void *blocks, float *out, size_t n)
{
    quant_traits(type)->decode(blocks, out, n);
}
#define X(NAME, a, b)                                                                              \
    static void decode_##NAME(const void *blocks, float *out, size_t n)                            \
    {                                                                                              \
        decode(QUANT_##NAME, blocks, out, n);                                                      \
    }
TYPES(X)
#undef X

#define X(NAME, a, b) {QUANT_##NAME, #NAME, E_##NAME, B_##NAME, decode_##NAME, {a, b}},
const struct check_type check_types[] = {TYPES(X)};
#undef X
const size_t check_n_types = sizeof check_types / sizeof *check_types;

const struct check_type check_float_types[] = {
    {QUANT_F32, "F32", 1, 4, NULL, {NO, NO}},
    {QUANT_F16, "F16", 1, 2, NULL, {NO, NO}},
    {QUANT_BF16, "BF16", 1, 2, NULL, {NO, NO}},
};
const size_t check_n_float_types = sizeof check_float_types / sizeof *check_float_types;

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

void check_weights_init(struct check_weights *w, const struct check_type *type, size_t n_rows,
                        size_t n, int pattern, size_t misalign)
{
    const size_t n_blocks = n / type->block_elements, n_all = n_rows * n_blocks;
    const size_t n_bytes = n_all * type->block_bytes;
    w->type = type;
    w->n_rows = n_rows;
    w->n_blocks = n / 32;
    w->row_bytes = n_blocks * type->block_bytes;
    /* the rows end where the memory ends, so that a sanitizer sees every byte read behind them */
    w->memory = malloc(n_bytes + misalign);
    if (!w->memory)
        exit(1);
    w->data = w->memory + misalign;
    if (type->block_elements == 1) {
        fill_float(w->data, type->type, n_rows * n);
        return;
    }
    for (size_t i = 0; i < n_bytes; i++)
        w->data[i] = (uint8_t)(pattern == CHECK_EXTREME ? (check_random() & 1 ? 0xff : 0)
                                                        : check_random());
    for (size_t i = 0; i < n_all; i++)
        for (int j = 0; j < 2; j++)
            if (type->scales[j] != NO) {
                uint16_t scale = random_scale(pattern);
                memcpy(w->data + i * type->block_bytes + type->scales[j], &scale, 2);
            }
    for (size_t i = 0; i < n_all && type->type == QUANT_MXFP4; i++)
        w->data[i * type->block_bytes] = random_exponent(pattern);
}

void check_weights_deinit(struct check_weights *w)
{
    free(w->memory);
}

/* n scales or biases that end where their memory ends. */
static uint16_t *affine_scales(size_t n, bool bf16, int pattern)
{
    uint16_t *out = malloc(n * sizeof *out);
    if (!out)
        exit(1);
    for (size_t i = 0; i < n; i++) {
        out[i] = random_scale(pattern);
        if (bf16)
            out[i] = half_bf16_from_float(half_to_float(out[i]));
    }
    return out;
}

void check_affine_init(struct check_affine *w, uint32_t bits, uint32_t group, bool bf16,
                       size_t n_rows, size_t n_blocks, int pattern)
{
    const size_t n_words = n_rows * n_blocks * bits, n_groups = n_rows * n_blocks * 32 / group;
    uint32_t *q = malloc(n_words * sizeof *q);
    if (!q)
        exit(1);
    for (size_t i = 0; i < n_words; i++)
        q[i] = pattern == CHECK_EXTREME ? 0u - (check_random() & 1) : check_random();
    w->w = (struct kernels_affine){q,    affine_scales(n_groups, bf16, pattern),
                                   affine_scales(n_groups, bf16, pattern),
                                   bits, group, bf16};
    w->n_rows = n_rows;
    w->n_blocks = n_blocks;
}

void check_affine_deinit(struct check_affine *w)
{
    free((void *)w->w.q);
    free((void *)w->w.scales);
    free((void *)w->w.biases);
}

float check_affine_value(const struct check_affine *w, size_t row, size_t i)
{
    const struct kernels_affine *a = &w->w;
    size_t n = w->n_blocks * 32, bit = (row * n + i) * a->bits, g = (row * n + i) / a->group;
    uint32_t u = a->q[bit / 32] >> bit % 32 & ((1u << a->bits) - 1);
    float d = a->bf16 ? half_bf16_to_float(a->scales[g]) : half_to_float(a->scales[g]);
    float m = a->bf16 ? half_bf16_to_float(a->biases[g]) : half_to_float(a->biases[g]);
    return d * (float)u + m;
}

struct kernels_panel check_panel(size_t n_places)
{
    return (struct kernels_panel){check_alloc(n_places * R * 32),
                                  check_alloc(n_places * R * 2 * sizeof(float)),
                                  check_alloc(n_places * R * 2 * sizeof(float))};
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
        bool halves = form == KERNELS_HALVES;
        x->c[0][i] = -offset * (halves ? x->half[0][i] : x->half[0][i] + x->half[1][i]);
        x->c[1][i] = -offset * x->half[1][i];
        for (int h = 0; h < 2; h++)
            x->sh[h][i] = x->d[i] * (float)x->half[h][i];
    }
}

struct kernels_row_x check_x_row(const struct check_x *x, size_t t)
{
    size_t p = t * x->n_places;
    return (struct kernels_row_x){x->q + p * 32, x->d + p, x->s + p, {x->c[0] + p, x->c[1] + p},
                                  {x->sh[0] + p, x->sh[1] + p}};
}

struct kernels_tile_x check_x_tile(const struct check_x *x, size_t t)
{
    size_t p = t * x->n_places;
    return (struct kernels_tile_x){x->q + p * 32, x->d + p, x->s + p, {x->c[0] + p, x->c[1] + p},
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

/* Weights of either kind. */
struct source {
    const struct kernels *k;
    const struct check_weights *w; /* or, when NULL: */
    const struct kernels_affine *affine;
    size_t n_rows, n_blocks;
};

static enum kernels_form form_of(const struct source *s)
{
    return s->w ? s->k->types[s->w->type->type].form : kernels_affine_form(s->affine);
}

static int32_t offset_of(const struct source *s)
{
    return s->w ? s->k->types[s->w->type->type].offset : 128; /* MIN does not look at it */
}

static void rows_product(const struct source *s, const float *x, size_t n_tokens, float *y)
{
    struct check_x q;
    check_x_init(&q, s->k, x, n_tokens, s->n_blocks, 0);
    check_x_arrange(&q, s->k, n_tokens);
    check_x_correct(&q, q.n_places * n_tokens, form_of(s), offset_of(s));
    for (size_t t = 0; t < n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x rows[KERNELS_FEW_TOKENS];
        float *out = y + t * s->n_rows;
        size_t n = 0;
        for (; n < KERNELS_FEW_TOKENS && t + n < n_tokens; n++)
            rows[n] = check_x_row(&q, t + n);
        if (s->w)
            s->k->types[s->w->type->type].rows(s->w->data, s->w->row_bytes, s->n_rows, s->n_blocks,
                                               rows, n, out, s->n_rows);
        else
            s->k->affine_rows(s->affine, s->n_rows, s->n_blocks, rows, n, out, s->n_rows);
    }
    check_x_deinit(&q);
}

static void pack(const struct source *s, size_t row, size_t n, const struct kernels_panel *panel)
{
    if (s->w) {
        s->k->types[s->w->type->type].pack(s->w->data + row * s->w->row_bytes, s->w->row_bytes, n,
                                           s->n_blocks, panel);
    } else {
        struct kernels_affine at = kernels_affine_at(s->affine, row, s->n_blocks);
        s->k->affine_pack(&at, n, s->n_blocks, panel);
    }
}

static void panel_product(const struct source *s, const float *x, size_t n_tokens, float *y)
{
    struct check_x q;
    check_x_init(&q, s->k, x, n_tokens, s->n_blocks, T);
    check_x_correct(&q, q.n_places * ((n_tokens + T - 1) / T * T), form_of(s), offset_of(s));
    struct kernels_panel panel = check_panel(q.n_places);
    memset(panel.q, 0xaa, q.n_places * R * 32);
    for (size_t r = 0; r < s->n_rows; r += R) {
        size_t n = s->n_rows - r < R ? s->n_rows - r : R;
        pack(s, r, n, &panel);
        for (size_t t = 0; t < n_tokens; t += T) {
            const struct kernels_tile_x tile = check_x_tile(&q, t);
            s->k->panel[form_of(s)](&panel, n, s->n_blocks, &tile,
                                    n_tokens - t < T ? n_tokens - t : T, y + t * s->n_rows + r,
                                    s->n_rows);
        }
    }
    check_panel_deinit(&panel);
    check_x_deinit(&q);
}

void check_rows_product(const struct kernels *k, const struct check_weights *w, const float *x,
                        size_t n_tokens, float *y)
{
    rows_product(&(struct source){k, w, NULL, w->n_rows, w->n_blocks}, x, n_tokens, y);
}

void check_panel_product(const struct kernels *k, const struct check_weights *w, const float *x,
                         size_t n_tokens, float *y)
{
    panel_product(&(struct source){k, w, NULL, w->n_rows, w->n_blocks}, x, n_tokens, y);
}

void check_affine_rows_product(const struct kernels *k, const struct check_affine *w,
                               const float *x, size_t n_tokens, float *y)
{
    rows_product(&(struct source){k, NULL, &w->w, w->n_rows, w->n_blocks}, x, n_tokens, y);
}

void check_affine_panel_product(const struct kernels *k, const struct check_affine *w,
                                const float *x, size_t n_tokens, float *y)
{
    panel_product(&(struct source){k, NULL, &w->w, w->n_rows, w->n_blocks}, x, n_tokens, y);
}
