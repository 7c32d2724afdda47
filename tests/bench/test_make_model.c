/* bench/make_model's files are what they say: every tensor of the shape is there, a loader takes
 * them, the numbers spread as they should, and the same seed gives the same bytes. The shapes are
 * the real ones made small. */
#include "backend/cpu/cpu.h"
#include "model/model.h"
#include "random_weights.h"
#include "text/tokenizer.h"
#include "weights/weights.h"
#include "write_model.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/pensieve-make-model-XXXXXX";
static char path[64], other_path[64];
static const struct write_model_options defaults = {
    .type = QUANT_Q4_0, .group = 64, .bits = 4, .seed = 1};

static struct model_shape small(const char *name)
{
    const struct model_shape *real = model_shape_find(name);
    assert_non_null(real);
    struct model_shape s = *real;
    s.n_layers = 2;
    s.n_embd = 256;
    s.n_ff = 512;
    s.n_heads = 4;
    s.n_kv_heads = real->n_kv_heads == real->n_heads ? 4 : 2;
    s.head_dim = 64;
    s.n_vocab = 1500;
    s.n_experts = real->n_experts ? 4 : 0;
    s.n_expert_ff = real->n_experts ? 256 : 0;
    return s;
}

static struct weights *made(const struct model_shape *shape,
                            const struct write_model_options *options)
{
    struct error err = {0};
    if (!write_gguf(shape, options, path, &err))
        fail_msg("%s", err.message);
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.message);
    return w;
}

static bool check_tensor(void *context, const struct model_shape_tensor *t)
{
    const struct weights_tensor *found = weights_tensor(context, t->name);
    if (!found)
        fail_msg("no %s", t->name);
    assert_int_equal(found->n_dims, t->n_dims);
    assert_memory_equal(found->shape, t->shape, sizeof t->shape);
    return true;
}

static void every_shape_is_written_whole(void **state)
{
    (void)state;
    for (size_t i = 0; model_shape_at(i); i++) {
        struct model_shape s = small(model_shape_at(i)->name);
        struct weights *w = made(&s, &defaults);
        assert_true(model_shape_tensors(&s, check_tensor, w));
        weights_close(w);
    }
}

static void the_tokenizer_gives_text_back(void **state)
{
    (void)state;
    static const char text[] = "Write a function, then test it: f(x) = 2*x\n";
    const char *const names[] = {"phi3-mini", "qwen2-0.5b"};
    for (int i = 0; i < 2; i++) {
        struct model_shape s = small(names[i]);
        struct weights *w = made(&s, &defaults);
        struct error err = {0};
        struct tokenizer *t = tokenizer_create(w, &err);
        if (!t)
            fail_msg("%s", err.message);
        struct token_list list = {0};
        assert_true(tokenizer_encode(t, text, strlen(text), 0, &list, &err));
        assert_true(list.n > 0 && list.n < strlen(text));
        char back[256];
        size_t n = 0;
        for (size_t k = 0; k < list.n; k++) {
            size_t n_piece;
            const char *piece = tokenizer_piece(t, list.ids[k], &n_piece);
            assert_true(n + n_piece < sizeof back);
            memcpy(back + n, piece, n_piece);
            n += n_piece;
        }
        const char *begin = back + (back[0] == ' '); /* SentencePiece's own space */
        assert_int_equal(back + n - begin, strlen(text));
        assert_memory_equal(begin, text, strlen(text));
        token_list_deinit(&list);
        tokenizer_destroy(t);
        weights_close(w);
    }
}

static void the_logits_are_finite(void **state)
{
    (void)state;
    struct error err = {0};
    struct model_shape s = small("qwen2-0.5b");
    struct weights *w = made(&s, &defaults);
    struct backend *be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1}, &err);
    assert_non_null(be);
    struct model *m = model_create(w, be, NULL, &err);
    if (!m)
        fail_msg("%s", err.message);
    struct backend_kv_shape kv = model_kv_shape(m);
    kv.n_pages = 2;
    assert_true(be->ops->kv_init(be, &kv, &err));
    struct backend_row rows[8];
    for (int i = 0; i < 8; i++)
        rows[i] = (struct backend_row){.token = 300 + i, .position = i, .wants_logits = i == 7};
    const struct backend_sequence sequence = {(uint32_t[]){0, 1}, 2};
    float *logits = calloc(s.n_vocab, sizeof *logits);
    assert_non_null(logits);
    assert_true(
        model_compute(m, &(struct backend_batch){rows, 8, &sequence, 1}, logits, &err));
    double squares = 0;
    for (uint32_t i = 0; i < s.n_vocab; i++)
        squares += (double)logits[i] * (double)logits[i];
    assert_true(isfinite(squares) && squares > 0);
    free(logits);
    model_destroy(m);
    be->ops->destroy(be);
    weights_close(w);
}

