/* Networks over folders of safetensors: the same weights under a folder's names, with a folder's
 * config.json, give the very bits that they give as GGUF; and what is wrong is refused by name. */
#include "tiny_stack.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 100, N_LOGITS = N_TOKENS * TINY_VOCAB, N_PAIRS = TINY_HEAD_DIM / 2 };

static float *logits_of_folder(const struct tiny_folder_kind *kind, uint32_t n_ctx)
{
    return tiny_stack_logits_of_folder(kind, n_ctx, N_TOKENS);
}

static float *logits_of_gguf(const char *architecture, void (*more)(struct gguf_builder *g),
                             uint32_t n_ctx)
{
    return tiny_stack_logits_of_gguf(architecture, more, n_ctx, N_TOKENS);
}

/* One model as a folder and as GGUF; n_ctx 0: the model's. */
struct pair {
    struct tiny_folder_kind folder;
    const char *architecture;
    void (*more)(struct gguf_builder *);
    uint32_t n_ctx;
};

static bool same_bits(const struct pair *p)
{
    float *ours = logits_of_folder(&p->folder, p->n_ctx);
    float *theirs = logits_of_gguf(p->architecture, p->more, p->n_ctx);
    bool is_same = !memcmp(ours, theirs, N_LOGITS * sizeof *ours);
    free(ours);
    free(theirs);
    return is_same;
}

/* ---- the same in GGUF's words ---- */

static void window_of_64(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.attention.sliding_window", 64);
}

static void linear_by_4(struct gguf_builder *g)
{
    gguf_builder_string(g, "phi3.rope.scaling.type", "linear");
    gguf_builder_f32(g, "phi3.rope.scaling.factor", 4);
}

static void yarn_by_4(struct gguf_builder *g)
{
    gguf_builder_string(g, "phi3.rope.scaling.type", "yarn");
    gguf_builder_f32(g, "phi3.rope.scaling.factor", 4);
    gguf_builder_u32(g, "phi3.rope.scaling.original_context_length", 128);
}

/* The strengths' quotient instead of the paper's 1 + 0.1 ln(4). */
static void yarn_without_magnitude(struct gguf_builder *g)
{
    yarn_by_4(g);
    gguf_builder_f32(g, "phi3.rope.scaling.attn_factor", 1 / (1 + 0.1f * logf(4)));
}

static void half_rotated(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.rope.dimension_count", TINY_HEAD_DIM / 2);
}

/* Llama 3.1's by hand: pair i turns 16 / 10^(i / 2) / (2 pi) times in 16 positions, so pair 0 more
 * than once, and all from the third on less than a quarter of a turn. */
static void llama3_by_8(struct gguf_builder *g)
{
    float factors[N_PAIRS] = {1};
    const double smooth = (16 / sqrt(10) / (2 * acos(-1)) - 0.25) / 0.75;
    factors[1] = (float)(1 / ((1 - smooth) / 8 + smooth));
    const double smoother = (16 / 10.0 / (2 * acos(-1)) - 0.25) / 0.75;
    factors[2] = (float)(1 / ((1 - smoother) / 8 + smoother));
    for (int i = 3; i < N_PAIRS; i++)
        factors[i] = 8;
    gguf_builder_tensor(g, "rope_freqs.weight", factors, N_PAIRS, 0);
}

static void longrope(struct gguf_builder *g)
{
    float brief[N_PAIRS], extended[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) {
        brief[i] = 1 + 0.25f * (float)i;
        extended[i] = 1 + 3.0f * (float)i;
    }
    gguf_builder_u32(g, "phi3.rope.scaling.original_context_length", 128);
    gguf_builder_tensor(g, "rope_factors_short.weight", brief, N_PAIRS, 0);
    gguf_builder_tensor(g, "rope_factors_long.weight", extended, N_PAIRS, 0);
}

#define FACTORS                                                                                    \
    "\"short_factor\": [1, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75], "                               \
    "\"long_factor\": [1, 4, 7, 10, 13, 16, 19, 22]"
