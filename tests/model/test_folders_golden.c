/* Networks over folders of safetensors in every kind of numbers (tests/support/tiny_folders.h),
 * against mlx-lm's logits of the very files (scripts/golden/networks_folders.py); and that no wrong
 * constant would pass. */
#include "tiny_stack.h"

#include "backend/cpu/cpu.h"
#include "backend/toy/toy.h"
#include "support/tiny_folders.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    N_TOKENS = 160,
    CPU_EACH = 3, /* so many cases one is computed on the CPU backend, too: it is slow to make */
};

/* The distance is the root of the mean square of the differences, over that of the truth. The toy
 * computes in float32, as mlx-lm does there. The CPU backend rounds keys and values to f16, and for
 * packed numbers the activations to 8 bits before each product; with experts that may make a row
 * choose another one where two are almost equal. */
static const double toy_tolerance = 2e-5, floats_tolerance = 2e-3, packed_tolerance = 5e-2,
                    experts_tolerance = 0.2;

static json_t *golden;

static struct backend *toy(void)
{
    struct error err;
    return toy_create(&err);
}

static struct backend *cpu(void)
{
    struct error err;
    return backend_cpu_create(&(struct backend_cpu_options){.n_threads = 2, .tier = "c"}, &err);
}

/* From mlx-lm's logits of that network in those numbers. */
static double distance(const char *network, const struct tiny_folders_numbers *numbers,
                       const float *logits)
{
    char name[64];
    snprintf(name, sizeof name, "%s %s", network, numbers->name);
    const json_t *positions = json_object_get(golden, "positions");
    const json_t *tokens = json_object_get(golden, "tokens");
    const json_t *rows = json_object_get(json_object_get(golden, "cases"), name);
    const size_t n_positions = json_array_size(positions), n_tokens = json_array_size(tokens);
    double error = 0, size = 0;
    assert_true(n_positions >= 5 && n_tokens >= 5);
    assert_int_equal(json_array_size(rows), n_positions);
    for (size_t i = 0; i < n_positions * n_tokens; i++) {
        const json_int_t position = json_integer_value(json_array_get(positions, i / n_tokens));
        const json_int_t token = json_integer_value(json_array_get(tokens, i % n_tokens));
        const double truth =
            json_number_value(json_array_get(json_array_get(rows, i / n_tokens), i % n_tokens));
        const double ours = (double)logits[position * TINY_VOCAB + token];
        error += (ours - truth) * (ours - truth);
        size += truth * truth;
    }
    return sqrt(error / size);
}

static double cpu_tolerance(const struct tiny_folders_network *network,
                            const struct tiny_folders_numbers *numbers)
{
    if (!numbers->bits)
        return floats_tolerance;
    return network->kind.experts ? experts_tolerance : packed_tolerance;
}

/* Of `kind`, which calls itself that network. */
static double distance_on(struct backend *be, const char *network,
                          const struct tiny_folder_kind *kind,
                          const struct tiny_folders_numbers *numbers, uint32_t n_ctx)
{
    const struct tiny_folder_kind whole = tiny_folders_kind(kind, numbers);
    struct tiny_stack s;
    struct error err;
    if (!tiny_stack_open_folder_on(&s, be, &whole, n_ctx, &err))
        fail_msg("%s %s: %s", network, numbers->name, err.message);
    float *logits = tiny_stack_logits(&s, N_TOKENS);
    const double far = distance(network, numbers, logits);
    free(logits);
    tiny_stack_close(&s);
    return far;
}

static void logits_are_those_of_mlx_lm(void **state)
{
    (void)state;
    const struct tiny_folders_network *network;
    const struct tiny_folders_numbers *numbers;
    double most_toy = 0, most_floats = 0, most_packed = 0;
    size_t n = 0;
    for (size_t i = 0; (network = tiny_folders_network(i)); i++)
        for (size_t k = 0; (numbers = tiny_folders_numbers(k)); k++, n++) {
            const double on_toy =
                distance_on(toy(), network->name, &network->kind, numbers, network->n_ctx);
            const double on_cpu =
                (i + k) % CPU_EACH
                    ? 0
                    : distance_on(cpu(), network->name, &network->kind, numbers, network->n_ctx);
            double *most = numbers->bits ? &most_packed : &most_floats;
            *most = fmax(*most, network->kind.experts ? 0 : on_cpu);
            most_toy = fmax(most_toy, on_toy);
            if (!(on_toy < toy_tolerance && on_cpu < cpu_tolerance(network, numbers)))
                fail_msg("%s %s: %f on the toy, %f on the CPU", network->name, numbers->name,
                         on_toy, on_cpu);
        }
    assert_int_equal(json_object_size(json_object_get(golden, "cases")), n);
    print_message("farthest: toy %.1e; CPU: floats %.1e, packed numbers %.1e\n", most_toy,
                  most_floats, most_packed);
}

