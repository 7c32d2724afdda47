/* Whole models through convert: what comes out opens, has the tensors and the words of what went in,
 * and whatever is wrong or breaks off leaves nothing behind. */
#include "convert/convert.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "weights/weights.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_PATH = 256 };

static char in_path[MAX_PATH], out_path[MAX_PATH];

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_tiny(const char *architecture)
{
    struct tiny_model m;
    tiny_model_init_as(&m, architecture, NULL);
    snprintf(in_path, sizeof in_path, "%s/in.gguf", temp_folder);
    snprintf(out_path, sizeof out_path, "%s/out", temp_folder);
    write_file(in_path, m.data, m.size);
    tiny_model_deinit(&m);
}

static bool convert(const char *type, struct error *err)
{
    const struct convert_options o = {.type = type, .n_threads = 2, .group = 32};
    return convert_model(in_path, out_path, &o, NULL, NULL, err);
}

/* What lies in the folder apart from the input; "" if nothing does. */
static const char *left_behind(void)
{
    static char name[256];
    DIR *dir = opendir(temp_folder);
    name[0] = '\0';
    for (const struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.' && strncmp(e->d_name, "in", 2) != 0)
            snprintf(name, sizeof name, "%s", e->d_name);
    closedir(dir);
    return name;
}

static struct weights *open_model(const char *path)
{
    struct error err = {0};
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.message);
    return w;
}

static float *decode(const struct weights *w, const char *name, struct matrix *m)
{
    struct error err = {0};
    assert_true(weights_matrix(w, name, m));
    assert_true(matrix_check(m, &err));
    float *out = malloc(m->n_rows * m->n_cols * sizeof *out);
    for (size_t r = 0; r < m->n_rows; r++)
        matrix_decode(m, r, out + r * m->n_cols);
    return out;
}

/* How much of tensor a is lost in tensor b, whose rows `row` orders. */
static double lost(const struct weights *a, const char *name_a, const struct weights *b,
                   const char *name_b, size_t (*row)(size_t))
{
    struct matrix ma, mb;
    float *xa = decode(a, name_a, &ma), *xb = decode(b, name_b, &mb);
    double sum = 0, all = 0;
    assert_int_equal(ma.n_rows, mb.n_rows);
    assert_int_equal(ma.n_cols, mb.n_cols);
    for (size_t r = 0; r < ma.n_rows; r++)
        for (size_t i = 0; i < ma.n_cols; i++) {
            const double x = (double)xa[(row ? row(r) : r) * ma.n_cols + i];
            const double d = x - (double)xb[r * ma.n_cols + i];
            sum += d * d;
            all += x * x;
        }
    free(xa);
    free(xb);
    return sqrt(sum / all);
}

/* ---- to GGUF ---- */

static void check_metadata(const struct weights *in, const struct weights *out, uint64_t file_type)
{
    uint64_t n = 99;
    for (size_t i = 0; i < weights_n_meta(in); i++) {
        const struct weights_raw a = weights_meta_raw(in, i);
        size_t k = 0;
        const struct weights_string key = weights_meta_at(in, i).key;
        while (k < weights_n_meta(out) &&
               (weights_meta_at(out, k).key.len != key.len ||
                memcmp(weights_meta_at(out, k).key.data, key.data, key.len) != 0))
            k++;
        assert_true(k < weights_n_meta(out));
        const struct weights_raw b = weights_meta_raw(out, k);
        assert_int_equal(a.type, b.type);
        assert_int_equal(a.n_bytes, b.n_bytes);
        assert_memory_equal(a.data, b.data, a.n_bytes);
    }
    assert_true(weights_uint(out, "general.file_type", &n));
    assert_int_equal(n, file_type);
}

