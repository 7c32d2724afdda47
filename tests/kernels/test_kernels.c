/* Every kernel of every tier that this CPU runs, against the scalar reference: on random, extreme,
 * odd-sized and unaligned data. Matrix products and quantization must be equal bit for bit; float
 * kernels within the tolerance said at each check. `test_kernels --bench [TIER [TYPE]]`
 * measures instead. */
#include "bench.h"
#include "check.h"

#include "base/clock.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct kernels reference;

/* Calls check(tier's table) for every tier but the reference. */
static void for_each_tier(void (*check)(const struct kernels *k))
{
    for (size_t i = 1; i < kernels_n_tiers(); i++) {
        if (!kernels_tier_runs(i)) {
            print_message("tier %s does not run here\n", kernels_tier_name(i));
            continue;
        }
        struct kernels k;
        kernels_init(&k, i);
        check(&k);
    }
}

static void assert_same_bits(const float *a, const float *b, size_t n, const char *what,
                             const char *tier)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s, tier %s: element %zu is %.9g, not %.9g", what, tier, i, (double)b[i],
                     (double)a[i]);
}

static void assert_close(const float *a, const float *b, size_t n, double relative, double absolute,
                         const char *what, const char *tier)
{
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)a[i] - (double)b[i]);
        if (!(off <= absolute + relative * fabs((double)a[i])))
            fail_msg("%s, tier %s: element %zu is %.9g, not %.9g", what, tier, i, (double)b[i],
                     (double)a[i]);
    }
}

/* ---- quantization ---- */

static void check_quantize(const struct kernels *k)
{
    enum { N_BLOCKS = 21 };
    for (int pattern = 0; pattern < CHECK_N_PATTERNS; pattern++) {
        float *x = check_floats(N_BLOCKS * 32, pattern);
        struct check_x a, b;
        check_x_init(&a, &reference, x, 1, N_BLOCKS, 0);
        check_x_init(&b, k, x, 1, N_BLOCKS, 0);
        assert_memory_equal(a.q, b.q, N_BLOCKS * 32);
        assert_same_bits(a.d, b.d, N_BLOCKS, "scales", k->tier);
        assert_same_bits(a.s, b.s, N_BLOCKS, "scaled sums", k->tier);
        assert_memory_equal(a.half[0], b.half[0], N_BLOCKS * sizeof(int32_t));
        assert_memory_equal(a.half[1], b.half[1], N_BLOCKS * sizeof(int32_t));
        check_x_deinit(&a);
        check_x_deinit(&b);
        free(x);
    }
}

static void quantization_is_exact_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_quantize);
}

/* Every q is within half a step of x / d, and the sums are those of q. */
static void quantization_rounds_to_nearest(void **state)
{
    (void)state;
    enum { N_BLOCKS = 40 };
    float *x = check_floats(N_BLOCKS * 32, CHECK_RANDOM);
    struct check_x a;
    check_x_init(&a, &reference, x, 1, N_BLOCKS, 0);
    for (size_t b = 0; b < N_BLOCKS; b++) {
        int sum = 0, most = 0;
        for (size_t i = 0; i < 32; i++) {
            int q = a.q[b * 32 + i];
            assert_true(fabs((double)x[b * 32 + i] - q * (double)a.d[b]) <=
                        0.50001 * (double)a.d[b]);
            sum += q;
            most = abs(q) > most ? abs(q) : most;
        }
        assert_int_equal(sum, a.half[0][b] + a.half[1][b]);
        assert_in_range(most, 119, 127); /* no more than a sixteenth is left unused */
        uint32_t bits;
        memcpy(&bits, &a.d[b], sizeof bits);
        assert_int_equal(bits & 0x7ffff, 0); /* a whole number of sixteenths */
    }
    check_x_deinit(&a);
    free(x);
}

/* ---- matrix products ---- */

/* A product of every path of a tier: by rows and by panels. */
static void check_product(const struct kernels *k, const struct check_type *type, size_t n_rows,
                          size_t n_blocks, size_t n_tokens, int pattern, size_t misalign)
{
    char what[96];
    struct check_weights w;
    check_weights_init(&w, type, n_rows, n_blocks * 32, pattern, misalign);
    float *x = check_floats(n_tokens * n_blocks * 32, pattern);
    const size_t n = n_tokens * n_rows;
    float *expected = check_floats(n, CHECK_ZEROS), *got = check_floats(n, CHECK_ZEROS);
    check_rows_product(&reference, &w, x, n_tokens, expected);
    check_rows_product(k, &w, x, n_tokens, got);
    snprintf(what, sizeof what, "%s rows, %zu rows x %zu blocks x %zu tokens, pattern %d",
             type->name, n_rows, n_blocks, n_tokens, pattern);
    assert_same_bits(expected, got, n, what, k->tier);
    memset(got, 0xff, n * sizeof *got);
    check_panel_product(k, &w, x, n_tokens, got);
    snprintf(what, sizeof what, "%s panel, %zu rows x %zu blocks x %zu tokens, pattern %d",
             type->name, n_rows, n_blocks, n_tokens, pattern);
    assert_same_bits(expected, got, n, what, k->tier);
    free(expected);
    free(got);
    free(x);
    check_weights_deinit(&w);
}