/* Each differs from a network of the golden file in one constant. */
static const struct {
    const char *network;
    struct tiny_folder_kind kind;
    uint32_t n_ctx;
} wrong[] = {
    {"llama", {TINY_LLAMA, .eps = "0.011"}, 0},
    {"llama", {TINY_LLAMA ", \"rope_theta\": 10100"}, 0},
    {"llama",
     {TINY_LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 1.01}"},
     0},
    {"llama", {TINY_LLAMA ", \"partial_rotary_factor\": 0.875"}, 0},
    {"llama3", {TINY_LLAMA}, 0},
    {"llama3", {TINY_LLAMA3("1.1", "4.0")}, 0},
    {"llama3", {TINY_LLAMA3("1.0", "3.9")}, 0},
    {"mistral", {TINY_MISTRAL("63", TINY_FULL_SLIDING)}, 0},
    {"mistral", {TINY_MISTRAL("64", TINY_SLIDING_FULL)}, 0},
    {"phi3-long", {TINY_PHI3, .is_fused = true}, 128},
    {"phi3-short", {TINY_PHI3, .is_fused = true}, 0},
    {"phi4-mini", {TINY_PHI4, .is_fused = true, .is_tied = true}, 128},
    {"qwen2", {TINY_QWEN2("1000000.0"), .biases = TINY_ZERO_BIASES, .is_tied = true}, 0},
    {"qwen2", {TINY_QWEN2("1010000.0"), .biases = TINY_BIASES, .is_tied = true}, 0},
    {"qwen2-yarn", {TINY_YARN("4.04"), .biases = TINY_BIASES}, 0},
    {"qwen3moe",
     {TINY_QWEN3MOE("2", "true"), .head_dim = 32, .has_head_norms = true, .experts = TINY_ALONE},
     0},
    {"qwen3moe",
     {TINY_QWEN3MOE("3", "false"), .head_dim = 32, .has_head_norms = true, .experts = TINY_ALONE},
     0},
    {"granite", {TINY_GRANITE("12.1", "0.22", "0.0625", "8.0"), .is_tied = true}, 0},
    {"granite", {TINY_GRANITE("12.0", "0.23", "0.0625", "8.0"), .is_tied = true}, 0},
    {"granite", {TINY_GRANITE("12.0", "0.22", "0.07", "8.0"), .is_tied = true}, 0},
    {"granite", {TINY_GRANITE("12.0", "0.22", "0.0625", "8.1"), .is_tied = true}, 0},
    {"mistral3", {TINY_MISTRAL3("0.11", "1.0"), .head_dim = 32}, 0},
    {"mistral3", {TINY_MISTRAL3("0.1", "0.0"), .head_dim = 32}, 0},
    {"gemma3",
     {TINY_GEMMA3("49", "64", "2", "10000.0"), .head_dim = 32, .has_head_norms = true,
      .has_post_norms = true, .is_tied = true},
     0},
    {"gemma3",
     {TINY_GEMMA3("48", "63", "2", "10000.0"), .head_dim = 32, .has_head_norms = true,
      .has_post_norms = true, .is_tied = true},
     0},
    {"gemma3",
     {TINY_GEMMA3("48", "64", "1", "10000.0"), .head_dim = 32, .has_head_norms = true,
      .has_post_norms = true, .is_tied = true},
     0},
    {"gemma3",
     {TINY_GEMMA3("48", "64", "2", "10100.0"), .head_dim = 32, .has_head_norms = true,
      .has_post_norms = true, .is_tied = true},
     0},
};

static void a_wrong_constant_would_be_seen(void **state)
{
    (void)state;
    const struct tiny_folders_numbers *numbers;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (size_t k = 0; (numbers = tiny_folders_numbers(k)); k += 6) {
            const double far =
                distance_on(toy(), wrong[i].network, &wrong[i].kind, numbers, wrong[i].n_ctx);
            if (!(far > 2 * toy_tolerance))
                fail_msg("%s passes for %s %s: %f away", wrong[i].kind.config, wrong[i].network,
                         numbers->name, far);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_mlx_lm),
        cmocka_unit_test(a_wrong_constant_would_be_seen),
    };
    json_error_t err;
    golden = json_load_file(GOLDEN_DIR "/folders.json", 0, &err);
    if (!golden) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