static void every_type_spreads_as_asked(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    const float asked = 0.02f;
    float *values = malloc(N * sizeof *values);
    void *blocks = malloc(N * sizeof(float));
    assert_non_null(values);
    assert_non_null(blocks);
    for (uint32_t type = 0; type < 64; type++) {
        const struct quant_traits *traits = quant_traits(type);
        if (!traits || random_weights_type(traits->name) < 0)
            continue;
        assert_int_equal(random_weights_type(traits->name), type);
        struct random_weights r;
        random_weights_init(&r, 1, traits->name);
        random_weights_fill(&r, type, 0, asked, blocks, N);
        traits->decode(blocks, values, N);
        double sum = 0, squares = 0;
        for (int i = 0; i < N; i++) {
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
        }
        double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
        if (!(fabs(mean) < 0.2 * (double)asked) ||
            !(deviation > 0.6 * (double)asked && deviation < 1.5 * (double)asked))
            fail_msg("%s: mean %g, deviation %g", traits->name, mean, deviation);
    }
    free(values);
    free(blocks);
    assert_int_equal(random_weights_type("Q4_0"), QUANT_Q4_0);
    assert_int_equal(random_weights_type("Q4"), -1);
}

static char *read_whole(const char *name, size_t *n)
{
    FILE *f = fopen(name, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*n + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *n, f), *n);
    data[*n] = 0;
    fclose(f);
    return data;
}

static void a_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    struct model_shape s = small("phi3-mini");
    struct write_model_options options = defaults;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        size_t n, n_other;
        weights_close(made(&s, &defaults));
        options.seed = seed;
        assert_true(write_gguf(&s, &options, other_path, NULL));
        char *data = read_whole(path, &n), *other = read_whole(other_path, &n_other);
        assert_int_equal(n, n_other);
        assert_true((memcmp(data, other, n) == 0) == (seed == 1));
        free(data);
        free(other);
    }
}

static void unlink_folder(void)
{
    static const char *const files[] = {"model.safetensors", "config.json", "generation_config.json",
                                        "tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/%s", folder, files[i]);
        assert_int_equal(unlink(name), 0);
    }
}

/* Tensors lie one after the other and fill the file. */
static void the_mlx_folder_is_whole(void **state)
{
    (void)state;
    char name[128];
    size_t n;
    uint64_t n_header;
    struct model_shape s = small("phi3-mini");
    assert_true(write_mlx(&s, &defaults, folder, NULL));
    snprintf(name, sizeof name, "%s/model.safetensors", folder);
    char *data = read_whole(name, &n);
    memcpy(&n_header, data, 8);
    json_t *header = json_loadb(data + 8, n_header, 0, NULL), *tensor;
    assert_non_null(header);
    json_int_t end = 0, sum = 0;
    const char *key;
    json_object_foreach(header, key, tensor)
    {
        json_t *offsets = json_object_get(tensor, "data_offsets");
        json_int_t to = json_integer_value(json_array_get(offsets, 1));
        sum += to - json_integer_value(json_array_get(offsets, 0));
        end = to > end ? to : end;
    }
    assert_int_equal(sum, end);
    assert_int_equal(8 + n_header + (uint64_t)end, n);
    tensor = json_object_get(header, "model.layers.1.self_attn.qkv_proj.weight");
    json_t *shape = json_object_get(tensor, "shape");
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), 3 * 256);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), 256 / 8);
    assert_non_null(json_object_get(header, "model.layers.0.mlp.gate_up_proj.scales"));
    assert_non_null(json_object_get(header, "lm_head.biases"));
    json_decref(header);
    free(data);
    snprintf(name, sizeof name, "%s/config.json", folder);
    json_t *config = json_load_file(name, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(config, "hidden_size")), 256);
    json_decref(config);
    unlink_folder();
}

/* As stacked as mlx-lm stacks them, each router by itself in the config. */
static void experts_are_one_tensor_of_the_folder(void **state)
{
    (void)state;
    struct error err = {0};
    struct model_shape s = small("qwen3-30b-a3b");
    if (!write_mlx(&s, &defaults, folder, &err))
        fail_msg("%s", err.message);
    struct weights *w = weights_open(folder, &err);
    if (!w)
        fail_msg("%s", err.message);
    struct matrix m;
    assert_true(weights_matrix(w, "model.layers.1.mlp.switch_mlp.down_proj.weight", &m));
    assert_int_equal(m.type, QUANT_AFFINE_4);
    assert_int_equal(m.n_experts, 4);
    assert_int_equal(m.n_rows, 256);
    assert_int_equal(m.n_cols, 256);
    assert_true(weights_matrix(w, "model.layers.1.mlp.gate.weight", &m));
    assert_int_equal(m.type, QUANT_AFFINE_8);
    weights_close(w);
    unlink_folder();
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    snprintf(other_path, sizeof other_path, "%s/other.gguf", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(other_path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_is_written_whole),
        cmocka_unit_test(the_tokenizer_gives_text_back),
        cmocka_unit_test(the_logits_are_finite),
        cmocka_unit_test(every_type_spreads_as_asked),
        cmocka_unit_test(a_seed_gives_the_same_bytes),
        cmocka_unit_test(the_mlx_folder_is_whole),
        cmocka_unit_test(experts_are_one_tensor_of_the_folder),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
