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
    X(Q6_K, 208, NO)

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

uint16_t *check_halves(size_t n)
{
    uint16_t *x = malloc(n * sizeof *x);
    if (!x)
        exit(1);
    for (size_t i = 0; i < n; i++)
        x[i] = half_from_float(value(CHECK_RANDOM));
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
}

void check_weights_deinit(struct check_weights *w)
{
    free(w->memory);
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
    for (int h = 0; h < 2; h++) {
        x->half[h] = check_alloc(n * sizeof(int32_t));
        x->c[h] = check_alloc(n * sizeof(int32_t));
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
}

void check_x_correct(struct check_x *x, size_t n, const struct kernels_type *type)
{
    for (size_t i = 0; i < n; i++) {
        bool halves = type->form == KERNELS_HALVES;
        x->c[0][i] = -type->offset * (halves ? x->half[0][i] : x->half[0][i] + x->half[1][i]);
        x->c[1][i] = -type->offset * x->half[1][i];
    }
}

void check_x_deinit(struct check_x *x)
{
    free(x->q);
    free(x->d);
    free(x->s);
    for (int h = 0; h < 2; h++) {
        free(x->half[h]);
        free(x->c[h]);
    }
}

/* ---- products ---- */

void check_rows_product(const struct kernels *k, const struct check_weights *w, const float *x,
                        size_t n_tokens, float *y)
{
    struct check_x q;
    const struct kernels_type *type = &k->types[w->type->type];
    check_x_init(&q, k, x, n_tokens, w->n_blocks, 0);
    check_x_correct(&q, q.n_places * n_tokens, type);
    for (size_t t = 0; t < n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x rows[KERNELS_FEW_TOKENS];
        size_t n = 0;
        for (; n < KERNELS_FEW_TOKENS && t + n < n_tokens; n++) {
            size_t p = (t + n) * q.n_places;
            rows[n] = (struct kernels_row_x){q.q + p * 32, q.d + p, q.s + p,
                                             {q.c[0] + p, q.c[1] + p}};
        }
        type->rows(w->data, w->row_bytes, w->n_rows, w->n_blocks, rows, n, y + t * w->n_rows,
                   w->n_rows);
    }
    check_x_deinit(&q);
}

void check_panel_product(const struct kernels *k, const struct check_weights *w, const float *x,
                         size_t n_tokens, float *y)
{
    struct check_x q;
    const struct kernels_type *type = &k->types[w->type->type];
    check_x_init(&q, k, x, n_tokens, w->n_blocks, T);
    check_x_correct(&q, q.n_places * ((n_tokens + T - 1) / T * T), type);
    struct kernels_panel panel = {check_alloc(q.n_places * R * 32),
                                  check_alloc(q.n_places * R * 2 * sizeof(float)),
                                  check_alloc(q.n_places * R * sizeof(float))};
    memset(panel.q, 0xaa, q.n_places * R * 32);
    for (size_t r = 0; r < w->n_rows; r += R) {
        size_t n = w->n_rows - r < R ? w->n_rows - r : R;
        type->pack(w->data + r * w->row_bytes, w->row_bytes, n, w->n_blocks, &panel);
        for (size_t t = 0; t < n_tokens; t += T) {
            size_t p = t * q.n_places;
            const struct kernels_tile_x tile = {q.q + p * 32, q.d + p, q.s + p,
                                                {q.c[0] + p, q.c[1] + p}};
            k->panel[type->form](&panel, n, w->n_blocks, &tile,
                                 n_tokens - t < T ? n_tokens - t : T, y + t * w->n_rows + r,
                                 w->n_rows);
        }
    }
    free(panel.q);
    free(panel.d);
    free(panel.m);
    check_x_deinit(&q);
}

/* ---- queries ---- */

void check_queries_init(struct check_queries *c, const float *q, size_t n, size_t head_dim)
{
    c->q = check_alloc(n * sizeof *c->q);
    c->each_o = check_alloc(n * sizeof *c->each_o);
    c->o = check_alloc(n * head_dim * sizeof *c->o);
    c->m = check_alloc(n * sizeof *c->m);
    c->l = check_alloc(n * sizeof *c->l);
    c->n_keys = check_alloc(n);
    for (size_t i = 0; i < n; i++) {
        c->q[i] = q + i * head_dim;
        c->each_o[i] = c->o + i * head_dim;
        c->m[i] = -INFINITY;
        c->n_keys[i] = (uint8_t)(5 * i < 64 ? 64 - 5 * i : 1);
    }
    c->queries = (struct kernels_queries){n, c->q, c->each_o, c->m, c->l, c->n_keys};
}

void check_queries_deinit(struct check_queries *c)
{
    free(c->q);
    free(c->each_o);
    free(c->o);
    free(c->m);
    free(c->l);
    free(c->n_keys);
}
