/* What the CPU backend promises beyond the interface (conformance.h): products and logits that are
 * the same bits for any number of threads, how logits are refined, vectors of any type. */
#include "fixture.h"

enum { MAX_ROWS = 150 };

static const enum quant_type types[] = {
#define X(NAME, ...) QUANT_##NAME,
    QUANT_TYPES(X)
#undef X
};
enum { N_TYPES = sizeof types / sizeof *types };

/* A batch of n rows at positions 0.., of one sequence. */
struct batch {
    struct backend_row rows[BACKEND_MAX_ROWS];
    struct backend_sequence sequence;
    struct backend_batch batch;
};

static void batch_init(struct batch *b, uint32_t n_rows)
{
    memset(b, 0, sizeof *b);
    for (uint32_t i = 0; i < n_rows; i++)
        b->rows[i] = (struct backend_row){(int32_t)(i * 7 % 50), (int32_t)i, 0, i % 3 == 0};
    b->batch = (struct backend_batch){b->rows, n_rows, &b->sequence, 1};
}

/* ---- matrix products ---- */

/* y of n_rows rows of x through w (and a bias), by a backend of its own. */
static void product(const struct matrix *w, const float *x, uint32_t n_rows,
                    const float *bias, uint32_t n_threads, const char *tier, float *y)
{
    struct backend *be = fixture_backend(n_threads, tier);
    const uint32_t n_in = (uint32_t)w->n_cols, n_out = (uint32_t)w->n_rows;
    struct backend_activation *in = fixture_activation(be, n_in);
    struct backend_activation *out = fixture_activation(be, n_out);
    const struct matrix b = matrix_of_blocks(QUANT_F32, n_out, 1, 1, bias);
    const struct backend_linear output = {fixture_take(be, w), bias ? fixture_take(be, &b) : NULL,
                                          out};
    struct batch batch;
    batch_init(&batch, n_rows);
    memcpy(in->data, x, (size_t)n_rows * n_in * sizeof *x);
    be->ops->begin(be, &batch.batch);
    be->ops->linear(be, in, &output, 1);
    be->ops->end(be, NULL);
    memcpy(y, out->data, (size_t)n_rows * n_out * sizeof *y);
    be->ops->destroy(be);
}

/* Within the error that int8 activations may make, half a step of each element's block, divided by
 * `precision`. */
static void assert_product(const struct matrix *w, const float *x, uint32_t n_rows,
                           const float *bias, double precision, const float *y)
{
    const size_t n_in = w->n_cols, n_out = w->n_rows;
    float *row = malloc(n_in * sizeof *row);
    for (size_t r = 0; r < n_out; r++) {
        matrix_decode(w, r, row);
        for (size_t t = 0; t < n_rows; t++) {
            double sum = bias ? (double)bias[r] : 0, error = 1e-4;
            for (size_t b = 0; b < n_in; b += 32) {
                double most = 0, weight = 0;
                for (size_t i = b; i < b + 32 && i < n_in; i++) {
                    double v = (double)x[t * n_in + i];
                    sum += v * (double)row[i];
                    weight += fabs((double)row[i]);
                    most = fabs(v) > most ? fabs(v) : most;
                }
                error += weight * most / 127 * 0.51;
            }
            double off = fabs(sum - (double)y[t * n_out + r]);
            if (!(off <= error))
                fail_msg("%s: row %zu of token %zu is %g, not %g", quant_traits(w->type)->name, r,
                         t, (double)y[t * n_out + r], sum);
        }
    }
    free(row);
}

/* For every type and tier: each row alone on one thread, against batches of many sizes on 1 to 4.
 */
static void a_row_is_the_same_alone_and_in_any_batch(void **state)
{
    (void)state;
    enum { N_IN = 768, N_OUT = 53 };
    static const uint32_t sizes[] = {2, 3, 4, 5, 8, 9, 12, 13, 40, MAX_ROWS};
    static float x[MAX_ROWS * N_IN], alone[MAX_ROWS * N_OUT], y[MAX_ROWS * N_OUT];
    char what[64];
    fixture_fill(x, MAX_ROWS * N_IN);
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++) {
        if (!kernels_tier_runs(tier))
            continue;
        for (int i = 0; i < N_TYPES; i++) {
            struct matrix w = fixture_matrix(types[i], N_IN, N_OUT);
            const char *name = kernels_tier_name(tier);
            for (size_t t = 0; t < MAX_ROWS; t++)
                if (t < 13 || t % 29 == 0)
                    product(&w, x + t * N_IN, 1, NULL, 1, name, alone + t * N_OUT);
            for (uint32_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                if (!tier && sizes[s] > 40)
                    continue; /* the reference takes its time */
                product(&w, x, sizes[s], NULL, 1 + s % 4, name, y);
                snprintf(what, sizeof what, "%s, tier %s, %u rows, %u threads",
                         quant_traits(types[i])->name, name, sizes[s], 1 + s % 4);
                for (size_t t = 0; t < sizes[s]; t++)
                    if (t < 13 || t % 29 == 0)
                        fixture_assert_same(alone + t * N_OUT, y + t * N_OUT, N_OUT, what);
            }
            fixture_free(&w);
        }
    }
}