static void check_products(const struct kernels *k)
{
    static const size_t n_blocks[] = {1, 2, 7, 8, 9, 18, 28, 40};
    static const size_t n_rows[] = {1, 3, 16, 19, 35};
    static const size_t n_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 25};
    for (size_t t = 0; t < check_n_types; t++) {
        const struct check_type *type = &check_types[t];
        for (size_t b = 0; b < sizeof n_blocks / sizeof *n_blocks; b++) {
            if (n_blocks[b] * 32 % type->block_elements)
                continue;
            for (size_t i = 0; i < sizeof n_tokens / sizeof *n_tokens; i++)
                check_product(k, type, n_rows[(i + b) % 5], n_blocks[b], n_tokens[i],
                              (int)(i % CHECK_N_PATTERNS), 2 * (i % 3));
        }
        check_product(k, type, 17, 40, 14, CHECK_EXTREME, 0);
        check_product(k, type, 5, 40, 3, CHECK_EXTREME, 6);
    }
}

static void products_are_exact_in_every_tier_and_path(void **state)
{
    (void)state;
    check_products(&reference); /* its own panels against its own rows */
    for_each_tier(check_products);
}

/* The reference itself against plain double arithmetic over the decoded weights and the quantized
 * x. */
static void products_are_what_the_format_says(void **state)
{
    (void)state;
    enum { ROWS = 9, BLOCKS = 24, TOKENS = 3, N = BLOCKS * 32 };
    for (size_t i = 0; i < check_n_types; i++) {
        const struct check_type *type = &check_types[i];
        struct check_weights w;
        check_weights_init(&w, type, ROWS, N, CHECK_RANDOM, 0);
        float *x = check_floats(TOKENS * N, CHECK_RANDOM), *row = check_floats(N, CHECK_ZEROS);
        float y[TOKENS * ROWS];
        struct check_x q;
        check_rows_product(&reference, &w, x, TOKENS, y);
        check_x_init(&q, &reference, x, TOKENS, BLOCKS, 0);
        for (size_t r = 0; r < ROWS; r++) {
            matrix_decode(&w.m, r, row);
            for (size_t t = 0; t < TOKENS; t++) {
                double sum = 0, size = 0;
                for (size_t e = 0; e < N; e++) {
                    size_t p = t * q.n_places + e / 32;
                    double term = (double)row[e] * q.q[p * 32 + e % 32] * (double)q.d[p];
                    sum += term;
                    size += fabs(term);
                }
                if (fabs(sum - (double)y[t * ROWS + r]) > 1e-6 * size)
                    fail_msg("%s: row %zu token %zu is %g, not %g", type->name, r, t,
                             (double)y[t * ROWS + r], sum);
            }
        }
        check_x_deinit(&q);
        check_weights_deinit(&w);
        free(x);
        free(row);
    }
}

/* ---- packed weights ---- */

static void check_packed_product(const struct kernels *k, const struct check_type *type,
                                 enum matrix_scale scale, uint32_t group, size_t n_rows,
                                 size_t n_blocks, size_t n_tokens, int pattern)
{
    char what[96];
    struct check_weights w;
    check_packed_init(&w, type, scale, group, n_rows, n_blocks, pattern);
    float *x = check_floats(n_tokens * n_blocks * 32, pattern);
    const size_t n = n_tokens * n_rows;
    float *expected = check_floats(n, CHECK_ZEROS), *got = check_floats(n, CHECK_ZEROS);
    snprintf(what, sizeof what, "%s, group %u, scales %d, %zu rows x %zu blocks x %zu tokens",
             type->name, group, (int)scale, n_rows, n_blocks, n_tokens);
    check_rows_product(&reference, &w, x, n_tokens, expected);
    check_rows_product(k, &w, x, n_tokens, got);
    assert_same_bits(expected, got, n, what, k->tier);
    memset(got, 0xff, n * sizeof *got);
    check_panel_product(k, &w, x, n_tokens, got);
    assert_same_bits(expected, got, n, what, k->tier);
    free(expected);
    free(got);
    free(x);
    check_weights_deinit(&w);
}

