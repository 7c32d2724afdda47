/* Each architecture on a tiny model (tests/support/tiny_networks.h): log probabilities are those of
 * llama.cpp on the very file (scripts/golden/architectures.py), with every constant that it has being
 * needed for that, and the same bits whole and in pieces. */
#include "backend/cpu/cpu.h"
#include "backend/toy/toy.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "support/tiny_networks.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Nats. The toy computes and keeps in float32, as llama.cpp does there, but for its GELU, which is a
 * table of f16. The CPU backend rounds keys and values to f16, in the tier used here. (It
 * rounds activations to 8 bits beside blocks, which so small a model makes much of: there the toy
 * alone is asked.) */
static const double toy_tolerance = 2e-4, gelu_tolerance = 4e-3, cpu_tolerance = 2e-2;

enum { N = 100 };

static json_t *golden;

/* ---- a model of a file ---- */

struct world {
    struct tiny_model file;
    struct weights *weights;
    struct backend *be;
    struct model *model;
    uint32_t pages[N / BACKEND_PAGE_TOKENS + 1];
};

static void begin(struct world *w, const char *name, const char *type,
                  const struct tiny_change *change, struct backend *be)
{
    struct error err = {.message = ""};
    const uint32_t n_pages = N / BACKEND_PAGE_TOKENS + 1;
    assert_non_null(be);
    tiny_network_init(&w->file, name, type, change);
    w->be = be;
    w->weights = weights_open_bytes(w->file.data, w->file.size, &err);
    w->model = w->weights ? model_create(w->weights, be, NULL, &err) : NULL;
    if (!w->model)
        fail_msg("%s: %s", name, err.message);
    for (uint32_t i = 0; i < n_pages; i++)
        w->pages[i] = i;
    struct backend_kv_shape shape = model_kv_shape(w->model);
    shape.n_pages = n_pages;
    assert_true(be->ops->kv_init(be, &shape, &err));
}

static void end(struct world *w)
{
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    weights_close(w->weights);
    tiny_model_deinit(&w->file);
}

/* [N][TINY_VOCAB], `step` rows a batch. */
static void compute(struct world *w, uint32_t step, float *logits)
{
    const struct backend_sequence sequence = {w->pages, sizeof w->pages / sizeof *w->pages, 0};
    for (uint32_t first = 0; first < N; first += step) {
        struct backend_row rows[N];
        struct error err = {.message = ""};
        const uint32_t n = N - first < step ? N - first : step;
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct backend_row){(int32_t)((first + i) * 37 + 11) % 256,
                                           (int32_t)(first + i), 0, true};
        if (!model_compute(w->model, &(struct backend_batch){rows, n, &sequence, 1},
                           logits + (size_t)first * TINY_VOCAB, &err))
            fail_msg("%s", err.message);
    }
}

static struct backend *cpu(const char *tier)
{
    struct error err;
    return backend_cpu_create(&(struct backend_cpu_options){.n_threads = 2, .tier = tier}, &err);
}

static struct backend *toy(void)
{
    struct error err;
    return toy_create(&err);
}

/* ---- against the reference ---- */

static double log_probability(const float *logits, json_int_t token)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < TINY_VOCAB; i++)
        most = fmax(most, (double)logits[i]);
    for (int i = 0; i < TINY_VOCAB; i++)
        sum += exp((double)logits[i] - most);
    return (double)logits[token] - most - log(sum);
}

/* The largest difference from the golden values. */
static double distance(const char *name, const char *type, const struct tiny_change *change,
                       struct backend *be)
{
    char full[64];
    static float logits[N * TINY_VOCAB];
    const json_t *positions = json_object_get(golden, "positions");
    const json_t *tokens = json_object_get(golden, "tokens");
    snprintf(full, sizeof full, "%s %s", name, type);
    const json_t *rows = json_object_get(json_object_get(golden, "cases"), full);
    struct world w;
    double most = 0;
    begin(&w, name, type, change, be);
    compute(&w, N, logits);
    end(&w);
    assert_true(json_array_size(tokens) > 0 && json_array_size(positions) > 0);
    assert_int_equal(json_array_size(rows), json_array_size(positions));
    for (size_t p = 0; p < json_array_size(positions); p++) {
        const json_int_t position = json_integer_value(json_array_get(positions, p));
        assert_true(position < N);
        for (size_t t = 0; t < json_array_size(tokens); t++) {
            const json_int_t token = json_integer_value(json_array_get(tokens, t));
            const double ours = log_probability(logits + position * TINY_VOCAB, token);
            const double off =
                fabs(ours - json_number_value(json_array_get(json_array_get(rows, p), t)));
            if (!isfinite(off))
                fail_msg("%s: position %d: %f", name, (int)position, ours);
            most = fmax(most, off);
        }
    }
    return most;
}