/* Odd widths, more outputs than fit one job, mixed types: each output equals its own product. */
static void several_outputs_are_one_pass(void **state)
{
    (void)state;
    enum { N_IN = 256, N = N_TYPES, ROWS = 14 };
    static float x[ROWS * N_IN], expected[ROWS * (11 + N)];
    struct matrix w[N];
    struct backend_linear outputs[N];
    struct backend *be = fixture_backend(2, NULL);
    struct backend_activation *in = fixture_activation(be, N_IN);
    struct batch batch;
    fixture_fill(x, ROWS * N_IN);
    for (uint32_t i = 0; i < N; i++) {
        w[i] = fixture_matrix(types[i], N_IN, 11 + i);
        outputs[i] = (struct backend_linear){fixture_take(be, &w[i]), NULL,
                                             fixture_activation(be, 11 + i)};
    }
    for (uint32_t n_rows = 1; n_rows <= ROWS; n_rows += 13) {
        batch_init(&batch, n_rows);
        memcpy(in->data, x, n_rows * N_IN * sizeof *x);
        be->ops->begin(be, &batch.batch);
        be->ops->linear(be, in, outputs, N);
        be->ops->end(be, NULL);
        for (uint32_t i = 0; i < N; i++) {
            product(&w[i], x, n_rows, NULL, 1, NULL, expected);
            fixture_assert_same(expected, outputs[i].y->data, n_rows * (11 + i), "several outputs");
        }
    }
    for (uint32_t i = 0; i < N; i++)
        fixture_free(&w[i]);
    be->ops->destroy(be);
}

/* ---- the rest ---- */

/* Logits of the first n_rows rows of x. */
static void compute_logits(struct backend *be, struct backend_activation *in,
                           const struct matrix *w, const float *x, uint32_t n_rows,
                           float *logits)
{
    struct batch batch;
    batch_init(&batch, n_rows);
    memcpy(in->data, x, (size_t)n_rows * w->n_cols * sizeof *x);
    be->ops->begin(be, &batch.batch);
    be->ops->logits(be, in, fixture_take(be, w), logits);
    be->ops->end(be, NULL);
}

/* A hundred times as exact as int8, and the same bits for each row alone. */
static void logits_are_exact_and_the_same_alone(void **state)
{
    (void)state;
    enum { N_IN = 768, N_VOCAB = 101, ROWS = 270 };
    static const uint32_t sizes[] = {1, 2, 3, 7, 20, ROWS};
    static float x[ROWS * N_IN], alone[ROWS * N_VOCAB], y[ROWS * N_VOCAB];
    fixture_fill(x, ROWS * N_IN);
    struct backend *be = fixture_backend(3, NULL);
    struct backend_activation *in = fixture_activation(be, N_IN);
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix w = fixture_matrix(types[i], N_IN, N_VOCAB);
        for (size_t t = 0; t < ROWS; t++)
            compute_logits(be, in, &w, x + t * N_IN, 1, alone + t * N_VOCAB);
        assert_product(&w, x, 5, NULL, 100, alone);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            compute_logits(be, in, &w, x, sizes[s], y);
            fixture_assert_same(alone, y, sizes[s] * N_VOCAB, quant_traits(types[i])->name);
        }
        fixture_free(&w);
    }
    be->ops->destroy(be);
}

/* Of a large vocabulary the rest is as a product with int8 activations. */
static void the_largest_logits_are_more_exact(void **state)
{
    (void)state;
    enum { N_IN = 768, N_VOCAB = 9000, ROWS = 21 };
    static const uint32_t sizes[] = {1, 4, 6, ROWS};
    static float x[ROWS * N_IN], alone[ROWS * N_VOCAB], y[ROWS * N_VOCAB];
    struct batch batch;
    fixture_fill(x, ROWS * N_IN);
    struct backend *be = fixture_backend(2, NULL);
    struct backend_activation *in = fixture_activation(be, N_IN);
    struct backend_activation *plain = fixture_activation(be, N_VOCAB);
    struct matrix w = fixture_matrix(QUANT_Q8_0, N_IN, N_VOCAB);
    for (size_t t = 0; t < ROWS; t++)
        compute_logits(be, in, &w, x + t * N_IN, 1, alone + t * N_VOCAB);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        compute_logits(be, in, &w, x, sizes[s], y);
        fixture_assert_same(alone, y, (size_t)sizes[s] * N_VOCAB, "sizes");
    }
    batch_init(&batch, ROWS);
    memcpy(in->data, x, sizeof x);
    be->ops->begin(be, &batch.batch);
    be->ops->linear(be, in, &(struct backend_linear){fixture_take(be, &w), NULL, plain}, 1);
    be->ops->end(be, NULL);
    for (size_t t = 0; t < ROWS; t++) {
        const float *p = plain->data + t * N_VOCAB, *l = alone + t * N_VOCAB;
        float least = INFINITY;
        size_t n = 0;
        for (size_t i = 0; i < N_VOCAB; i++)
            if (p[i] != l[i]) {
                least = p[i] < least ? p[i] : least;
                n++;
            }
        assert_in_range(n, 64, 1000);
        size_t n_lost = 0; /* what was added is rounded away, rarely */
        for (size_t i = 0; i < N_VOCAB; i++)
            n_lost += p[i] > least && p[i] == l[i];
        assert_in_range(n_lost, 0, n / 50);
    }
    be->ops->destroy(be);
    fixture_free(&w);
}