static void check_packed_products(const struct kernels *k)
{
    static const size_t n_blocks[] = {4, 8, 12, 20, 28, 40}, n_rows[] = {1, 3, 16, 19, 35};
    static const size_t n_tokens[] = {1, 2, 3, 4, 5, 8, 9, 12, 13, 25};
    size_t n = 0;
    for (size_t t = 0; t < check_n_packed_types; t++)
        for (uint32_t group = 32; group <= 128; group *= 2)
            for (int scale = MATRIX_SCALE_F16; scale <= MATRIX_SCALE_F32; scale++)
                for (size_t i = 0; i < 10; i++, n++) {
                    size_t b = n_blocks[n % 6]; /* any number of whole groups */
                    b += group == 32 ? n % 4 : group == 64 ? 2 * (n % 2) : 0;
                    check_packed_product(k, &check_packed_types[t], (enum matrix_scale)scale,
                                         group, n_rows[n % 5], b, n_tokens[i],
                                         (int)(n % CHECK_N_PATTERNS));
                }
}

/* The scales of bytes that mxfp4 and nvfp4 have. */
static void check_scaled_products(const struct kernels *k)
{
    for (size_t t = 0; t < check_n_packed_types; t++) {
        const struct check_type *type = &check_packed_types[t];
        const bool is_nvfp4 = type->type == QUANT_PACKED_NVFP4;
        if (quant_traits(type->type)->n_parts != 2)
            continue;
        for (size_t n = 1; n <= 26; n++)
            check_packed_product(k, type, is_nvfp4 ? MATRIX_SCALE_E4M3 : MATRIX_SCALE_E8M0,
                                 is_nvfp4 ? 16 : 32, 37 - n, 1 + n % 19, n,
                                 (int)(n % CHECK_N_PATTERNS));
    }
}

static void packed_products_are_exact_in_every_tier_and_path(void **state)
{
    (void)state;
    check_packed_products(&reference);
    for_each_tier(check_packed_products);
    check_scaled_products(&reference);
    for_each_tier(check_scaled_products);
}

/* The decoder against what the words say, and the product against both. */
static void affine_products_are_what_the_format_says(void **state)
{
    (void)state;
    enum { ROWS = 5, BLOCKS = 20, N = BLOCKS * 32 };
    for (size_t i = 0; i < check_n_packed_types * 3; i++) {
        const struct check_type *type = &check_packed_types[i / 3];
        struct check_weights w;
        struct check_x q;
        if (quant_traits(type->type)->n_parts != 3)
            continue;
        float *x = check_floats(N, CHECK_RANDOM), y[ROWS], row[N];
        check_packed_init(&w, type, (enum matrix_scale)(i % 3), 32u << i % 3, ROWS, BLOCKS,
                          CHECK_RANDOM);
        check_rows_product(&reference, &w, x, 1, y);
        check_x_init(&q, &reference, x, 1, BLOCKS, 0);
        for (size_t r = 0; r < ROWS; r++) {
            double sum = 0, size = 0;
            matrix_decode(&w.m, r, row);
            for (size_t e = 0; e < N; e++) {
                const float value = check_affine_value(&w, r, e);
                assert_same_bits(&value, &row[e], 1, type->name, "decoder");
                double term = (double)value * q.q[e] * (double)q.d[e / 32];
                sum += term;
                size += fabs(term);
            }
            if (fabs(sum - (double)y[r]) > 1e-6 * size)
                fail_msg("%s: row %zu is %g, not %g", type->name, r, (double)y[r], sum);
        }
        check_x_deinit(&q);
        check_weights_deinit(&w);
        free(x);
    }
}

/* ---- float weights ---- */

/* y[n_tokens][n_rows] by the row kernels. */
static void float_rows(const struct kernels *k, const struct check_weights *w, const float *x,
                       size_t n_tokens, float *y)
{
    for (size_t t = 0; t < n_tokens; t += KERNELS_FEW_TOKENS) {
        struct kernels_row_x rows[KERNELS_FEW_TOKENS] = {{.x = NULL}};
        size_t n = 0;
        for (; n < KERNELS_FEW_TOKENS && t + n < n_tokens; n++)
            rows[n].x = x + (t + n) * w->m.n_cols;
        k->types[w->m.type].rows(&w->m, 0, w->n_rows, rows, n, y + t * w->n_rows, w->n_rows);
    }
}

