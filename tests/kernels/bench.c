/* See bench.h. Times are the best of several rounds; operations are multiplications plus
 * additions. */
#include "bench.h"
#include "check.h"

#include "base/clock.h"
#include "kernels/peaks.h"
#include "kernels/rank.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS };

/* The best time of one call, in nanoseconds. */
static double best_ns(void (*work)(void *context), void *context)
{
    double best = 1e30;
    int64_t end = clock_now_ns() + 150000000;
    for (size_t n = 1; clock_now_ns() < end;) {
        int64_t start = clock_now_ns();
        for (size_t i = 0; i < n; i++)
            work(context);
        double ns = (double)(clock_now_ns() - start);
        if (ns < 1e6)
            n *= 2;
        else if (ns / (double)n < best)
            best = ns / (double)n;
    }
    return best;
}

/* ---- what the machine can do, measured in the same run ---- */

static struct {
    struct kernels_peaks peaks;
    double int8, fp32, bytes; /* per nanosecond, of one core */
    const struct kernels_peak *peak;
    const char *data;
    uint64_t sum;
} machine;

enum { PEAK_ROUNDS = 1000, READ_BYTES = 64 << 20 };

static void run_peak(void *context)
{
    machine.sum += machine.peak->run(PEAK_ROUNDS);
}

static void run_read(void *context)
{
    machine.sum += machine.peaks.read(machine.data, READ_BYTES, 1, 4096);
}

static double measure_peak(const struct kernels_peak *peak)
{
    if (!peak->run)
        return NAN;
    machine.peak = peak;
    return (double)peak->run(PEAK_ROUNDS) / best_ns(run_peak, NULL);
}

static void measure_machine(void)
{
    kernels_peaks_init(&machine.peaks);
    machine.int8 = measure_peak(&machine.peaks.int8);
    machine.fp32 = measure_peak(&machine.peaks.fp32);
    machine.data = check_alloc(READ_BYTES);
    machine.bytes = READ_BYTES / best_ns(run_read, NULL);
    free((void *)machine.data);
    printf("one core: int8 %.0f GOP/s (%s), fp32 %.0f Gflop/s (%s), reads %.1f GB/s; shares are "
           "of these\n\n",
           machine.int8, machine.peaks.int8.instruction, machine.fp32,
           machine.peaks.fp32.instruction, machine.bytes);
}

static void print_gbs(const char *what, double gbs)
{
    printf("  %s %5.2f GB/s %3.0f%%", what, gbs, 100 * gbs / machine.bytes);
}

/* ---- matrix products ---- */

struct product {
    const struct kernels *k;
    struct check_weights w;
    size_t row_bytes; /* of all parts */
    struct check_x x;
    struct kernels_panel panel;
    float *y;
    size_t n_tokens;
};

static void run_rows(void *context)
{
    const struct product *p = context;
    struct kernels_row_x rows[KERNELS_FEW_TOKENS];
    for (size_t t = 0; t < p->n_tokens; t++)
        rows[t] = check_x_row(&p->x, t);
    p->k->types[p->w.m.type].rows(&p->w.m, 0, p->w.n_rows, rows, p->n_tokens, p->y, p->w.n_rows);
}

static void run_pack(void *context)
{
    const struct product *p = context;
    p->k->types[p->w.m.type].pack(&p->w.m, 0, R, &p->panel);
}

static void run_panel(void *context)
{
    const struct product *p = context;
    const struct kernels_tile_x tile = check_x_tile(&p->x, 0);
    p->k->panel[p->k->types[p->w.m.type].form](&p->panel, R, p->w.m.n_cols, &tile, p->n_tokens, p->y, R);
}

/* Prints the rest of the line of a product whose weights are set. */
static void bench_paths(struct product *p)
{
    const size_t n = p->w.n_blocks * 32, n_rows = p->w.n_rows;
    const struct kernels_type *type = &p->k->types[p->w.m.type];
    float *x = check_floats(T * n, CHECK_RANDOM);
    p->y = check_floats(n_rows * T, CHECK_ZEROS);
    for (p->n_tokens = 1; p->n_tokens <= KERNELS_FEW_TOKENS; p->n_tokens *= 2) {
        check_x_init(&p->x, p->k, x, p->n_tokens, n / 32, 0);
        check_x_arrange(&p->x, p->k, p->n_tokens);
        check_x_correct(&p->x, p->x.n_places * p->n_tokens, type->form, type->offset);
        char what[32];
        snprintf(what, sizeof what, "%zu token%s", p->n_tokens, p->n_tokens == 1 ? "" : "s");
        print_gbs(what, (double)(p->row_bytes * n_rows) / best_ns(run_rows, p));
        check_x_deinit(&p->x);
    }
    check_x_init(&p->x, p->k, x, T, n / 32, T);
    check_x_correct(&p->x, p->x.n_places * T, type->form, type->offset);
    p->panel = check_panel(p->x.n_places);
    print_gbs("pack", (double)(p->row_bytes * R) / best_ns(run_pack, p));
    run_pack(p);
    for (p->n_tokens = T / 3; p->n_tokens <= T; p->n_tokens += T / 3) {
        double gops = 2.0 * R * (double)(n * p->n_tokens) / best_ns(run_panel, p);
        printf("  %zu tokens %5.1f GOP/s %2.0f%%", p->n_tokens, gops, 100 * gops / machine.int8);
    }
    printf("\n");
    check_x_deinit(&p->x);
    check_panel_deinit(&p->panel);
    free(p->y);
    free(x);
}

