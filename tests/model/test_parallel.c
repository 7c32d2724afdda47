/* A network that is one file (network_parallel.c), on the CPU backend and on the toy, against the
 * same said in double arithmetic; whole, and token by token. */
#include "network_parallel.h"

#include "backend/cpu/cpu.h"
#include "backend/toy/toy.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    N = 90, /* tokens: more than the window, more than a page */
    EMBD = TINY_EMBD,
    DIM = TINY_HEAD_DIM,
    N_KV = TINY_KV_HEADS * TINY_HEAD_DIM,
    N_PAGES = N / BACKEND_PAGE_TOKENS + 1,
};

static int32_t token_at(uint32_t i)
{
    return (int32_t)((i * 37 + 11) % 256);
}

/* ---- the network in double ---- */

static const struct weights *file;

/* y = W x, of a tensor by its name; the result is the caller's [n_rows]. */
static void multiply(const char *format, uint32_t layer, const double *x, double *y)
{
    char name[64];
    struct matrix m;
    float row[TINY_VOCAB];
    snprintf(name, sizeof name, format, layer);
    assert_true(weights_matrix(file, name, &m));
    for (size_t r = 0; r < m.n_rows; r++) {
        matrix_decode(&m, r, row);
        y[r] = 0;
        for (size_t i = 0; i < m.n_cols; i++)
            y[r] += (double)row[i] * x[i];
    }
}

/* A row of a matrix, or a vector whole. */
static void row_of(const char *format, uint32_t layer, size_t row, double *out)
{
    char name[64];
    struct matrix m;
    float values[TINY_VOCAB];
    snprintf(name, sizeof name, format, layer);
    assert_true(weights_matrix(file, name, &m));
    matrix_decode(&m, row, values);
    for (size_t i = 0; i < m.n_cols; i++)
        out[i] = (double)values[i];
}

static void norm(const double *x, const char *format, uint32_t layer, double *out)
{
    double w[EMBD], sum = 0;
    row_of(format, layer, 0, w);
    for (int i = 0; i < EMBD; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < EMBD; i++)
        out[i] = x[i] / sqrt(sum / EMBD + 1e-5) * w[i];
}

static void rotate(double *x, uint32_t n_heads, uint32_t position)
{
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < DIM / 2; i++) {
            const double angle = position * pow(10000, -2.0 * i / DIM);
            double *a = x + h * DIM + i, *b = a + DIM / 2;
            const double turned = *a * cos(angle) - *b * sin(angle);
            *b = *a * sin(angle) + *b * cos(angle);
            *a = turned;
        }
}

static void attend(const double *q, double k[][N_KV], double v[][N_KV], uint32_t position,
                   uint32_t window, double *out)
{
    const uint32_t first = backend_first_seen(position, window);
    for (uint32_t h = 0; h < TINY_HEADS; h++) {
        const uint32_t kv = h / (TINY_HEADS / TINY_KV_HEADS) * DIM;
        double sum = 0;
        memset(out + h * DIM, 0, DIM * sizeof *out);
        for (uint32_t j = first; j <= position; j++) {
            double score = 0;
            for (uint32_t i = 0; i < DIM; i++)
                score += q[h * DIM + i] * k[j][kv + i];
            const double weight = exp(score / sqrt(DIM)); /* small enough without its largest */
            sum += weight;
            for (uint32_t i = 0; i < DIM; i++)
                out[h * DIM + i] += weight * v[j][kv + i];
        }
        for (uint32_t i = 0; i < DIM; i++)
            out[h * DIM + i] /= sum;
    }
}