static void test_every_gguf_type(void **state)
{
    /* rows are of 64 and 96: types of 256 give way to smaller blocks */
    static const struct {
        const char *type;
        uint64_t file_type;
        const char *matrix, *output;
        double most;
    } types[] = {
        {"F32", 0, "F32", "F32", 0},
        {"f16", 1, "F16", "F16", 1e-3},
        {"BF16", 32, "BF16", "BF16", 1e-2},
        {"Q8_0", 7, "Q8_0", "Q8_0", 0.01},
        {"Q5_1", 9, "Q5_1", "Q8_0", 0.05},
        {"Q5_0", 8, "Q5_0", "Q8_0", 0.06},
        {"Q4_1", 3, "Q4_1", "Q8_0", 0.1},
        {"Q4_0", 2, "Q4_0", "Q8_0", 0.1},
        {"IQ4_NL", 25, "IQ4_NL", "Q8_0", 0.1},
        {"MXFP4", 38, "MXFP4", "Q8_0", 0.15},
        {"Q6_K", 18, "Q8_0", "Q8_0", 0.01},
        {"Q5_K_M", 17, "Q5_1", "Q8_0", 0.05},
        {"Q5_K_S", 16, "Q5_1", "Q8_0", 0.05},
        {"Q4_K", 15, "Q5_0", "Q8_0", 0.06},
        {"Q4_K_S", 14, "Q5_0", "Q8_0", 0.06},
        {"IQ4_XS", 30, "IQ4_NL", "Q8_0", 0.1},
        {"Q3_K_L", 13, "Q4_0", "Q8_0", 0.1},
        {"Q3_K_M", 12, "Q4_0", "Q8_0", 0.1},
        {"Q3_K_S", 11, "Q4_0", "Q8_0", 0.1},
        {"Q2_K", 10, "Q4_0", "Q8_0", 0.1},
    };
    (void)state;
    write_tiny("llama");
    struct weights *in = open_model(in_path);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct error err = {0};
        if (!convert(types[i].type, &err))
            fail_msg("%s: %s", types[i].type, err.message);
        struct weights *out = open_model(out_path);
        check_metadata(in, out, types[i].file_type);
        assert_int_equal(weights_n_tensors(in), weights_n_tensors(out));
        assert_string_equal(weights_tensor(out, "blk.1.attn_q.weight")->type_name,
                            types[i].matrix);
        assert_string_equal(weights_tensor(out, "output.weight")->type_name, types[i].output);
        assert_string_equal(weights_tensor(out, "output_norm.weight")->type_name, "F32");
        for (size_t k = 0; k < weights_n_tensors(in); k++) {
            const char *name = weights_tensor_at(in, k)->name;
            if (lost(in, name, out, name, NULL) > types[i].most)
                fail_msg("%s loses too much of %s", types[i].type, name);
        }
        weights_close(out);
        assert_string_equal(left_behind(), "out");
        unlink(out_path);
    }
    weights_close(in);
}

/* ---- to a folder ---- */

/* Row r of a folder's q is this one of GGUF's: the halves of a head of 16 one behind the other. */
static size_t in_turns(size_t r)
{
    const size_t i = r % TINY_HEAD_DIM, half = TINY_HEAD_DIM / 2;
    return r - i + i % half * 2 + i / half;
}

static void check_folder_words(const struct weights *out, const char *type)
{
    uint64_t n = 0;
    float theta = 0;
    struct weights_string s;
    assert_true(weights_is_mlx(out));
    assert_true(weights_config_string(out, "model_type", &s));
    assert_int_equal(s.len, strlen(type));
    assert_memory_equal(s.data, type, s.len);
    assert_true(weights_config_uint(out, "num_hidden_layers", &n));
    assert_int_equal(n, TINY_LAYERS);
    assert_true(weights_config_uint(out, "vocab_size", &n));
    assert_int_equal(n, TINY_VOCAB);
    assert_true(weights_config_uint(out, "num_key_value_heads", &n));
    assert_int_equal(n, TINY_KV_HEADS);
    assert_true(weights_config_uint(out, "generation.eos_token_id", &n));
    assert_int_equal(n, TINY_END);
    assert_true(weights_config_float(out, "rope_theta", &theta));
    assert_true(theta == 10000);
    assert_true(weights_text(out, "tokenizer.json", &s));
    assert_non_null(strstr(s.data, "\"<|mark|>\", \"single_word\""));
    assert_non_null(strstr(s.data, "\"ab\": 259"));
}

