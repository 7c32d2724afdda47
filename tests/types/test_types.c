/* A type of weights that is its row, its decoder and its unpack, and touched nothing else, is known
 * everywhere: to the traits, to the table of every tier, and to the CPU backend in every path. The
 * tests of kernels and backend run once more with it, too (meson.build). */
#include "backend/fixture.h"
#include "kernels/unpack.h"

enum { N_IN = 320, N_OUT = 37, ROWS = 29 };

static const enum quant_type toys[] = {QUANT_TOY_3, QUANT_TOY_2};
enum { N_TOYS = sizeof toys / sizeof *toys };

static void rows_say_what_the_types_are(void **state)
{
    (void)state;
    const struct quant_traits *traits = quant_traits(QUANT_TOY_3);
    assert_non_null(traits);
    assert_string_equal(traits->name, "TOY_3");
    assert_int_equal(quant_row_bytes(QUANT_TOY_3, 96), 42);
    assert_int_equal(quant_row_bytes(QUANT_TOY_2, 96), 0);
    assert_int_equal(quant_row_bytes(QUANT_TOY_2, 128), 44);
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++) {
        static struct kernels k;
        kernels_init(&k, tier);
        assert_int_equal(k.types[QUANT_TOY_3].form, KERNELS_OFFSET);
        assert_int_equal(k.types[QUANT_TOY_3].offset, 3);
        assert_int_equal(k.types[QUANT_TOY_2].form, KERNELS_HALVES);
        for (int i = 0; i < N_TOYS; i++) {
            assert_non_null(k.types[toys[i]].rows);
            assert_non_null(k.types[toys[i]].pack);
        }
    }
}

static void a_block_decodes_as_it_says(void **state)
{
    (void)state;
    const uint16_t block[7] = {0x4000, 0xc688, 0x00fa}; /* d = 2; 0 1 2 3 4 5 6 7, then 0 */
    float out[32];
    quant_traits(QUANT_TOY_3)->decode(block, out, 32);
    for (int i = 0; i < 32; i++)
        assert_true(out[i] == (i < 8 ? 2.0f * (float)(i - 3) : -6.0f));
}

/* Of n rows of x, by a backend of its own. */
static void multiply(const struct matrix *w, const float *x, uint32_t n, const char *tier,
                     float *y)
{
    struct backend *be = fixture_backend(2, tier);
    struct backend_activation *in = fixture_activation(be, N_IN);
    struct backend_activation *out = fixture_activation(be, N_OUT);
    const struct backend_linear output = {fixture_take(be, w), NULL, out};
    struct backend_row rows[ROWS] = {{0}};
    const struct backend_sequence sequence = {NULL, 0};
    const struct backend_batch batch = {rows, n, &sequence, 1};
    memcpy(in->data, x, n * N_IN * sizeof *x);
    be->ops->begin(be, &batch);
    be->ops->linear(be, in, &output, 1);
    be->ops->end(be, NULL);
    memcpy(y, out->data, n * N_OUT * sizeof *y);
    be->ops->destroy(be);
}

static void check_product(const struct matrix *w, const float *x, uint32_t n, const char *tier)
{
    static float y[ROWS * N_OUT];
    float row[N_IN];
    multiply(w, x, n, tier, y);
    for (size_t i = 0; i < (size_t)n * N_OUT; i++) {
        const size_t t = i / N_OUT, r = i % N_OUT;
        double sum = 0, size = 0;
        matrix_decode(w, r, row);
        for (size_t e = 0; e < N_IN; e++) {
            sum += (double)row[e] * (double)x[t * N_IN + e];
            size += fabs((double)row[e] * (double)x[t * N_IN + e]);
        }
        if (fabs(sum - (double)y[i]) > 1e-6 * size)
            fail_msg("%s, tier %s: row %zu of token %zu is %g, not %g", quant_traits(w->type)->name,
                     tier, r, t, (double)y[i], sum);
    }
}

/* Activations of which int8 takes nothing away: then products are those of the decoded weights. */
static void products_are_those_of_the_decoder_in_every_tier(void **state)
{
    (void)state;
    static float x[ROWS * N_IN];
    for (size_t i = 0; i < ROWS * N_IN; i++)
        x[i] = i % 32 ? (float)((int)(fixture_random() * 100)) : 127;
    for (int i = 0; i < N_TOYS; i++) {
        struct matrix w = fixture_matrix(toys[i], N_IN, N_OUT);
        for (size_t tier = 0; tier < kernels_n_tiers(); tier++)
            for (uint32_t n = 1; n <= ROWS && kernels_tier_runs(tier); n += 7)
                check_product(&w, x, n, kernels_tier_name(tier));
        fixture_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_say_what_the_types_are),
        cmocka_unit_test(a_block_decodes_as_it_says),
        cmocka_unit_test(products_are_those_of_the_decoder_in_every_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
