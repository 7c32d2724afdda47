/* What config.json says in other words, or does not say, is the same network: the same bits. And
 * what it says that no network can mean is refused, with the word. */
#include "tiny_stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 100, DIM = 32 };

#define GEMMA3 ", \"model_type\": \"gemma3_text\", \"head_dim\": 32, \"sliding_window\": 24"
#define PATTERN ", \"sliding_window_pattern\": 2"
#define BASES ", \"rope_theta\": 1000000, \"rope_local_base_freq\": 10000"
#define SCALED ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}"
#define MINISTRAL(pair)                                                                            \
    ", \"model_type\": \"ministral3\", \"head_dim\": 32, \"rope_parameters\": {\"rope_theta\": "    \
    "10000, \"rope_type\": \"yarn\", \"factor\": 9, \"original_max_position_embeddings\": 32, "    \
    "\"mscale\": 1, \"mscale_all_dim\": 1" pair "}"
#define STRETCH ", \"llama_4_scaling_beta\": 0.1"
#define QWEN3 ", \"model_type\": \"qwen3\", \"head_dim\": 32"
#define GRANITE ", \"model_type\": \"granite\""

static struct tiny_folder_kind kind_of(const char *config)
{
    struct tiny_folder_kind kind = {config, .is_tied = true};
    const bool is_gemma = strstr(config, "gemma3");
    kind.has_head_norms = is_gemma || strstr(config, "qwen3");
    kind.has_post_norms = is_gemma;
    kind.head_dim = strstr(config, "\"head_dim\"") ? DIM : 0;
    return kind;
}

static bool same(const struct tiny_folder_kind *a, const struct tiny_folder_kind *b)
{
    float *x = tiny_stack_logits_of_folder(a, 0, N_TOKENS);
    float *y = tiny_stack_logits_of_folder(b, 0, N_TOKENS);
    const bool is_same = !memcmp(x, y, N_TOKENS * TINY_VOCAB * sizeof *x);
    free(x);
    free(y);
    return is_same;
}

static void other_words_are_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        const char *words, *others;
        bool is_other; /* it means another network */
    } cases[] = {
        {GEMMA3 PATTERN, GEMMA3 PATTERN BASES, false},
        {GEMMA3 PATTERN, GEMMA3 PATTERN ", \"query_pre_attn_scalar\": 256", false},
        {GEMMA3 PATTERN, GEMMA3 PATTERN ", \"query_pre_attn_scalar\": 32", true},
        {GEMMA3 PATTERN, GEMMA3 ", \"_sliding_window_pattern\": 2", false},
        {GEMMA3 PATTERN, GEMMA3 ", \"layer_types\": [\"sliding_attention\", \"full_attention\"]",
         false},
        {GEMMA3 PATTERN, GEMMA3 ", \"layer_types\": [\"full_attention\", \"sliding_attention\"]",
         true},
        {GEMMA3, GEMMA3 ", \"sliding_window_pattern\": 6", false},
        {GEMMA3, GEMMA3 PATTERN, true},
        {GEMMA3 PATTERN SCALED,
         GEMMA3 PATTERN ", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", "
                        "\"factor\": 8, \"rope_theta\": 1000000}, \"sliding_attention\": "
                        "{\"rope_type\": \"default\", \"rope_theta\": 10000}}",
         false},
        {GEMMA3 PATTERN SCALED, GEMMA3 PATTERN, true},
        {GEMMA3 PATTERN, GEMMA3 PATTERN ", \"final_logit_softcapping\": null", false},
        {MINISTRAL(""), MINISTRAL(", \"llama_4_scaling_beta\": 0"), false},
        {MINISTRAL(STRETCH), MINISTRAL(""), true},
        {MINISTRAL(STRETCH), MINISTRAL(STRETCH) ", \"sliding_window\": null", false},
        {QWEN3, QWEN3 ", \"use_sliding_window\": false, \"sliding_window\": 24", false},
        {QWEN3, QWEN3 ", \"use_sliding_window\": true, \"sliding_window\": 24", true},
        {GRANITE, GRANITE ", \"embedding_multiplier\": 1, \"residual_multiplier\": 1.0, "
                          "\"attention_multiplier\": 0.25, \"logits_scaling\": 1",
         false},
        {GRANITE, GRANITE ", \"residual_multiplier\": 0.5", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct tiny_folder_kind a = kind_of(cases[i].words), b = kind_of(cases[i].others);
        if (same(&a, &b) == cases[i].is_other)
            fail_msg("%s and %s are %s", cases[i].words, cases[i].others,
                     cases[i].is_other ? "the same" : "not the same");
    }
}

/* As those have them that see pictures, too. */
static void a_network_may_be_a_part_of_more(void **state)
{
    (void)state;
    static const char *const configs[] = {GEMMA3 PATTERN SCALED, MINISTRAL(STRETCH), QWEN3};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        const struct tiny_folder_kind alone = kind_of(configs[i]);
        struct tiny_folder_kind part = alone;
        part.is_nested = true;
        part.prefix = "language_model.model.";
        part.output_prefix = "language_model.";
        assert_true(same(&alone, &part));
    }
}

static void what_no_network_means_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *says;
        enum error_code code;
    } cases[] = {
        {GEMMA3 ", \"final_logit_softcapping\": 30.0", "final_logit_softcapping",
         ERROR_UNSUPPORTED},
        {GEMMA3 ", \"query_pre_attn_scalar\": 0", "query_pre_attn_scalar is 0", ERROR_FORMAT},
        {GEMMA3 ", \"rope_local_base_freq\": 1", "rope_local_base_freq is 1", ERROR_FORMAT},
        {GEMMA3 ", \"layer_types\": [\"full_attention\"]", "layer_types", ERROR_FORMAT},
        {GRANITE ", \"embedding_multiplier\": -1", "embedding_multiplier is -1", ERROR_FORMAT},
        {GRANITE ", \"logits_scaling\": 1e39", "logits_scaling", ERROR_FORMAT},
        {MINISTRAL(", \"llama_4_scaling_beta\": -0.5"), "stretched by -0.5", ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_stack s;
        struct error err = {.message = ""};
        const struct tiny_folder_kind kind = kind_of(cases[i].config);
        if (tiny_stack_open_folder(&s, &kind, 0, &err))
            fail_msg("%s is not refused", cases[i].config);
        assert_int_equal(err.code, cases[i].code);
        if (!strstr(err.message, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].says);
        tiny_stack_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_words_are_the_same_bits),
        cmocka_unit_test(a_network_may_be_a_part_of_more),
        cmocka_unit_test(what_no_network_means_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