static void feed_forward(const double *x, uint32_t layer, double *out)
{
    double gate[TINY_FF], up[TINY_FF];
    multiply("blk.%u.ffn_gate.weight", layer, x, gate);
    multiply("blk.%u.ffn_up.weight", layer, x, up);
    for (int i = 0; i < TINY_FF; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    multiply("blk.%u.ffn_down.weight", layer, gate, out);
}

/* One position through one layer; k and v are those of the layer that keeps them. */
static void compute_layer(double *x, uint32_t layer, uint32_t position, double k[][N_KV],
                          double v[][N_KV])
{
    double h[EMBD], q[EMBD], seen[EMBD], attended[EMBD], fed[EMBD];
    norm(x, "blk.%u.attn_norm.weight", layer, h);
    multiply("blk.%u.attn_q.weight", layer, h, q);
    rotate(q, TINY_HEADS, position);
    if (layer % 2 == 0) {
        multiply("blk.%u.attn_k.weight", layer, h, k[position]);
        multiply("blk.%u.attn_v.weight", layer, h, v[position]);
        rotate(k[position], TINY_KV_HEADS, position);
    }
    attend(q, k, v, position, layer % 2 ? PARALLEL_WINDOW : 0, seen);
    multiply("blk.%u.attn_output.weight", layer, seen, attended);
    feed_forward(h, layer, fed);
    for (int i = 0; i < EMBD; i++)
        h[i] = attended[i] + fed[i];
    norm(h, "blk.%u.ffn_norm.weight", layer, h);
    for (int i = 0; i < EMBD; i++)
        x[i] += h[i];
}

static void reference(double logits[N][TINY_VOCAB])
{
    static double k[N][N_KV], v[N][N_KV];
    assert_int_equal(TINY_LAYERS, 2); /* one that keeps, one that reads */
    for (uint32_t i = 0; i < N; i++) {
        double x[EMBD];
        row_of("token_embd.weight", 0, (size_t)token_at(i), x);
        for (uint32_t layer = 0; layer < TINY_LAYERS; layer++)
            compute_layer(x, layer, i, k, v);
        norm(x, "output_norm.weight", 0, x);
        multiply("output.weight", 0, x, logits[i]);
    }
}

/* ---- the network on a backend ---- */

static void compute(struct model *m, uint32_t chunk, float *logits)
{
    struct error err = {.message = ""};
    struct backend *be = m->be;
    uint32_t pages[N_PAGES];
    for (uint32_t i = 0; i < N_PAGES; i++)
        pages[i] = i;
    const struct backend_sequence sequence = {pages, N_PAGES, 0};
    struct backend_kv_shape shape = model_kv_shape(m);
    shape.n_pages = N_PAGES;
    if (!be->ops->kv_init(be, &shape, &err))
        fail_msg("%s", err.message);
    for (uint32_t first = 0; first < N; first += chunk) {
        struct backend_row rows[N];
        const uint32_t n = N - first < chunk ? N - first : chunk;
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct backend_row){token_at(first + i), (int32_t)(first + i), 0, true};
        const struct backend_batch batch = {rows, n, &sequence, 1};
        if (!model_compute(m, &batch, logits + (size_t)first * TINY_VOCAB, &err))
            fail_msg("%s", err.message);
    }
}

static void check(struct backend *be, double tolerance)
{
    static double expected[N][TINY_VOCAB];
    static float whole[N * TINY_VOCAB], single[N * TINY_VOCAB];
    struct error err = {.message = ""};
    reference(expected);
    struct model *m = network_create(&network_parallel, file, be, NULL, &err);
    if (!m)
        fail_msg("%s", err.message);
    compute(m, N, whole);
    compute(m, 1, single);
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t t = 0; t < TINY_VOCAB; t++) {
            const double got = (double)whole[i * TINY_VOCAB + t];
            if (!(fabs(expected[i][t] - got) <= tolerance))
                fail_msg("%s, position %u, token %u: %f, not %f", be->ops->describe(be), i, t, got,
                         expected[i][t]);
        }
    assert_memory_equal(whole, single, sizeof whole);
    model_destroy(m);
    be->ops->destroy(be);
}

/* Logits have a deviation of about 5; the CPU rounds keys and values to 16 bits. */
static void it_computes_on_the_cpu(void **state)
{
    (void)state;
    struct error err;
    struct backend *be =
        backend_cpu_create(&(struct backend_cpu_options){.n_threads = 2, .tier = "c"}, &err);
    assert_non_null(be);
    check(be, 0.02);
}

static void it_computes_on_the_toy(void **state)
{
    (void)state;
    struct error err;
    struct backend *be = toy_create(&err);
    assert_non_null(be);
    check(be, 1e-3);
}

/* Its layers are in the name of its pages; and it is nobody's but this test's. */
static void it_has_a_name_of_its_own(void **state)
{
    (void)state;
    struct error err = {.message = ""};
    struct backend *be = toy_create(&err);
    assert_non_null(be);
    struct model *m = network_create(&network_parallel, file, be, NULL, &err);
    assert_non_null(m);
    assert_non_null(strstr(model_kv_identity(m), "rope 1 16 "));
    assert_non_null(strstr(model_kv_identity(m), "layers "));
    assert_int_equal(model_info(m)->window, 0); /* one layer sees all */
    model_destroy(m);
    assert_null(model_create(file, be, NULL, &err));
    assert_int_equal(err.code, ERROR_UNSUPPORTED);
    be->ops->destroy(be);
}

static struct tiny_model tiny;
static struct weights *weights;

static int open_file(void **state)
{
    struct error err;
    (void)state;
    tiny_model_init_as(&tiny, "parallel", NULL);
    file = weights = weights_open_bytes(tiny.data, tiny.size, &err);
    return weights ? 0 : -1;
}

static int close_file(void **state)
{
    (void)state;
    weights_close(weights);
    tiny_model_deinit(&tiny);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_computes_on_the_cpu),
        cmocka_unit_test(it_computes_on_the_toy),
        cmocka_unit_test(it_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
