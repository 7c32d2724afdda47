/* Folders as MLX and safetensors have written them (scripts/golden/weights_folders.py): every
 * quantized matrix is what MLX says it is, bit for bit. */
#include "weights/weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *golden;

static struct weights *open_golden(const char *name)
{
    char path[4096];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", golden, name);
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.message);
    return w;
}

static void assert_same_rows(const char *name, const struct matrix *m, const struct matrix *exact)
{
    float row[512], expected[512];
    assert_int_equal(m->n_cols, exact->n_cols);
    assert_int_equal(m->n_rows, exact->n_rows);
    assert_int_equal(m->n_experts, exact->n_experts);
    assert_true(m->n_cols <= 512);
    for (size_t e = 0; e < m->n_experts; e++) {
        const struct matrix one = matrix_expert(m, e), other = matrix_expert(exact, e);
        for (size_t r = 0; r < m->n_rows; r++) {
            matrix_decode(&one, r, row);
            matrix_decode(&other, r, expected);
            if (memcmp(row, expected, m->n_cols * sizeof *row) != 0)
                fail_msg("%s: row %zu of expert %zu differs", name, r, e);
        }
    }
}

static void every_quantized_matrix_is_as_mlx_says(void **state)
{
    (void)state;
    struct weights *w = open_golden("quantized"), *expected = open_golden("expected");
    assert_true(weights_is_mlx(w));
    assert_int_equal(weights_n_tensors(w), weights_n_tensors(expected));
    for (size_t i = 0; i < weights_n_tensors(expected); i++) {
        const char *name = weights_tensor_at(expected, i)->name;
        struct matrix m, exact;
        struct error err = {0};
        assert_true(weights_matrix(expected, name, &exact));
        if (!weights_matrix(w, name, &m))
            fail_msg("%s is missing", name);
        assert_int_equal(m.n_cols, exact.n_cols);
        if (!matrix_check(&m, &err))
            fail_msg("%s: %s", name, err.message);
        assert_same_rows(name, &m, &exact);
    }
    /* 6 widths, 3 groups, 3 types of scales, and experts; mxfp4, nvfp4 and mxfp8 */
    assert_int_equal(weights_n_tensors(expected), 58);
    weights_close(w);
    weights_close(expected);
}

static bool is_in_file(const struct weights *w, const void *data)
{
    struct weights_file file = weights_file_at(w, 0);
    return (const char *)data >= (const char *)file.data &&
           (const char *)data < (const char *)file.data + file.size;
}

static void mlx_lm_writes_what_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *type;
        uint32_t group;
        uint64_t shape[2];
    } rows[] = {
        {"model.embed_tokens.weight", "AFFINE_4", 64, {64, 96}},
        {"model.layers.0.self_attn.q_proj.weight", "AFFINE_4", 64, {64, 64}},
        {"model.layers.0.self_attn.o_proj.weight", "AFFINE_8", 32, {64, 64}},
        {"model.layers.1.mlp.down_proj.weight", "MXFP4", 32, {128, 64}},
        {"model.layers.0.mlp.up_proj.weight", "AFFINE_4", 64, {64, 128}},
        {"model.layers.1.mlp.up_proj.weight", "F16", 0, {64, 128}},
        {"model.norm.weight", "F16", 0, {64, 1}},
    };
    struct weights *w = open_golden("mlx");
    assert_int_equal(weights_format(w), WEIGHTS_SAFETENSORS);
    assert_int_equal(weights_n_tensors(w), 20);
    assert_null(weights_tensor(w, "model.embed_tokens.scales"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct weights_tensor *t = weights_tensor(w, rows[i].name);
        if (!t)
            fail_msg("%s is missing", rows[i].name);
        assert_string_equal(t->type_name, rows[i].type);
        assert_int_equal(t->group, rows[i].group);
        assert_int_equal(t->shape[0], rows[i].shape[0]);
        assert_int_equal(t->shape[1], rows[i].shape[1]);
        if (t->n_dims > 1)
            assert_true(is_in_file(w, t->data));
        else
            assert_int_equal((uintptr_t)t->data % 2, 0);
    }
    /* by the module's name, as the network will ask */
    struct matrix m, again;
    assert_true(weights_matrix(w, "model.layers.0.self_attn.o_proj", &m));
    assert_true(weights_matrix(w, "model.layers.0.self_attn.o_proj.weight", &again));
    assert_memory_equal(m.parts, again.parts, sizeof m.parts);
    assert_int_equal(m.type, QUANT_AFFINE_8);
    assert_int_equal(m.scale, MATRIX_SCALE_F16);
    assert_false(weights_matrix(w, "model.layers.0.self_attn", &m));
    weights_close(w);
}