#define LONGROPE(type)                                                                             \
    ", \"model_type\": \"phi3\", \"original_max_position_embeddings\": 128, "                      \
    "\"rope_scaling\": {\"type\": \"" type "\", " FACTORS "}"
#define LLAMA(more) ", \"model_type\": \"llama\", \"rope_" more

static void a_folder_computes_the_bits_of_gguf(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {{", \"model_type\": \"llama\""}, "phi3", NULL, 0},
        {{", \"model_type\": \"mistral\", \"sliding_window\": null, \"head_dim\": null"},
         "phi3", NULL, 0},
        {{", \"model_type\": \"mistral\", \"sliding_window\": 64"}, "phi3", window_of_64, 0},
        {{", \"model_type\": \"phi3\"", .is_fused = true}, "phi3", NULL, 0},
        {{", \"model_type\": \"phi3\", \"sliding_window\": 64", .is_fused = true},
         "phi3", window_of_64, 0},
        {{", \"model_type\": \"qwen2\", \"use_sliding_window\": false, \"sliding_window\": 64, "
          "\"tie_word_embeddings\": false", .biases = TINY_ZERO_BIASES},
         "qwen2", NULL, 0},
        /* where other models than of text have theirs */
        {{", \"model_type\": \"mistral\"", .prefix = "language_model.model.",
          .output_prefix = "language_model.", .is_nested = true, .extra = "vision.norm.weight"},
         "phi3", NULL, 0},
        {{", \"model_type\": \"mistral\"", .prefix = "model.language_model.", .is_nested = true},
         "phi3", NULL, 0},
        /* RoPE, in the words of two times */
        {{LLAMA("theta\": 10000")}, "phi3", NULL, 0},
        {{LLAMA("parameters\": {\"rope_type\": \"default\", \"rope_theta\": 10000.0}")},
         "phi3", NULL, 0},
        {{LLAMA("scaling\": {\"type\": \"linear\", \"factor\": 4.0}")}, "phi3", linear_by_4, 0},
        {{LLAMA("scaling\": {\"type\": \"yarn\", \"factor\": 4, "
                "\"original_max_position_embeddings\": 128}")},
         "phi3", yarn_by_4, 0},
        {{LLAMA("parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, \"mscale\": 1, "
                "\"mscale_all_dim\": 1.0, \"original_max_position_embeddings\": 128}")},
         "phi3", yarn_without_magnitude, 0},
        {{LLAMA("scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 0.25, "
                "\"high_freq_factor\": 1.0, \"original_max_position_embeddings\": 16}")},
         "phi3", llama3_by_8, 0},
        {{", \"model_type\": \"phi3\", \"partial_rotary_factor\": 0.5", .is_fused = true},
         "phi3", half_rotated, 0},
        {{LONGROPE("longrope"), .is_fused = true}, "phi3", longrope, 0},
        {{LONGROPE("su"), .is_fused = true}, "phi3", longrope, 128},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!same_bits(&pairs[i]))
            fail_msg("%s: other bits than %s", pairs[i].folder.config, pairs[i].architecture);
}

/* None of the above passes whatever it says. */
static void other_words_are_other_bits(void **state)
{
    (void)state;
    static const struct pair pairs[] = {
        {{", \"model_type\": \"llama\""}, "llama", NULL, 0}, /* GGUF's are in pairs */
        {{", \"model_type\": \"mistral\", \"sliding_window\": 65"}, "phi3", window_of_64, 0},
        {{", \"model_type\": \"llama\"", .eps = "1e-3"}, "phi3", NULL, 0},
        {{", \"model_type\": \"qwen2\"", .biases = TINY_BIASES}, "qwen2", NULL, 0},
        {{", \"model_type\": \"llama\", \"tie_word_embeddings\": true"}, "phi3", NULL, 0},
        {{LLAMA("theta\": 10001")}, "phi3", NULL, 0},
        {{LLAMA("parameters\": {\"rope_theta\": 10001.0}")}, "phi3", NULL, 0},
        {{LLAMA("scaling\": {\"type\": \"linear\", \"factor\": 4.1}")}, "phi3", linear_by_4, 0},
        {{LLAMA("scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 0.2, "
                "\"high_freq_factor\": 1.0, \"original_max_position_embeddings\": 16}")},
         "phi3", llama3_by_8, 0},
        {{LONGROPE("longrope"), .is_fused = true}, "phi3", longrope, 128},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        float *ours = logits_of_folder(&pairs[i].folder, i + 1 == sizeof pairs / sizeof *pairs ? 0 : pairs[i].n_ctx);
        float *theirs = logits_of_gguf(pairs[i].architecture, pairs[i].more, pairs[i].n_ctx);
        if (!memcmp(ours, theirs, N_LOGITS * sizeof *ours))
            fail_msg("%s: the bits of %s", pairs[i].folder.config, pairs[i].architecture);
        free(ours);
        free(theirs);
    }
}