static void bench_product(const struct kernels *k, const struct check_type *type, size_t n)
{
    struct product p = {.k = k, .row_bytes = n / type->block_elements * type->block_bytes};
    check_weights_init(&p.w, type, (96 << 20) / p.row_bytes, n, CHECK_RANDOM, 0);
    printf("%-6s %-6s %5zu ", k->tier, type->name, n);
    bench_paths(&p);
    check_weights_deinit(&p.w);
}

/* With the scales that are usual. */
static void bench_packed(const struct kernels *k, const struct check_type *type, size_t n)
{
    const bool is_affine = quant_traits(type->type)->n_parts > 2;
    const enum matrix_scale scale = is_affine                          ? MATRIX_SCALE_BF16
                                    : type->type == QUANT_PACKED_NVFP4 ? MATRIX_SCALE_E4M3
                                                                       : MATRIX_SCALE_E8M0;
    const uint32_t group = is_affine ? 64 : scale == MATRIX_SCALE_E4M3 ? 16 : 32;
    const size_t scale_bytes = n / group * matrix_scale_bytes(scale) * (is_affine ? 2 : 1);
    struct product p = {.k = k, .row_bytes = n / 32 * type->block_bytes + scale_bytes};
    check_packed_init(&p.w, type, scale, group, (96 << 20) / p.row_bytes, n / 32, CHECK_RANDOM);
    printf("%-6s %s, groups of %u%s %zu ", k->tier, type->name, group,
           scale == MATRIX_SCALE_BF16 ? ", bf16" : "", n);
    bench_paths(&p);
    check_weights_deinit(&p.w);
}

struct floats {
    const struct kernels *k;
    struct check_weights w;
    struct kernels_panel panel, tile;
    float *y;
};

static void run_float_pack(void *context)
{
    const struct floats *f = context;
    f->k->types[f->w.m.type].pack(&f->w.m, 0, R, &f->panel);
}

static void run_float_panel(void *context)
{
    const struct floats *f = context;
    const struct kernels_tile_x tile = {.x = f->tile.d};
    f->k->panel[KERNELS_FLOAT](&f->panel, R, f->w.m.n_cols, &tile, KERNELS_FLOAT_TOKENS, f->y, R);
}

static void bench_floats(const struct kernels *k, const struct check_type *type, size_t n)
{
    struct floats f = {.k = k};
    const size_t bytes = (n + 15) / 16 * 256 * sizeof(float);
    float *x = check_floats(KERNELS_FLOAT_TOKENS * n, CHECK_RANDOM);
    check_weights_init(&f.w, type, R, n, CHECK_RANDOM, 0);
    f.panel = (struct kernels_panel){.d = check_alloc(bytes)};
    f.tile = (struct kernels_panel){.d = check_alloc(bytes)};
    const struct matrix mx = matrix_of_blocks(QUANT_F32, n, KERNELS_FLOAT_TOKENS, 1, x);
    f.y = check_floats(R * KERNELS_FLOAT_TOKENS, CHECK_ZEROS);
    k->types[QUANT_F32].pack(&mx, 0, KERNELS_FLOAT_TOKENS, &f.tile);
    double pack = best_ns(run_float_pack, &f), product = best_ns(run_float_panel, &f);
    printf("%-6s %-5s %5zu   pack %6.2f GB/s  16 tokens %6.1f Gflop/s\n", k->tier, type->name, n,
           (double)(f.w.m.parts[MATRIX_BLOCKS].row_bytes * R) / pack, 2.0 * R * 16 * (double)n / product);
    check_weights_deinit(&f.w);
    free(f.panel.d);
    free(f.tile.d);
    free(f.y);
    free(x);
}

/* ---- vectors ---- */

struct vectors {
    const struct kernels *k;
    float *x, *y, *z;
    size_t n;
    struct check_x q;
    struct kernels_ranked *ranked;
};

