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
    enum { N_COLS = 4096, N_ROWS = 24 << 10 };
    struct gguf_builder g;
    size_t size;
    (void)state;
    write_tiny("llama");
    gguf_builder_init(&g);
    gguf_builder_string(&g, "general.architecture", "llama");
    gguf_builder_declare(&g, "blk.0.ffn_up.weight", 0, 2, (const uint64_t[]){N_COLS, N_ROWS},
                         (uint64_t)N_COLS * N_ROWS * 4);
    void *head = gguf_builder_finish(&g, &size);
    write_file(in_path, head, size);
    free(head);
    assert_int_equal(truncate(in_path, (off_t)(size + (uint64_t)N_COLS * N_ROWS * 4)), 0);
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