static void a_tied_folder_needs_no_output(void **state)
{
    (void)state;
    static const struct tiny_folder_kind absent = {", \"model_type\": \"llama\"", .is_tied = true};
    static const struct tiny_folder_kind ignored = {
        ", \"model_type\": \"llama\", \"tie_word_embeddings\": true"};
    float *a = logits_of_folder(&absent, 0), *b = logits_of_folder(&ignored, 0);
    assert_memory_equal(a, b, N_LOGITS * sizeof *a);
    free(a);
    free(b);
}

/* Vectors of 16 bits are what they round to. */
static void vectors_may_have_sixteen_bits(void **state)
{
    (void)state;
    struct tiny_folder_kind kind = {", \"model_type\": \"qwen2\"", .biases = TINY_BIASES};
    float *whole = logits_of_folder(&kind, 0);
    for (enum tiny_numbers type = TINY_F16; type <= TINY_BF16; type++) {
        double most = 0;
        kind.floats = type;
        float *half = logits_of_folder(&kind, 0);
        for (int i = 0; i < N_LOGITS; i++)
            most = fmax(most, fabs((double)half[i] - (double)whole[i]));
        assert_true(most > 0 && most < 0.5); /* logits have a deviation of about 5 */
        free(half);
    }
    free(whole);
}

static void the_bill_counts_what_is_made(void **state)
{
    (void)state;
    struct tiny_stack s;
    struct error err;
    tiny_stack_open_folder(&s, &(struct tiny_folder_kind){LONGROPE("longrope"), .is_fused = true}, 0, &err);
    assert_int_equal(model_made_bytes(s.model), 2 * N_PAIRS * sizeof(float));
    assert_int_equal(model_info(s.model)->n_vocab, TINY_VOCAB);
    tiny_stack_close(&s);
}

/* ---- what is refused ---- */