/* Norms and biases of any type: as if they were the F32 that they decode to. */
static void vectors_may_be_of_any_type(void **state)
{
    (void)state;
    enum { WIDTH = 256, N_IN = 64, ROWS = 3 };
    static float decoded[WIDTH], expected[ROWS * WIDTH];
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix w = fixture_matrix(types[i], WIDTH, 1);
        struct matrix product = fixture_matrix(QUANT_Q8_0, N_IN, WIDTH);
        const struct matrix floats = matrix_of_blocks(QUANT_F32, WIDTH, 1, 1, decoded);
        struct backend *be = fixture_backend(2, NULL);
        struct backend_activation *x = fixture_activation(be, WIDTH);
        struct backend_activation *y = fixture_activation(be, WIDTH);
        struct backend_activation *in = fixture_activation(be, N_IN);
        const struct backend_matrix *vectors[] = {fixture_take(be, &floats), fixture_take(be, &w)};
        const struct backend_matrix *taken = fixture_take(be, &product);
        struct batch batch;
        batch_init(&batch, ROWS);
        fixture_fill(x->data, ROWS * WIDTH);
        fixture_fill(in->data, ROWS * N_IN);
        matrix_decode(&w, 0, decoded);
        be->ops->begin(be, &batch.batch);
        be->ops->rms_norm(be, x, vectors[0], 1e-5f, y);
        memcpy(expected, y->data, sizeof expected);
        be->ops->rms_norm(be, x, vectors[1], 1e-5f, y);
        fixture_assert_same(expected, y->data, ROWS * WIDTH, quant_traits(types[i])->name);
        be->ops->linear(be, in, &(struct backend_linear){taken, vectors[0], y}, 1);
        memcpy(expected, y->data, sizeof expected);
        be->ops->linear(be, in, &(struct backend_linear){taken, vectors[1], y}, 1);
        fixture_assert_same(expected, y->data, ROWS * WIDTH, quant_traits(types[i])->name);
        be->ops->end(be, NULL);
        be->ops->destroy(be);
        fixture_free(&w);
        fixture_free(&product);
    }
}

static void unknown_tiers_and_types_are_refused(void **state)
{
    (void)state;
    struct error err;
    assert_null(backend_cpu_create(&(struct backend_cpu_options){1, "abacus"}, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    assert_non_null(strstr(err.message, "abacus"));
    struct backend *be = fixture_backend(1, "c");
    assert_string_equal(be->ops->describe(be), "cpu c, 1 thread");
    struct matrix w = matrix_of_blocks((enum quant_type)99, 32, 3, 1, "");
    assert_null(be->ops->matrix(be, &w, &err));
    assert_int_equal(err.code, ERROR_UNSUPPORTED);
    for (int i = 0; i < N_TYPES; i++) {
        w = fixture_matrix(types[i], 256, 3);
        assert_non_null(be->ops->matrix(be, &w, &err));
        w.n_experts = BACKEND_MAX_EXPERTS + 1;
        assert_null(be->ops->matrix(be, &w, &err));
        assert_int_equal(err.code, ERROR_UNSUPPORTED);
        fixture_free(&w);
    }
    w = matrix_of_packed(QUANT_AFFINE_4, MATRIX_SCALE_F16, 48, 96, 3, 1, "", "", "");
    assert_null(be->ops->matrix(be, &w, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    be->ops->destroy(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_tiers_and_types_are_refused),
        cmocka_unit_test(a_row_is_the_same_alone_and_in_any_batch),
        cmocka_unit_test(several_outputs_are_one_pass),
        cmocka_unit_test(logits_are_exact_and_the_same_alone),
        cmocka_unit_test(the_largest_logits_are_more_exact),
        cmocka_unit_test(vectors_may_be_of_any_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