/* Against plain arithmetic, so that the reference is checked, too. */
static void check_float_sums(const struct check_weights *w, const float *x, size_t n_tokens,
                             const float *y)
{
    const size_t n = w->m.n_cols;
    float *row = check_floats(n, CHECK_ZEROS);
    for (size_t r = 0; r < w->n_rows; r++) {
        matrix_decode(&w->m, r, row);
        for (size_t t = 0; t < n_tokens; t++) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < n; i++) {
                sum += (double)row[i] * (double)x[t * n + i];
                size += fabs((double)row[i] * (double)x[t * n + i]);
            }
            assert_true(fabs(sum - (double)y[t * w->n_rows + r]) <= 1e-5 * size);
        }
    }
    free(row);
}

static void check_float_products(const struct kernels *k)
{
    static const size_t sizes[] = {1, 15, 16, 17, 100, 576};
    for (size_t t = 0; t < check_n_float_types; t++) {
        const struct check_type *type = &check_float_types[t];
        for (size_t i = 0; i < 6; i++) {
            const size_t n = sizes[i], n_rows = 5, n_tokens = 1 + i % 4;
            struct check_weights w;
            check_weights_init(&w, type, n_rows, n, CHECK_RANDOM, 0);
            float *x = check_floats(n_tokens * n, CHECK_RANDOM), a[20], b[20];
            float_rows(&reference, &w, x, n_tokens, a);
            float_rows(k, &w, x, n_tokens, b);
            assert_same_bits(a, b, n_tokens * n_rows, type->name, k->tier);
            check_float_sums(&w, x, n_tokens, a);
            check_weights_deinit(&w);
            free(x);
        }
    }
}

/* The many-token product gives the bits of the few-token one. */
static void check_float_panel(const struct kernels *k, const struct check_weights *w,
                              const float *x, size_t n_tokens)
{
    const size_t n = w->m.n_cols, n_bytes = (n + 15) / 16 * 256 * sizeof(float);
    float a[256], b[256];
    const struct kernels_panel panel = {.d = check_alloc(n_bytes)};
    const struct kernels_panel packed_x = {.d = check_alloc(n_bytes)};
    const struct kernels_tile_x tile = {.x = packed_x.d};
    const struct matrix mx = matrix_of_blocks(QUANT_F32, n, n_tokens, 1, x);
    float_rows(&reference, w, x, n_tokens, a);
    memset(panel.d, 0xff, n_bytes);
    memset(packed_x.d, 0xff, n_bytes);
    k->types[w->m.type].pack(&w->m, 0, w->n_rows, &panel);
    k->types[QUANT_F32].pack(&mx, 0, n_tokens, &packed_x);
    k->panel[KERNELS_FLOAT](&panel, w->n_rows, n, &tile, n_tokens, b, w->n_rows);
    assert_same_bits(a, b, n_tokens * w->n_rows, w->type->name, k->tier);
    free(panel.d);
    free(packed_x.d);
}

static void check_float_panels(const struct kernels *k)
{
    static const size_t sizes[] = {1, 15, 16, 17, 100, 576};
    for (size_t i = 0; i < 6 * check_n_float_types; i++) {
        const size_t n = sizes[i % 6], n_tokens = 1 + i * 3 % 16;
        struct check_weights w;
        check_weights_init(&w, &check_float_types[i / 6], i % 2 ? 16 : 5, n, CHECK_RANDOM, 0);
        float *x = check_floats(n_tokens * n, CHECK_RANDOM);
        check_float_panel(k, &w, x, n_tokens);
        check_weights_deinit(&w);
        free(x);
    }
}

/* Floats of few bits, with the scales that they have and with any. */
static void check_packed_floats(const struct kernels *k)
{
    for (size_t i = 0; i < 26 * check_n_packed_float_types; i++) {
        const size_t n_blocks = 4 * (1 + i % 6), n = n_blocks * 32, n_tokens = 1 + i % 16;
        struct check_weights w;
        check_packed_init(&w, &check_packed_float_types[i / 26],
                          i % 3 ? MATRIX_SCALE_E8M0 : MATRIX_SCALE_F32, 32u << i % 3, 1 + i % 16,
                          n_blocks, (int)(i % CHECK_N_PATTERNS));
        float *x = check_floats(n_tokens * n, CHECK_RANDOM), a[256], b[256];
        float_rows(&reference, &w, x, n_tokens, a);
        float_rows(k, &w, x, n_tokens, b);
        assert_same_bits(a, b, n_tokens * w.n_rows, w.type->name, k->tier);
        check_float_sums(&w, x, n_tokens, a);
        check_float_panel(k, &w, x, n_tokens);
        check_weights_deinit(&w);
        free(x);
    }
}

static void packed_floats_are_exact_in_every_tier_and_path(void **state)
{
    (void)state;
    check_packed_floats(&reference);
    for_each_tier(check_packed_floats);
}