static void wrong_folders_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct tiny_folder_kind kind;
        enum error_code code;
        const char *says;
    } cases[] = {
        {{""}, ERROR_FORMAT, "config.json lacks model_type"},
        {{", \"model_type\": \"gpt_neox\""}, ERROR_UNSUPPORTED, "'gpt_neox' is not supported"},
        {{", \"model_type\": \"llama\"", .without = "model.layers.1.self_attn.v_proj.weight"},
         ERROR_FORMAT, "lacks tensor model.layers.1.self_attn.v_proj.weight"},
        {{", \"model_type\": \"llama\"", .without = "model.embed_tokens.weight"},
         ERROR_FORMAT, "lacks a matrix model.embed_tokens.weight"},
        {{", \"model_type\": \"llama\", \"tie_word_embeddings\": false", .is_tied = true},
         ERROR_FORMAT, "lacks tensor lm_head.weight"},
        {{", \"model_type\": \"qwen2\""}, ERROR_FORMAT, "model.layers.0.self_attn.q_proj.bias"},
        {{", \"model_type\": \"phi3\""}, ERROR_FORMAT, "model.layers.0.self_attn.qkv_proj.weight"},
        {{", \"model_type\": \"llama\"", .n_ff = 64, .extra = "model.layers.0.mlp.up_proj.global_scale"},
         ERROR_UNSUPPORTED, "global_scale"},
        {{", \"model_type\": \"llama\", \"attention_bias\": true",
          .extra = "model.layers.1.self_attn.o_proj.bias"},
         ERROR_UNSUPPORTED, "self_attn.o_proj.bias: a bias there"},
        {{", \"model_type\": \"llama\", \"mlp_bias\": true",
          .extra = "model.layers.0.mlp.down_proj.bias"},
         ERROR_UNSUPPORTED, "mlp.down_proj.bias: a bias there"},
        {{", \"model_type\": \"llama\", \"head_dim\": 7"}, ERROR_FORMAT, "7"},
        {{", \"model_type\": \"llama\", \"layer_types\": [\"sliding_attention\", \"linear\"], "
          "\"sliding_window\": 64"}, ERROR_UNSUPPORTED, "layer 1 is 'linear'"},
        {{", \"model_type\": \"llama\", \"layer_types\": [\"full_attention\"], "
          "\"sliding_window\": 64"}, ERROR_FORMAT, "layer_types has no string 1"},
        {{LLAMA("scaling\": {\"type\": \"dynamic\", \"factor\": 4}")},
         ERROR_UNSUPPORTED, "'dynamic' is not supported"},
        {{LLAMA("scaling\": {\"type\": \"yarn\", \"factor\": 4, \"truncate\": false}")},
         ERROR_UNSUPPORTED, "broken numbers"},
        {{LLAMA("scaling\": {\"type\": \"yarn\", \"factor\": 4, " FACTORS "}")},
         ERROR_UNSUPPORTED, "lists"},
        {{LLAMA("scaling\": {\"type\": \"llama3\", \"low_freq_factor\": 4}")},
         ERROR_FORMAT, "between 4 and 4 turns"},
        {{LLAMA("scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2]}")},
         ERROR_FORMAT, "rope_scaling.short_factor has 2 numbers, not 8"},
        {{LLAMA("scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2, 3, 4, 5, 6, 7, []]}")},
         ERROR_FORMAT, "rope_scaling.short_factor: item 7 is 0"},
        {{", \"model_type\": \"llama\", \"partial_rotary_factor\": 0"}, ERROR_FORMAT, "RoPE over"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_stack s;
        struct error err;
        tiny_stack_open_folder(&s, &cases[i].kind, 0, &err);
        assert_null(s.model);
        if (!strstr(err.message, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].says);
        assert_int_equal(err.code, cases[i].code);
        tiny_stack_close(&s);
    }
}

/* layer_types says whose window it is. */
static void a_window_may_be_one_layers_alone(void **state)
{
    (void)state;
    struct tiny_stack s;
    struct error err;
    tiny_stack_open_folder(&s, &(struct tiny_folder_kind){", \"model_type\": \"qwen2\", \"layer_types\": "
                 "[\"full_attention\", \"sliding_attention\"], \"sliding_window\": 64, "
                 "\"use_sliding_window\": true", .biases = TINY_BIASES}, 0, &err);
    assert_int_equal(model_kv_shape(s.model).layers[0].window, 0);
    assert_int_equal(model_kv_shape(s.model).layers[1].window, 64);
    tiny_stack_close(&s);
    tiny_stack_open_folder(&s, &(struct tiny_folder_kind){", \"model_type\": \"qwen2\", "
                 "\"max_window_layers\": 1, \"sliding_window\": 64, "
                 "\"use_sliding_window\": true", .biases = TINY_BIASES}, 0, &err);
    assert_int_equal(model_kv_shape(s.model).layers[0].window, 0);
    assert_int_equal(model_kv_shape(s.model).layers[1].window, 64);
    tiny_stack_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_computes_the_bits_of_gguf),
        cmocka_unit_test(other_words_are_other_bits),
        cmocka_unit_test(a_tied_folder_needs_no_output),
        cmocka_unit_test(vectors_may_have_sixteen_bits),
        cmocka_unit_test(the_bill_counts_what_is_made),
        cmocka_unit_test(a_window_may_be_one_layers_alone),
        cmocka_unit_test(wrong_folders_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