static void mlx_configs_are_asked(void **state)
{
    (void)state;
    struct weights *w = open_golden("mlx");
    uint64_t u;
    float x;
    bool yes;
    struct weights_string s;
    assert_true(weights_config_uint(w, "hidden_size", &u) && u == 64);
    assert_true(weights_config_float(w, "rope_scaling.factor", &x) && x == 2);
    assert_true(weights_config_float(w, "max_position_embeddings", &x) && x == 512);
    assert_true(weights_config_bool(w, "tie_word_embeddings", &yes) && yes);
    assert_true(weights_config_string(w, "model_type", &s) && s.len == 5 &&
                !memcmp(s.data, "llama", 5));
    assert_int_equal(weights_config_array_len(w, "architectures"), 1);
    assert_true(weights_config_array_string(w, "architectures", 0, &s) && s.len == 16);
    assert_true(weights_config_array_uint(w, "generation.eos_token_id", 1, &u) && u == 32007);
    assert_true(weights_config_float(w, "generation.temperature", &x) && x == 0.7f);
    assert_true(weights_config_string(w, "tokenizer.eos_token", &s) && s.len == 4);
    assert_true(weights_config_float(w, "tokenizer.model_max_length", &x) && x == 1e30f);
    assert_false(weights_config_uint(w, "tokenizer.model_max_length", &u));
    assert_false(weights_config_uint(w, "model_type", &u));
    assert_false(weights_config_uint(w, "hidden_size.x", &u));
    assert_false(weights_config_string(w, "generation.nothing", &s));
    assert_false(weights_uint(w, "hidden_size", &u)); /* these are GGUF's */
    assert_true(weights_text(w, "generation_config.json", &s) && s.data[0] == '{');
    assert_false(weights_text(w, "tokenizer.json", &s));
    assert_string_equal(weights_text_name(w, 0), "tokenizer_config.json");
    assert_null(weights_text_name(w, 3));
    weights_close(w);
}

/* Element i of each tensor is i / 2 - 3. */
static void assert_ramp(const struct weights *w, const char *name, size_t n_cols, size_t n_rows,
                        size_t n_experts)
{
    struct matrix m;
    float row[16], next = -3;
    if (!weights_matrix(w, name, &m))
        fail_msg("%s is missing", name);
    assert_int_equal(m.n_cols, n_cols);
    assert_int_equal(m.n_rows, n_rows);
    assert_int_equal(m.n_experts, n_experts);
    for (size_t e = 0; e < n_experts; e++)
        for (size_t r = 0; r < n_rows; r++) {
            const struct matrix one = matrix_expert(&m, e);
            matrix_decode(&one, r, row);
            for (size_t i = 0; i < n_cols; i++, next += 0.5f)
                assert_true(row[i] == next);
        }
}

static void plain_shards_are_read(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "plain/", "plain/config.json",
                                        "plain/model.safetensors.index.json",
                                        "plain/model-00002-of-00002.safetensors"};
    uint64_t first[2], hash[2];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct weights *w = open_golden(names[i]);
        struct matrix m;
        assert_false(weights_is_mlx(w));
        assert_int_equal(weights_n_files(w), 2);
        assert_int_equal(weights_n_tensors(w), 8);
        assert_int_equal(weights_file_bytes(w), 388 + 576);
        assert_ramp(w, "f32.weight", 8, 3, 1);
        assert_ramp(w, "f16", 5, 2, 1);
        assert_ramp(w, "bf16", 3, 4, 1);
        assert_ramp(w, "norm", 7, 1, 1);
        assert_ramp(w, "scalar", 1, 1, 1);
        assert_ramp(w, "conv", 4, 1, 6);
        assert_ramp(w, "deep", 3, 1, 4);
        assert_false(weights_matrix(w, "position_ids", &m));
        assert_string_equal(weights_tensor(w, "position_ids")->type_name, "I64");
        assert_int_equal(weights_made_bytes(w), 0); /* its writer aligns */
        weights_fingerprint(w, i ? hash : first);
        if (i)
            assert_memory_equal(hash, first, sizeof hash);
        weights_close(w);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_quantized_matrix_is_as_mlx_says),
        cmocka_unit_test(mlx_lm_writes_what_is_read),
        cmocka_unit_test(mlx_configs_are_asked),
        cmocka_unit_test(plain_shards_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