static void test_every_folder_type(void **state)
{
    static const struct {
        const char *type, *matrix;
        double most;
    } types[] = {{"MLX_8", "AFFINE_8", 0.01}, {"MLX_6", "AFFINE_6", 0.03},
                 {"MLX_5", "AFFINE_5", 0.05}, {"MLX_4", "AFFINE_4", 0.1},
                 {"MLX_3", "AFFINE_3", 0.25}, {"MLX_2", "AFFINE_2", 0.5},
                 {"MLX_MXFP4", "MXFP4", 0.15}, {"MLX_F16", "F16", 1e-3},
                 {"MLX_BF16", "BF16", 1e-2},  {"MLX_F32", "F32", 0}};
    static const char q[] = "model.layers.1.self_attn.q_proj.weight";
    (void)state;
    write_tiny("llama");
    struct weights *in = open_model(in_path);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct error err = {0};
        char command[MAX_PATH + 16];
        if (!convert(types[i].type, &err))
            fail_msg("%s: %s", types[i].type, err.message);
        struct weights *out = open_model(out_path);
        check_folder_words(out, "llama");
        assert_int_equal(weights_n_tensors(in), weights_n_tensors(out));
        assert_string_equal(weights_tensor(out, q)->type_name, types[i].matrix);
        assert_true(lost(in, "blk.1.attn_q.weight", out, q, in_turns) <= types[i].most);
        assert_true(lost(in, "blk.1.attn_q.weight", out, q, NULL) > 0.5);
        assert_true(lost(in, "blk.0.attn_k.weight", out, "model.layers.0.self_attn.k_proj.weight",
                         in_turns) <= types[i].most);
        assert_true(lost(in, "blk.0.ffn_down.weight", out, "model.layers.0.mlp.down_proj.weight",
                         NULL) <= types[i].most);
        assert_true(lost(in, "output.weight", out, "lm_head.weight", NULL) <= types[i].most);
        weights_close(out);
        assert_string_equal(left_behind(), "out");
        snprintf(command, sizeof command, "rm -r %s", out_path);
        assert_int_equal(system(command), 0);
    }
    weights_close(in);
}

/* Other networks keep the order of rows; phi3 its matrices in one. */
static void test_folders_of_others(void **state)
{
    struct error err = {0};
    (void)state;
    write_tiny("phi3");
    struct weights *in = open_model(in_path);
    assert_true(convert("MLX_8", &err));
    struct weights *out = open_model(out_path);
    check_folder_words(out, "phi3");
    assert_true(lost(in, "blk.1.attn_qkv.weight", out, "model.layers.1.self_attn.qkv_proj.weight",
                     NULL) <= 0.01);
    assert_true(lost(in, "blk.1.ffn_up.weight", out, "model.layers.1.mlp.gate_up_proj.weight",
                     NULL) <= 0.01);
    weights_close(out);
    weights_close(in);
}

/* ---- out of a folder ---- */

static bool convert_from(const char *in, const char *out, const char *type, struct error *err)
{
    const struct convert_options o = {.type = type, .n_threads = 2, .group = 32};
    return convert_model(in, out, &o, NULL, NULL, err);
}

/* An entry of both that says the same, byte for byte. */
static void check_same_key(const struct weights *a, const struct weights *b, const char *key)
{
    struct weights_raw raw[2] = {{0}, {0}};
    const struct weights *const both[2] = {a, b};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < weights_n_meta(both[k]); i++) {
            const struct weights_string name = weights_meta_at(both[k], i).key;
            if (name.len == strlen(key) && !memcmp(name.data, key, name.len))
                raw[k] = weights_meta_raw(both[k], i);
        }
    if (!raw[0].data || !raw[1].data || raw[0].type != raw[1].type ||
        raw[0].n_bytes != raw[1].n_bytes ||
        memcmp(raw[0].data, raw[1].data, raw[0].n_bytes) != 0)
        fail_msg("%s is not the same", key);
}