static void float_panels_are_exact_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_float_panels);
}

static void float_products_are_exact_in_every_tier(void **state)
{
    (void)state;
    for_each_tier(check_float_products);
}

/* ---- element-wise ---- */

static void check_vectors_of(const struct kernels *k, size_t n, int pattern)
{
    float *x = check_floats(n, pattern), *y = check_floats(n, CHECK_RANDOM);
    float *a = check_floats(n, CHECK_ZEROS), *b = check_floats(n, CHECK_ZEROS);
    uint16_t *ha = calloc(n, 2), *hb = calloc(n, 2);

    reference.rms_norm(x, y, 1e-6f, a, n);
    k->rms_norm(x, y, 1e-6f, b, n);
    assert_same_bits(a, b, n, "rms_norm", k->tier);

    memcpy(a, x, n * sizeof *a);
    memcpy(b, x, n * sizeof *b);
    reference.add(a, y, n);
    k->add(b, y, n);
    assert_same_bits(a, b, n, "add", k->tier);

    reference.swiglu(a, y, n);
    k->swiglu(b, y, n);
    assert_close(a, b, n, 5e-7, 1e-37, "swiglu", k->tier);

    memcpy(a, x, n * sizeof *a);
    memcpy(b, x, n * sizeof *b);
    reference.geglu(a, y, n);
    k->geglu(b, y, n);
    for (size_t i = 0; i < n; i++)
        assert_close(&a[i], &b[i], 1, 4e-6, 1e-7 * fabs((double)y[i]), "geglu", k->tier);

    reference.f32_to_f16(x, ha, n);
    k->f32_to_f16(x, hb, n);
    assert_memory_equal(ha, hb, n * 2);
    free(x);
    free(y);
    free(a);
    free(b);
    free(ha);
    free(hb);
}

static void check_rope(const struct kernels *k, size_t n)
{
    float *x = check_floats(2 * n, CHECK_RANDOM), *y = check_floats(2 * n, CHECK_ZEROS);
    float *cos = check_floats(n, CHECK_RANDOM), *sin = check_floats(n, CHECK_RANDOM);
    memcpy(y, x, 2 * n * sizeof *y);
    reference.rope_halves(x, x + n, cos, sin, n);
    k->rope_halves(y, y + n, cos, sin, n);
    assert_same_bits(x, y, 2 * n, "rope_halves", k->tier);
    reference.rope_pairs(x, cos, sin, n);
    k->rope_pairs(y, cos, sin, n);
    assert_same_bits(x, y, 2 * n, "rope_pairs", k->tier);
    free(x);
    free(y);
    free(cos);
    free(sin);
}

static void check_vectors(const struct kernels *k)
{
    for (size_t n = 1; n < 70; n++) {
        for (int pattern = 0; pattern < CHECK_N_PATTERNS; pattern++)
            check_vectors_of(k, n, pattern);
        check_rope(k, n);
    }
    check_vectors_of(k, 896, CHECK_RANDOM);
    check_vectors_of(k, 4864, CHECK_RANDOM);
}

static void vectors_are_those_of_the_reference(void **state)
{
    (void)state;
    for_each_tier(check_vectors);
}

static void tiers_have_names_and_an_order(void **state)
{
    (void)state;
    assert_int_equal(kernels_tier_find("c"), 0);
    assert_int_equal(kernels_tier_find("nonsense"), -1);
    assert_true(kernels_tier_runs(0));
    assert_true(kernels_tier_runs(kernels_tier_best()));
    for (size_t i = 0; i < kernels_n_tiers(); i++)
        assert_int_equal(kernels_tier_find(kernels_tier_name(i)), (int)i);
    assert_false(kernels_tier_runs(kernels_n_tiers()));
}

int main(int argc, char **argv)
{
    kernels_init(&reference, 0);
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        bench_all(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiers_have_names_and_an_order),
        cmocka_unit_test(quantization_rounds_to_nearest),
        cmocka_unit_test(quantization_is_exact_in_every_tier),
        cmocka_unit_test(products_are_what_the_format_says),
        cmocka_unit_test(products_are_exact_in_every_tier_and_path),
        cmocka_unit_test(affine_products_are_what_the_format_says),
        cmocka_unit_test(packed_products_are_exact_in_every_tier_and_path),
        cmocka_unit_test(packed_floats_are_exact_in_every_tier_and_path),
        cmocka_unit_test(float_products_are_exact_in_every_tier),
        cmocka_unit_test(float_panels_are_exact_in_every_tier),
        cmocka_unit_test(vectors_are_those_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
