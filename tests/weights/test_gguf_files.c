/* The real model files, opened whole: counts, types, shapes and metadata as their makers wrote
 * them. */
#include "weights/weights.h"

#include "base/clock.h"
#include "support/test_models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char qwen_file[] = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
static const char smollm_file[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

static struct weights *open_model(const char *file)
{
    char path[4096];
    struct error err;
    test_models_path(path, sizeof path, file);
    int64_t begin_ms = clock_now_ms();
    struct weights *w = weights_open(path, &err);
    int64_t ms = clock_now_ms() - begin_ms;
    if (!w)
        fail_msg("%s", err.message);
    print_message("%s: opened in %lld ms\n", file, (long long)ms);
    return w;
}

static size_t count(const struct weights *w, enum quant_type type)
{
    size_t n = 0;
    for (size_t i = 0; i < weights_n_tensors(w); i++)
        n += weights_tensor_at(w, i)->type == type;
    return n;
}

static void assert_string(const struct weights *w, const char *key, const char *expected)
{
    struct weights_string s;
    if (!weights_string(w, key, &s))
        fail_msg("%s is missing", key);
    if (s.len != strlen(expected) || memcmp(s.data, expected, s.len))
        fail_msg("%s is \"%.*s\"", key, (int)s.len, s.data);
}

static void assert_uint(const struct weights *w, const char *key, uint64_t expected)
{
    uint64_t v = ~expected;
    if (!weights_uint(w, key, &v) || v != expected)
        fail_msg("%s is %llu", key, (unsigned long long)v);
}

/* Every tensor decodes at its first and last block to finite numbers. */
static void assert_decodable(const struct weights *w)
{
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        const struct quant_traits *traits = quant_traits(t->type);
        const uint8_t *data = t->data;
        float out[256];
        assert_int_equal((uintptr_t)data % 32, 0);
        for (int last = 0; last < 2; last++) {
            traits->decode(data + last * (t->n_bytes - traits->block_bytes), out,
                           traits->block_elements);
            for (uint32_t k = 0; k < traits->block_elements; k++)
                if (!(out[k] > -1000 && out[k] < 1000))
                    fail_msg("%s: %g", t->name, (double)out[k]);
        }
    }
}

static void qwen_is_as_its_makers_wrote_it(void **state)
{
    (void)state;
    struct weights *w = open_model(qwen_file);
    assert_string(w, "general.architecture", "qwen2");
    assert_uint(w, "qwen2.block_count", 24);
    assert_uint(w, "qwen2.context_length", 32768);
    assert_int_equal(weights_n_tensors(w), 291);
    assert_int_equal(count(w, QUANT_Q5_0), 133);
    assert_int_equal(count(w, QUANT_Q8_0), 13);
    assert_int_equal(count(w, QUANT_Q6_K), 12);
    assert_int_equal(count(w, QUANT_Q4_K), 12);
    assert_int_equal(count(w, QUANT_F32), 121);
    const struct weights_tensor *t = weights_tensor(w, "token_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->shape[0], 896);
    assert_int_equal(t->shape[1], 151936);
    assert_int_equal(weights_array_len(w, "tokenizer.ggml.tokens"), 151936);
    struct weights_string s;
    assert_true(weights_array_string(w, "tokenizer.ggml.tokens", 151645, &s));
    assert_int_equal(s.len, 10);
    assert_memory_equal(s.data, "<|im_end|>", 10);
    assert_decodable(w);
    weights_close(w);
}

static void smollm_is_as_its_makers_wrote_it(void **state)
{
    (void)state;
    struct weights *w = open_model(smollm_file);
    assert_string(w, "general.architecture", "llama");
    assert_uint(w, "llama.block_count", 30);
    assert_int_equal(weights_array_len(w, "tokenizer.ggml.tokens"), 49152);
    assert_int_equal(weights_n_tensors(w), 272);
    assert_int_equal(count(w, QUANT_F32), 61);
    assert_true(count(w, QUANT_Q4_1) > 100);
    assert_decodable(w);
    weights_close(w);
}

int main(void)
{
    static const char *const files[] = {qwen_file, smollm_file};
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        if (!test_models_find(path, sizeof path, files[i]))
            return TEST_MODELS_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen_is_as_its_makers_wrote_it),
        cmocka_unit_test(smollm_is_as_its_makers_wrote_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