static void run_quantize(void *context)
{
    const struct vectors *v = context;
    const struct kernels_blocks out = {v->q.q, v->q.d, v->q.s, {v->q.half[0], v->q.half[1]}, 1, 8};
    v->k->quantize(v->x, v->n / 32, &out);
}

static void run_rms_norm(void *context)
{
    const struct vectors *v = context;
    v->k->rms_norm(v->x, v->y, 1e-6f, v->z, v->n);
}

static void run_swiglu(void *context)
{
    const struct vectors *v = context;
    memcpy(v->z, v->x, v->n * sizeof *v->z);
    v->k->swiglu(v->z, v->y, v->n);
}

static void run_geglu(void *context)
{
    const struct vectors *v = context;
    memcpy(v->z, v->x, v->n * sizeof *v->z);
    v->k->geglu(v->z, v->y, v->n);
}

static void run_softmax(void *context)
{
    const struct vectors *v = context;
    memcpy(v->z, v->x, v->n * sizeof *v->z);
    v->k->softmax(v->z, v->n);
}

static void run_weighted_sum(void *context)
{
    const struct vectors *v = context;
    const float *rows[8];
    for (size_t i = 0; i < 8; i++)
        rows[i] = v->x + i * (v->n / 8);
    v->k->weighted_sum(rows, v->y, 8, v->n / 8, v->z);
}

static void run_exp_sum(void *context)
{
    const struct vectors *v = context;
    machine.sum += (uint64_t)v->k->exp_sum(v->x, v->n, NULL, -INFINITY, 60, 1);
}

static void run_largest(void *context)
{
    const struct vectors *v = context;
    machine.sum += rank_largest(v->k, v->x, v->n, NULL, 20, v->ranked);
}

static void vectors_init(struct vectors *v, const struct kernels *k, size_t n)
{
    *v = (struct vectors){.k = k, .n = n};
    v->x = check_floats(n, CHECK_RANDOM);
    v->y = check_floats(n, CHECK_RANDOM);
    v->z = check_floats(n, CHECK_ZEROS);
    v->ranked = check_alloc(n * sizeof *v->ranked);
    check_x_init(&v->q, k, v->x, 1, n / 32, 0);
}

static void vectors_deinit(struct vectors *v)
{
    check_x_deinit(&v->q);
    free(v->x);
    free(v->y);
    free(v->z);
    free(v->ranked);
}

/* `n_bytes` are read and written by element. */
static void bench_vector(struct vectors *v, const char *name, void (*run)(void *), double n_bytes)
{
    double ns = best_ns(run, v) / (double)v->n;
    printf("%-6s %-12s %6zu elements  %6.3f ns each  %6.1f GB/s\n", v->k->tier, name, v->n, ns,
           n_bytes / ns);
}

static void bench_vectors(const struct kernels *k)
{
    struct vectors v;
    vectors_init(&v, k, 4864);
    bench_vector(&v, "quantize", run_quantize, 5);
    bench_vector(&v, "rms_norm", run_rms_norm, 12);
    bench_vector(&v, "swiglu", run_swiglu, 12);
    bench_vector(&v, "geglu", run_geglu, 12);
    bench_vector(&v, "softmax", run_softmax, 8);
    bench_vector(&v, "8 experts", run_weighted_sum, 4.5);
    vectors_deinit(&v);
    vectors_init(&v, k, 151936);
    bench_vector(&v, "exp_sum", run_exp_sum, 4);
    bench_vector(&v, "largest 20", run_largest, 8);
    vectors_deinit(&v);
}

static bool is_wanted(const struct check_type *type, const char *name)
{
    return !name || !strcmp(type->name, name);
}

void bench_all(const char *tier, const char *type)
{
    measure_machine();
    for (size_t i = 0; i < kernels_n_tiers(); i++) {
        struct kernels k;
        if (!kernels_tier_runs(i) || (tier && strcmp(tier, kernels_tier_name(i))))
            continue;
        kernels_init(&k, i);
        for (size_t t = 0; t < check_n_types; t++)
            if (is_wanted(&check_types[t], type))
                bench_product(&k, &check_types[t],
                              check_types[t].block_elements == 32 ? 896 : 4864);
        for (size_t t = 0; t < check_n_packed_types; t++)
            if (is_wanted(&check_packed_types[t], type))
                bench_packed(&k, &check_packed_types[t], 896);
        for (size_t t = 0; t < check_n_float_types; t++)
            if (is_wanted(&check_float_types[t], type))
                bench_floats(&k, &check_float_types[t], 896);
        if (!type)
            bench_vectors(&k);
    }
}