/* To a folder and back: the same model to the bit. */
static void check_there_and_back(const char *architecture)
{
    static const char *const own[] = {"block_count",
                                      "context_length",
                                      "embedding_length",
                                      "feed_forward_length",
                                      "attention.head_count",
                                      "attention.head_count_kv",
                                      "attention.layer_norm_rms_epsilon",
                                      "rope.freq_base"};
    static const char *const common[] = {
        "tokenizer.ggml.model",      "tokenizer.ggml.pre",    "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.eos_token_id"};
    char back[MAX_PATH];
    struct error err = {0};
    write_tiny(architecture);
    snprintf(back, sizeof back, "%s/back.gguf", temp_folder);
    if (!convert_from(in_path, out_path, "MLX_F32", &err) ||
        !convert_from(out_path, back, "F32", &err))
        fail_msg("%s", err.message);
    struct weights *in = open_model(in_path), *out = open_model(back);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", architecture, own[i]);
        check_same_key(in, out, key);
    }
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        check_same_key(in, out, common[i]);
    assert_int_equal(weights_n_tensors(in), weights_n_tensors(out));
    for (size_t i = 0; i < weights_n_tensors(in); i++) {
        const struct weights_tensor *a = weights_tensor_at(in, i);
        const struct weights_tensor *b = weights_tensor(out, a->name);
        assert_non_null(b);
        assert_int_equal(a->n_dims, b->n_dims);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        assert_true(lost(in, a->name, out, a->name, NULL) == 0);
    }
    weights_close(in);
    weights_close(out);
}

static void test_there_and_back(void **state)
{
    (void)state;
    check_there_and_back("llama");
    char command[MAX_PATH + 16];
    snprintf(command, sizeof command, "rm -r %s/*", temp_folder);
    assert_int_equal(system(command), 0);
    check_there_and_back("phi3");
}

/* MLX's folder to every other kind; what is in the wanted form already is not made anew. */
static void test_folders_to_others(void **state)
{
    static const struct {
        const char *type, *matrix;
    } types[] = {{"MLX_8", "AFFINE_8"}, {"MLX_4", "AFFINE_4"}, {"MLX_BF16", "BF16"},
                 {"Q8_0", "Q8_0"},      {"Q4_K_M", "Q5_0"},    {"F16", "F16"}};
    char other[MAX_PATH];
    struct error err = {0};
    (void)state;
    write_tiny("llama");
    assert_true(convert_from(in_path, out_path, "MLX_8", &err));
    struct weights *in = open_model(in_path), *mlx = open_model(out_path);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(other, sizeof other, "%s/other%zu", temp_folder, i);
        if (!convert_from(out_path, other, types[i].type, &err))
            fail_msg("%s: %s", types[i].type, err.message);
        struct weights *out = open_model(other);
        const bool is_folder = weights_format(out) == WEIGHTS_SAFETENSORS;
        const char *q = is_folder ? "model.layers.1.self_attn.q_proj.weight"
                                  : "blk.1.attn_q.weight";
        assert_string_equal(weights_tensor(out, q)->type_name, types[i].matrix);
        assert_true(lost(in, "blk.1.attn_q.weight", out, q, is_folder ? in_turns : NULL) < 0.15);
        if (!i)
            assert_true(lost(mlx, q, out, q, NULL) == 0);
        weights_close(out);
    }
    weights_close(in);
    weights_close(mlx);
}

/* ---- importance ---- */

enum { N_COLS = TINY_EMBD };

static const char important[] = "blk.0.ffn_up.weight";

/* Columns that matter more and more. */
static float importance_of(size_t i)
{
    return expf((float)i / 8);
}

/* llama.cpp's older form: of one matrix of n columns, summed over three calls. */
static size_t put_dat(struct buf *b, int32_t n)
{
    const int32_t head[] = {1, (int32_t)strlen(important)}, calls[] = {3, n}, chunks = 7;
    buf_init(b, 1 << 16);
    buf_append(b, head, sizeof head);
    buf_puts(b, important);
    buf_append(b, calls, sizeof calls);
    for (int32_t i = 0; i < n; i++)
        buf_append(b, &(float){3 * importance_of((size_t)i)}, sizeof(float));
    const size_t n_needed = b->len;
    buf_append(b, &chunks, sizeof chunks);
    return n_needed;
}

/* And its GGUF form. */
static void put_gguf(const char *path)
{
    struct gguf_builder g;
    float sums[N_COLS];
    char name[64];
    size_t size;
    for (size_t i = 0; i < N_COLS; i++)
        sums[i] = 5 * importance_of(i);
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.type", "imatrix");
    gguf_builder_u32(&g, "imatrix.chunk_count", 7);
    snprintf(name, sizeof name, "%s.in_sum2", important);
    gguf_builder_tensor(&g, name, sums, N_COLS, 0);
    snprintf(name, sizeof name, "%s.counts", important);
    gguf_builder_tensor(&g, name, &(const float){5}, 1, 0);
    void *file = gguf_builder_finish(&g, &size);
    write_file(path, file, size);
    free(file);
}