static double tolerance_on_toy(const char *name)
{
    return strncmp(name, "gemma", 5) ? toy_tolerance : gelu_tolerance;
}

static void check_type(const char *name, const char *type)
{
    const double on_toy = distance(name, type, NULL, toy());
    const double on_cpu = type[0] == 'q' ? 0 : distance(name, type, NULL, cpu("c"));
    print_message("%s %s: toy %.1e, cpu %.1e nat\n", name, type, on_toy, on_cpu);
    if (!(on_toy < tolerance_on_toy(name) && on_cpu < cpu_tolerance))
        fail_msg("%s %s is %.2e (toy) and %.2e (cpu) nat from the reference", name, type, on_toy,
                 on_cpu);
}

static void log_probabilities_are_those_of_the_reference(void **state)
{
    (void)state;
    size_t n = 0, n_types = 0;
    for (const char *name; (name = tiny_network_name(n)); n++)
        for (n_types = 0; tiny_network_type(n_types); n_types++)
            check_type(name, tiny_network_type(n_types));
    assert_int_equal(json_object_size(json_object_get(golden, "cases")), n * n_types);
}

/* A wrong constant is seen: no change of these stays within five times what is tolerated. (Where the
 * CPU backend tolerates more, its networks are the toy's.) */
static void every_constant_matters(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct tiny_change change;
    } changes[] = {
        {"qwen3", {"blk.1.attn_q_norm.weight", -1}}, /* as if it were stored without its 1 */
        {"qwen3", {"blk.0.attn_k_norm.weight", -1}},
        {"qwen3", {"rope.freq_base", 20000}},
        {"qwen3moe", {"expert_used_count", 2}},
        {"qwen3moe", {"blk.1.attn_k_norm.weight", -1}},
        {"qwen3moe", {"expert_weights_norm", false}},
        {"gemma3", {"rope.freq_base", 5e4f}},
        {"gemma3", {"rope.freq_base_swa", 600}},
        {"gemma3", {"rope.scaling.factor", 3}},
        {"gemma3", {"attention.sliding_window", 33}},
        {"gemma3", {"blk.5.attn_q_norm.weight", -1}},
        {"gemma3", {"blk.0.post_attention_norm.weight", -1}},
        {"gemma3", {"blk.6.post_ffw_norm.weight", -1}},
        {"gemma3", {"output_norm.weight", -1}},
        {"gemma3-pattern", {"attention.sliding_window_pattern", 3}},
        {"granite", {"embedding_scale", 3.6f}},
        {"granite", {"residual_scale", 0.42f}},
        {"granite", {"attention.scale", 0.11f}},
        {"granite", {"logit_scale", 2.6f}},
        {"mistral3", {"attention.temperature_scale", 0.33f}},
        {"mistral3", {"rope.scaling.yarn_log_multiplier", 0.7f}},
        {"mistral3", {"rope.scaling.original_context_length", 30}},
        {"mistral3", {"rope.scaling.factor", 7}},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const double off = distance(changes[i].name, "f32", &changes[i].change, toy());
        print_message("%s with another %s: %.1e nat\n", changes[i].name, changes[i].change.name,
                      off);
        if (!(off > 5 * tolerance_on_toy(changes[i].name)))
            fail_msg("%s with another %s is only %.2e nat from the reference", changes[i].name,
                     changes[i].change.name, off);
    }
}

/* ---- the same however it is computed ---- */

static void pieces_give_the_same_bits(void **state)
{
    (void)state;
    static float whole[N * TINY_VOCAB], pieces[N * TINY_VOCAB];
    static const uint32_t steps[] = {1, 7, 64};
    struct world w;
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++)
        for (size_t i = 0; tiny_network_name(i) && kernels_tier_runs(tier); i++) {
            begin(&w, tiny_network_name(i), i % 2 ? "q4_0" : "f32", NULL, cpu(kernels_tier_name(tier)));
            compute(&w, N, whole);
            for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
                compute(&w, steps[k], pieces);
                if (memcmp(whole, pieces, sizeof whole) != 0)
                    fail_msg("%s, tier %s, %u rows a batch: other bits", tiny_network_name(i),
                             kernels_tier_name(tier), steps[k]);
            }
            end(&w);
        }
}

static int load_golden(void **state)
{
    json_error_t err;
    (void)state;
    golden = json_load_file(GOLDEN_DIR "/architectures.json", 0, &err);
    return golden ? 0 : -1;
}

static int drop_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_probabilities_are_those_of_the_reference),
        cmocka_unit_test(every_constant_matters),
        cmocka_unit_test(pieces_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, load_golden, drop_golden);
}
