/* A network of mixtures of experts (network_experts.c), on the CPU backend and on the toy, against
 * the same said in double arithmetic; whole, and token by token. */
#include "network_experts.h"

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

enum { N = 60, EMBD = TINY_EMBD, EXPERTS = 7, USED = 3, FF = 40 };

/* ---- the file ---- */

/* Noise in [-1, 1) times `scale`. */
static void put_noise(struct gguf_builder *g, const char *format, unsigned layer, float scale,
                      const uint64_t *shape)
{
    static uint32_t state = 1;
    char name[64];
    float *values = malloc(shape[0] * shape[1] * shape[2] * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < shape[0] * shape[1] * shape[2]; i++) {
        state = state * 1664525 + 1013904223;
        values[i] = scale * ((float)(state >> 8) * 0x1p-23f - 1);
    }
    snprintf(name, sizeof name, format, layer);
    if (shape[2] > 1)
        gguf_builder_experts(g, name, values, shape[0], shape[1], shape[2]);
    else
        gguf_builder_tensor(g, name, values, shape[0], shape[1]);
    free(values);
}

static uint32_t n_used = USED;

static void put_experts(struct gguf_builder *g)
{
    gguf_builder_u32(g, "experts.expert_count", EXPERTS);
    gguf_builder_u32(g, "experts.expert_used_count", n_used);
    gguf_builder_u32(g, "experts.expert_feed_forward_length", FF);
    for (unsigned i = 0; i < TINY_LAYERS; i++) {
        put_noise(g, "blk.%u.ffn_gate_inp.weight", i, 0.5f, (uint64_t[]){EMBD, EXPERTS, 1});
        put_noise(g, "blk.%u.ffn_gate_exps.weight", i, 0.3f, (uint64_t[]){EMBD, FF, EXPERTS});
        put_noise(g, "blk.%u.ffn_up_exps.weight", i, 0.3f, (uint64_t[]){EMBD, FF, EXPERTS});
        put_noise(g, "blk.%u.ffn_down_exps.weight", i, 0.3f, (uint64_t[]){FF, EMBD, EXPERTS});
    }
}

static const struct weights *file;

/* ---- the network in double ---- */

static int32_t token_at(uint32_t i)
{
    return (int32_t)((i * 37 + 11) % 256);
}

/* y = W x, of one expert of a tensor. */
static void multiply(const char *format, uint32_t layer, size_t expert, const double *x, double *y)
{
    char name[64];
    struct matrix m;
    float row[TINY_VOCAB];
    snprintf(name, sizeof name, format, layer);
    assert_true(weights_matrix(file, name, &m));
    m = matrix_expert(&m, expert);
    for (size_t r = 0; r < m.n_rows; r++) {
        matrix_decode(&m, r, row);
        y[r] = 0;
        for (size_t i = 0; i < m.n_cols; i++)
            y[r] += (double)row[i] * x[i];
    }
}

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

/* x += weight * expert(h) */
static void add_expert(double *x, const double *h, uint32_t layer, size_t expert, double weight)
{
    double gate[FF], up[FF], out[EMBD];
    multiply("blk.%u.ffn_gate_exps.weight", layer, expert, h, gate);
    multiply("blk.%u.ffn_up_exps.weight", layer, expert, h, up);
    for (int i = 0; i < FF; i++)
        gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    multiply("blk.%u.ffn_down_exps.weight", layer, expert, gate, out);
    for (int i = 0; i < EMBD; i++)
        x[i] += weight * out[i];
}

static void compute_layer(double *x, uint32_t layer, bool normalize)
{
    double h[EMBD], scores[EXPERTS], weights[USED], sum = 0, chosen = 0;
    size_t experts[USED];
    norm(x, "blk.%u.ffn_norm.weight", layer, h);
    multiply("blk.%u.ffn_gate_inp.weight", layer, 0, h, scores);
    for (int e = 0; e < EXPERTS; e++)
        sum += exp(scores[e]);
    for (int k = 0; k < USED; k++) {
        experts[k] = 0;
        for (size_t e = 1; e < EXPERTS; e++)
            experts[k] = scores[e] > scores[experts[k]] ? e : experts[k];
        weights[k] = exp(scores[experts[k]]) / sum;
        chosen += weights[k];
        scores[experts[k]] = -INFINITY;
    }
    for (int k = 0; k < USED; k++)
        add_expert(x, h, layer, experts[k], normalize ? weights[k] / chosen : weights[k]);
}

static void reference(double logits[N][TINY_VOCAB], bool normalize)
{
    for (uint32_t i = 0; i < N; i++) {
        double x[EMBD];
        row_of("token_embd.weight", 0, (size_t)token_at(i), x);
        for (uint32_t layer = 0; layer < TINY_LAYERS; layer++)
            compute_layer(x, layer, normalize);
        norm(x, "output_norm.weight", 0, x);
        multiply("output.weight", 0, 0, x, logits[i]);
    }
}

/* ---- the network on a backend ---- */

static void compute(struct model *m, uint32_t chunk, float *logits)
{
    struct error err = {.message = ""};
    const struct backend_sequence sequence = {NULL, 0, 0};
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

static void check(struct backend *be, bool normalize)
{
    static double expected[N][TINY_VOCAB];
    static float whole[N * TINY_VOCAB], single[N * TINY_VOCAB];
    struct error err = {.message = ""};
    assert_non_null(be);
    reference(expected, normalize);
    struct model *m = network_create(
        normalize ? &network_experts_alone_normalized : &network_experts_alone, file, be, NULL,
        &err);
    if (!m)
        fail_msg("%s", err.message);
    compute(m, N, whole);
    compute(m, 1, single);
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t t = 0; t < TINY_VOCAB; t++) {
            const double got = (double)whole[i * TINY_VOCAB + t];
            if (!(fabs(expected[i][t] - got) <= 1e-3))
                fail_msg("%s, position %u, token %u: %f, not %f", be->ops->describe(be), i, t, got,
                         expected[i][t]);
        }
    assert_memory_equal(whole, single, sizeof whole);
    model_destroy(m);
    be->ops->destroy(be);
}

static void it_computes_on_the_cpu(void **state)
{
    const struct backend_cpu_options options = {.n_threads = 2};
    struct error err;
    (void)state;
    check(backend_cpu_create(&options, &err), false);
    check(backend_cpu_create(&options, &err), true);
}

static void it_computes_on_the_toy(void **state)
{
    struct error err;
    (void)state;
    check(toy_create(&err), false);
    check(toy_create(&err), true);
}

static struct tiny_model tiny;
static struct weights *weights;

static int open_file(void **state)
{
    struct error err;
    (void)state;
    tiny_model_init_as(&tiny, "experts", put_experts);
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

/* Each row uses some of the experts that there are. */
static void more_than_there_are_is_refused(void **state)
{
    struct error err = {.message = ""};
    struct backend *be = toy_create(&err);
    assert_non_null(be);
    close_file(state);
    n_used = EXPERTS + 1;
    assert_int_equal(open_file(state), 0);
    assert_null(network_create(&network_experts_alone, file, be, NULL, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_non_null(strstr(err.message, "experts.expert_used_count is 8"));
    be->ops->destroy(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_computes_on_the_cpu),
        cmocka_unit_test(it_computes_on_the_toy),
        cmocka_unit_test(more_than_there_are_is_refused),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