static double lost_by_importance(const struct weights *a, const struct weights *b)
{
    struct matrix m;
    float *x = decode(a, important, &m), *y = decode(b, important, &m);
    double sum = 0;
    for (size_t i = 0; i < m.n_rows * m.n_cols; i++) {
        const double d = (double)x[i] - (double)y[i];
        sum += (double)importance_of(i % m.n_cols) * d * d;
    }
    free(x);
    free(y);
    return sqrt(sum);
}

static void test_importance(void **state)
{
    char matrix[MAX_PATH];
    struct error err = {0};
    struct buf dat;
    double loss[3];
    (void)state;
    write_tiny("llama");
    snprintf(matrix, sizeof matrix, "%s/in.imatrix", temp_folder);
    struct weights *in = open_model(in_path);
    for (int i = 0; i < 3; i++) {
        struct convert_options o = {.type = "Q4_0", .importance = i ? matrix : NULL, .force = true};
        uint64_t n = 0;
        put_dat(&dat, N_COLS);
        if (i == 1)
            write_file(matrix, dat.data, dat.len);
        else
            put_gguf(matrix);
        buf_deinit(&dat);
        if (!convert_model(in_path, out_path, &o, NULL, NULL, &err))
            fail_msg("%s", err.message);
        struct weights *out = open_model(out_path);
        loss[i] = lost_by_importance(in, out);
        assert_true(weights_uint(out, "quantize.imatrix.chunks_count", &n) == (i > 0));
        assert_int_equal(n, i ? 7 : 0);
        weights_close(out);
    }
    if (loss[1] >= 0.97 * loss[0])
        fail_msg("%g is lost, without importance %g", loss[1], loss[0]);
    assert_true(fabs(loss[2] - loss[1]) < 0.01 * loss[1]); /* thirds are not exact */
    weights_close(in);
}

/* Another model's, and one that is cut anywhere. */
static void test_wrong_importance(void **state)
{
    char matrix[MAX_PATH];
    struct error err = {0};
    struct buf dat;
    (void)state;
    write_tiny("llama");
    snprintf(matrix, sizeof matrix, "%s/in.imatrix", temp_folder);
    const struct convert_options o = {.type = "Q4_0", .importance = matrix};
    put_dat(&dat, N_COLS / 2);
    write_file(matrix, dat.data, dat.len);
    buf_deinit(&dat);
    assert_false(convert_model(in_path, out_path, &o, NULL, NULL, &err));
    assert_non_null(strstr(err.message, "has 32 values for blk.0.ffn_up.weight"));
    const size_t n_needed = put_dat(&dat, N_COLS);
    for (size_t n = 0; n < n_needed; n++) {
        write_file(matrix, dat.data, n);
        assert_false(convert_model(in_path, out_path, &o, NULL, NULL, &err));
        assert_int_equal(err.code, ERROR_FORMAT);
    }
    const float bad = -1;
    memcpy(dat.data + n_needed - sizeof bad, &bad, sizeof bad);
    write_file(matrix, dat.data, dat.len);
    assert_false(convert_model(in_path, out_path, &o, NULL, NULL, &err));
    assert_non_null(strstr(err.message, "is negative or not finite"));
    dat.data[10] = 'x'; /* the name of another matrix */
    memcpy(dat.data + n_needed - sizeof bad, &(const float){1}, sizeof bad);
    write_file(matrix, dat.data, dat.len);
    assert_false(convert_model(in_path, out_path, &o, NULL, NULL, &err));
    assert_non_null(strstr(err.message, "has none of the model's tensors"));
    buf_deinit(&dat);
    assert_string_equal(left_behind(), "");
}

/* ---- what is not made ---- */

static void check_refusal(const char *type, enum error_code code, const char *words)
{
    struct error err = {0};
    assert_false(convert(type, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    assert_string_equal(left_behind(), "");
}

static void test_refusals(void **state)
{
    struct error err = {0};
    (void)state;
    write_tiny("llama");
    check_refusal("Q9_9", ERROR_USAGE, "the type Q9_9 is not known; there are F32, F16");
    struct tiny_model m;
    tiny_model_init(&m);
    write_file(in_path, m.data, m.size - 4000);
    check_refusal("Q4_0", ERROR_FORMAT, "");
    const float nan = NAN;
    memcpy((char *)m.data + m.size - 4000, &nan, sizeof nan);
    write_file(in_path, m.data, m.size);
    check_refusal("Q4_0", ERROR_FORMAT, "has a weight that is no finite number");
    check_refusal("MLX_4", ERROR_FORMAT, "has a weight that is no finite number");
    tiny_model_deinit(&m);
    unlink(in_path);
    check_refusal("Q4_0", ERROR_NOT_FOUND, "in.gguf");

    write_tiny("mamba");
    check_refusal("MLX_4", ERROR_UNSUPPORTED, "a mamba model cannot be laid out as a folder");
    write_tiny("llama");
    const struct convert_options bad_group = {.type = "MLX_4", .group = 48};
    assert_false(convert_model(in_path, out_path, &bad_group, NULL, NULL, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    assert_string_equal(left_behind(), "");
}

static void test_replaces_only_when_told(void **state)
{
    struct error err = {0};
    struct stat before, after;
    char other[MAX_PATH + 16];
    (void)state;
    write_tiny("llama");
    assert_true(convert("Q8_0", &err));
    assert_int_equal(stat(out_path, &before), 0);
    assert_false(convert("Q4_0", &err));
    assert_int_equal(err.code, ERROR_USAGE);
    assert_non_null(strstr(err.message, "is there already; --force replaces it"));
    assert_int_equal(stat(out_path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    struct convert_options force = {.type = "Q4_0", .force = true};
    assert_true(convert_model(in_path, out_path, &force, NULL, NULL, &err));
    assert_int_equal(stat(out_path, &after), 0);
    assert_true(after.st_size < before.st_size);
    /* a file is no place for a folder, and the reverse */
    force.type = "MLX_4";
    assert_false(convert_model(in_path, out_path, &force, NULL, NULL, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    unlink(out_path);
    assert_true(convert_model(in_path, out_path, &force, NULL, NULL, &err));
    force.type = "MLX_8";
    assert_true(convert_model(in_path, out_path, &force, NULL, NULL, &err));
    assert_string_equal(left_behind(), "out");
    /* a folder with more than a model in it is let be */
    snprintf(other, sizeof other, "%s/letters.doc", out_path);
    write_file(other, "x", 1);
    assert_false(convert_model(in_path, out_path, &force, NULL, NULL, &err));
    assert_non_null(strstr(err.message, "has more in it than a model"));
    assert_int_equal(access(other, F_OK), 0);
}

/* ---- what breaks off ---- */

struct stopper {
    int left;
};

static bool stop_after(void *context)
{
    struct stopper *s = context;
    return s->left-- <= 0;
}

static void test_stopped(void **state)
{
    (void)state;
    write_tiny("llama");
    static const char *const types[] = {"Q4_0", "MLX_4"};
    for (int n = 0; n < 20; n += 5)
        for (int i = 0; i < 2; i++) {
            struct stopper s = {n};
            struct error err = {0};
            const struct convert_sink sink = {.stopped = stop_after, .context = &s};
            const struct convert_options o = {.type = types[i], .group = 32};
            assert_false(convert_model(in_path, out_path, &o, &sink, NULL, &err));
            assert_int_equal(err.code, ERROR_CANCELLED);
            assert_string_equal(left_behind(), "");
        }
}

/* The process is killed in the middle: nothing has the name, and the next try ends well. */
static bool kill_after(void *context)
{
    struct stopper *s = context;
    if (s->left-- <= 0)
        raise(SIGKILL);
    return false;
}

static void test_killed(void **state)
{
    static const char *const types[] = {"Q4_0", "MLX_4"};
    (void)state;
    write_tiny("llama");
    for (int i = 0; i < 2; i++) {
        const struct convert_options o = {.type = types[i], .group = 32};
        for (int n = 0; n < 20; n += 7) {
            struct stopper s = {n};
            const struct convert_sink sink = {.stopped = kill_after, .context = &s};
            const pid_t child = fork();
            if (!child)
                _exit(convert_model(in_path, out_path, &o, &sink, NULL, NULL));
            int status = 0;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFSIGNALED(status));
            assert_int_not_equal(access(out_path, F_OK), 0);
        }
        struct error err = {0};
        assert_true(convert_model(in_path, out_path, &o, NULL, NULL, &err));
        assert_string_equal(left_behind(), "out");
        weights_close(open_model(out_path));
        unlink(out_path);
    }
}

/* No file may grow beyond a limit: told like a full disk. */
static void test_full_disk(void **state)
{
    static const char *const types[] = {"F16", "MLX_8"};
    (void)state;
    write_tiny("llama");
    for (int i = 0; i < 2; i++) {
        const struct convert_options o = {.type = types[i], .group = 32};
        const pid_t child = fork();
        if (!child) {
            const struct rlimit limit = {40000, 40000};
            struct error err = {0};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &limit);
            _exit(convert_model(in_path, out_path, &o, NULL, NULL, &err) ? 1
                  : err.code == ERROR_IO                                 ? 0
                                                                         : 2);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_string_equal(left_behind(), "");
    }
}

/* ---- threads, progress, memory ---- */

static uint8_t *read_file(const char *path, size_t *n)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    *n = (size_t)st.st_size;
    uint8_t *bytes = malloc(*n);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    fclose(file);
    return bytes;
}

static void see_progress(void *context, const struct convert_progress *p)
{
    struct convert_progress *last = context;
    assert_true(p->n_done >= last->n_done && p->n_done <= p->n_total);
    *last = *p;
}

static void test_threads_make_the_same(void **state)
{
    (void)state;
    write_tiny("llama");
    uint8_t *bytes[2];
    size_t n[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct convert_progress last = {0};
        struct convert_result result = {0};
        struct error err = {0};
        const struct convert_sink sink = {.progress = see_progress, .context = &last};
        const struct convert_options o = {.type = "Q4_0", .n_threads = 1 + 4 * i, .force = true};
        assert_true(convert_model(in_path, out_path, &o, &sink, &result, &err));
        bytes[i] = read_file(out_path, &n[i]);
        assert_int_equal(result.n_bytes_out, n[i]);
        assert_true(last.n_done > n[i] / 2);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

/* A model of 384 MB, most of it a hole in the file, is converted in much less memory. */
static void test_memory_is_bounded(void **state)
{
    enum { N_WIDE = 4096, N_ROWS = 24 << 10 };
    struct gguf_builder g;
    size_t size;
    (void)state;
    write_tiny("llama");
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.architecture", "llama");
    gguf_builder_declare(&g, "blk.0.ffn_up.weight", 0, 2, (const uint64_t[]){N_WIDE, N_ROWS},
                         (uint64_t)N_WIDE * N_ROWS * 4);
    void *head = gguf_builder_finish(&g, &size);
    write_file(in_path, head, size);
    free(head);
    assert_int_equal(truncate(in_path, (off_t)(size + (uint64_t)N_WIDE * N_ROWS * 4)), 0);
    const pid_t child = fork();
    if (!child) {
        const struct convert_options o = {.type = "Q8_0", .n_threads = 2};
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        bool ok = convert_model(in_path, out_path, &o, NULL, NULL, NULL);
        getrusage(RUSAGE_SELF, &after);
        _exit(!ok ? 1 : after.ru_maxrss - before.ru_maxrss > 128 << 10 ? 2 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_TEMP_FOLDER(test_every_gguf_type),
        TEST_IN_TEMP_FOLDER(test_every_folder_type),
        TEST_IN_TEMP_FOLDER(test_folders_of_others),
        TEST_IN_TEMP_FOLDER(test_there_and_back),
        TEST_IN_TEMP_FOLDER(test_folders_to_others),
        TEST_IN_TEMP_FOLDER(test_importance),
        TEST_IN_TEMP_FOLDER(test_wrong_importance),
        TEST_IN_TEMP_FOLDER(test_refusals),
        TEST_IN_TEMP_FOLDER(test_replaces_only_when_told),
        TEST_IN_TEMP_FOLDER(test_stopped),
        TEST_IN_TEMP_FOLDER(test_killed),
        TEST_IN_TEMP_FOLDER(test_full_disk),
        TEST_IN_TEMP_FOLDER(test_threads_make_the_same),
        TEST_IN_TEMP_FOLDER(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
