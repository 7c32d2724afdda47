/* Folders of safetensors: which files a model is, what is missing or said twice, quantized matrices
 * whose parts do not belong together, and vectors at odd places. Golden ones are in
 * test_folder_golden.c. */
#include "support/temp_folder.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "folder_bytes.h"

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"
#define INDEX "model.safetensors.index.json"
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

static const char header_a[] = "{" T("a", "F32", "[2]", 0, 8) "}";
static const char header_b[] = "{" T("b", "F32", "[2]", 0, 8) "}";

static void assert_refused(struct folder_bytes *f, const char *name, enum error_code code,
                           const char *says)
{
    struct error err = {0};
    struct weights *w = weights_open_files(f->files, f->n, name, &err);
    if (w)
        fail_msg("it was opened instead of: %s", says);
    if (err.code != code || !strstr(err.message, says))
        fail_msg("%s: \"%s\" instead of: %s", error_code_name(err.code), err.message, says);
    folder_free(f);
}

static struct weights *assert_opened(const struct folder_bytes *f)
{
    struct error err = {0};
    struct weights *w = folder_open_bytes(f, &err);
    if (!w)
        fail_msg("%s", err.message);
    return w;
}

/* ---- which files ---- */

static void add_shards(struct folder_bytes *f)
{
    folder_text(f, "config.json", "{}");
    folder_tensors(f, SHARD_1, header_a, 8);
    folder_tensors(f, SHARD_2, header_b, 8);
}

static void shards_are_found_with_an_index_and_without(void **state)
{
    (void)state;
    static const char *const indexes[] = {
        NULL,
        "{\"metadata\":{},\"weight_map\":{\"b\":\"" SHARD_2 "\",\"a\":\"" SHARD_1 "\"}}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct folder_bytes f = {0};
        add_shards(&f);
        if (indexes[i])
            folder_text(&f, INDEX, indexes[i]);
        struct weights *w = assert_opened(&f);
        assert_int_equal(weights_n_files(w), 2);
        assert_non_null(weights_tensor(w, "a"));
        assert_non_null(weights_tensor(w, "b"));
        weights_close(w);
        folder_free(&f);
    }
}

static void a_single_file_counts_before_an_index_of_others(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, "model.safetensors", header_a, 8);
    folder_text(&f, INDEX, "{\"weight_map\":{\"b\":\"" SHARD_2 "\"}}");
    struct weights *w = assert_opened(&f);
    assert_int_equal(weights_n_files(w), 1);
    weights_close(w);
    folder_free(&f);
}

static void wrong_indexes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        enum error_code code;
        const char *says;
    } rows[] = {
        {"[]", ERROR_FORMAT, INDEX ": it has no object weight_map"},
        {"{\"weight_map\":[]}", ERROR_FORMAT, "it has no object weight_map"},
        {"{\"weight_map\":{}", ERROR_FORMAT, INDEX ": byte 16: the text is cut"},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"b\":\"" SHARD_1 "\"}}", ERROR_FORMAT,
         "tensor \"b\" should be in " SHARD_1 ", but is not"},
        {"{\"weight_map\":{\"a\":\"" SHARD_2 "\",\"b\":\"" SHARD_1 "\"}}", ERROR_FORMAT,
         "should be in " SHARD_2 ", but is in " SHARD_1},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"b\":\"" SHARD_2 "\",\"c\":\"" SHARD_2 "\"}}",
         ERROR_FORMAT, "tensor \"c\" should be in " SHARD_2 ", but is not"},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"b\":\"model-00003-of-00003.safetensors\"}}",
         ERROR_NOT_FOUND, "model-00003-of-00003.safetensors"},
        {"{\"weight_map\":{\"a\":\"../" SHARD_1 "\"}}", ERROR_FORMAT,
         "tensor \"a\" is said to be in what is no file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", ERROR_FORMAT, "no file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", ERROR_FORMAT, "no file name"},
        {"{\"weight_map\":{\"a\":1}}", ERROR_FORMAT, "no file name"},
        {"{\"weight_map\":{\"a\":\"x\\u0000y\"}}", ERROR_FORMAT, "no file name"},
        {"{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"a\":\"" SHARD_2 "\"}}", ERROR_FORMAT,
         "two members \"a\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct folder_bytes f = {0};
        add_shards(&f);
        folder_text(&f, INDEX, rows[i].index);
        assert_refused(&f, NULL, rows[i].code, rows[i].says);
    }
    struct folder_bytes f = {0};
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, SHARD_1, "{" T("a", "F32", "[1]", 0, 4) "," T("x", "F32", "[1]", 4, 8) "}",
                   8);
    folder_text(&f, INDEX, "{\"weight_map\":{\"a\":\"" SHARD_1 "\"}}");
    assert_refused(&f, NULL, ERROR_FORMAT,
                   "tensor \"x\" is in " SHARD_1 ", but the index does not");
}

static void missing_files_are_named(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    assert_refused(&f, NULL, ERROR_NOT_FOUND, "the folder has no config.json");
    folder_tensors(&f, "model.safetensors", header_a, 8);
    assert_refused(&f, "model.safetensors", ERROR_NOT_FOUND, "has no config.json");
    folder_text(&f, "config.json", "{}");
    assert_refused(&f, NULL, ERROR_NOT_FOUND, "has no model.safetensors");
    folder_text(&f, "config.json", "{}");
    folder_text(&f, "pytorch_model-00001-of-00002.bin", "x");
    assert_refused(&f, NULL, ERROR_UNSUPPORTED, "pytorch_model-00001-of-00002.bin is a program's");
    folder_text(&f, "README.md", "x");
    folder_text(&f, "m-Q4_K.gguf", "x");
    assert_refused(&f, NULL, ERROR_NOT_FOUND, "it has m-Q4_K.gguf");
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, SHARD_1, header_a, 8);
    assert_refused(&f, NULL, ERROR_NOT_FOUND, SHARD_2);
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, "model-00001-of-2.safetensors", header_a, 8);
    assert_refused(&f, NULL, ERROR_FORMAT, "cannot be the first of so many parts");
    add_shards(&f);
    folder_tensors(&f, "model-00001-of-00003.safetensors", header_a, 8);
    assert_refused(&f, NULL, ERROR_FORMAT, "first shards of 2 models");
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, "model.safetensors", header_a, 8);
    folder_tensors(&f, "adapters.safetensors", header_b, 8);
    assert_refused(&f, "adapters.safetensors", ERROR_UNSUPPORTED, "no part of the folder's model");
    folder_text(&f, "config.json", "{}");
    folder_text(&f, "model.safetensors",
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n");
    assert_refused(&f, NULL, ERROR_FORMAT, "model.safetensors: a Git LFS pointer");
}

static void faults_are_told_with_the_file(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    add_shards(&f);
    f.files[2].size -= 1;
    assert_refused(&f, NULL, ERROR_FORMAT, SHARD_2 ": tensor \"b\" ends at byte 8");
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, SHARD_1, header_a, 8);
    folder_tensors(&f, SHARD_2, header_a, 8);
    assert_refused(&f, NULL, ERROR_FORMAT,
                   SHARD_2 ": tensor \"a\" appears twice, before in " SHARD_1);
    folder_text(&f, "config.json", "{}");
    folder_tensors(&f, "model.safetensors",
                   "{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 1, 2) "}", 2);
    assert_refused(&f, NULL, ERROR_FORMAT, "model.safetensors: tensor \"a\" appears twice");
}

/* ---- config.json ---- */

static void wrong_configs_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
        enum error_code code;
        const char *says;
    } rows[] = {
        {"config.json", "", ERROR_FORMAT, "config.json: byte 0: the text is cut"},
        {"config.json", "[1]", ERROR_FORMAT, "config.json: it is not a JSON object"},
        {"config.json", "{\"a\":}", ERROR_FORMAT, "config.json: byte 5"},
        {"config.json", "{\"a\":1,\"a\":2}", ERROR_FORMAT, "two members \"a\""},
        {"config.json", "{\"a\":\"\xff\"}", ERROR_FORMAT, "not UTF-8"},
        {"generation_config.json", "{", ERROR_FORMAT, "generation_config.json: byte 1"},
        {"tokenizer_config.json", "7", ERROR_FORMAT, "tokenizer_config.json: it is not"},
        {"config.json", "{\"quantization\":7}", ERROR_FORMAT, "it is not an object"},
        {"config.json", "{\"quantization\":{\"mode\":\"int4\"}}", ERROR_UNSUPPORTED,
         "the unknown mode int4"},
        {"config.json", "{\"quantization\":{\"mode\":4}}", ERROR_UNSUPPORTED, "not a string"},
        {"config.json", "{\"quantization\":{\"bits\":7,\"group_size\":64}}", ERROR_UNSUPPORTED,
         "affine with 7 bits in groups of 64"},
        {"config.json", "{\"quantization\":{\"bits\":4,\"group_size\":48}}", ERROR_UNSUPPORTED,
         "4 bits in groups of 48"},
        {"config.json", "{\"quantization\":{\"bits\":4,\"group_size\":64,\"mode\":\"mxfp4\"}}",
         ERROR_UNSUPPORTED, "mxfp4 with 4 bits in groups of 64"},
        {"config.json", "{\"quantization\":{\"bits\":\"4\"}}", ERROR_FORMAT, "no whole number"},
        {"config.json", "{\"quantization\":{\"bits\":18446744073709551616}}", ERROR_FORMAT,
         "no whole number"},
        {"config.json", "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}}",
         ERROR_UNSUPPORTED, "does not read the method gptq"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct folder_bytes f = {0};
        if (strcmp(rows[i].file, "config.json") != 0)
            folder_text(&f, "config.json", "{}");
        folder_text(&f, rows[i].file, rows[i].text);
        folder_tensors(&f, "model.safetensors", header_a, 8);
        assert_refused(&f, NULL, rows[i].code, rows[i].says);
    }
    struct folder_bytes f = {0};
    char deep[400] = "{\"a\":";
    memset(deep + 5, '[', 300);
    folder_text(&f, "config.json", deep);
    folder_tensors(&f, "model.safetensors", header_a, 8);
    assert_refused(&f, NULL, ERROR_FORMAT, "too deep");
}

static void a_huge_config_is_refused_unread(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    size_t n = (16 << 20) + 1;
    char *blanks = malloc(n);
    assert_non_null(blanks);
    memset(blanks, ' ', n);
    folder_tensors(&f, "model.safetensors", header_a, 8);
    f.files[f.n++] = (struct weights_file){"config.json", blanks, n};
    assert_refused(&f, NULL, ERROR_TOO_LARGE, "config.json: 16777217 bytes");
    free(blanks);
}

/* ---- quantized matrices ---- */

/* Two rows of 64 columns: 4 bits in groups of 64. */
#define WEIGHT T("x.weight", "U32", "[2,8]", 0, 64)
#define SCALES T("x.scales", "F16", "[2,1]", 64, 68)
#define BIASES T("x.biases", "F16", "[2,1]", 68, 72)
#define AFFINE "{\"quantization\":{\"bits\":4,\"group_size\":64}}"

static const struct {
    const char *config, *header;
    size_t n_data;
    enum error_code code;
    const char *says;
} contradictions[] = {
    {"{}", "{" WEIGHT "," SCALES "," BIASES "}", 72, ERROR_FORMAT,
     "model.safetensors: tensor \"x.weight\" is packed and has scales, but config.json has no"},
    {"{\"quantization\":{\"bits\":4,\"group_size\":64,\"x\":false}}",
     "{" WEIGHT "," SCALES "," BIASES "}", 72, ERROR_FORMAT,
     "config.json says it is not quantized"},
    {"{\"quantization\":{\"bits\":4,\"group_size\":64,\"x\":{\"bits\":9}}}",
     "{" WEIGHT "," SCALES "," BIASES "}", 72, ERROR_UNSUPPORTED, "9 bits"},
    {"{\"quantization\":{\"bits\":4,\"group_size\":64,\"x\":{\"bits\":8}}}",
     "{" WEIGHT "," SCALES "," BIASES "}", 72, ERROR_FORMAT,
     "rows of 8 words and 1 scales, which are not the same columns by 8 bits in groups of 64"},
    {"{\"quantization\":{\"bits\":4,\"group_size\":64,\"y\":{\"bits\":8}}}",
     "{" T("y.weight", "F16", "[2,2]", 0, 8) "}", 8, ERROR_FORMAT,
     "\"y.weight\" has no scales, but config.json says it is quantized"},
    {AFFINE, "{" WEIGHT "," SCALES "}", 68, ERROR_FORMAT, "affine, but has no biases"},
    {"{\"quantization\":{\"mode\":\"mxfp4\"}}",
     "{" WEIGHT "," T("x.scales", "U8", "[2,2]", 64, 68) "," BIASES "}", 72, ERROR_FORMAT,
     "\"x.biases\" stands beside numbers of mode mxfp4"},
    {AFFINE, "{" WEIGHT "," T("x.scales", "I16", "[2,1]", 64, 68) "," BIASES "}", 72, ERROR_FORMAT,
     "\"x.scales\" is I16, which scales of mode affine cannot be"},
    {"{\"quantization\":{\"mode\":\"mxfp4\"}}", "{" WEIGHT "," SCALES "}", 68, ERROR_FORMAT,
     "\"x.scales\" is F16, which scales of mode mxfp4 cannot be"},
    {AFFINE, "{" WEIGHT "," SCALES "," T("x.biases", "BF16", "[2,1]", 68, 72) "}", 72, ERROR_FORMAT,
     "\"x.biases\" is BF16, its scales are F16"},
    {AFFINE, "{" WEIGHT "," SCALES "," T("x.biases", "F16", "[2,2]", 68, 76) "}", 76, ERROR_FORMAT,
     "\"x.biases\" has other columns than its scales"},
    {AFFINE, "{" WEIGHT "," SCALES "," T("x.biases", "F16", "[1,2]", 68, 72) "}", 72, ERROR_FORMAT,
     "\"x.biases\" has other rows than its weight"},
    {AFFINE, "{" WEIGHT "," T("x.scales", "F16", "[2]", 64, 68) "," BIASES "}", 72, ERROR_FORMAT,
     "\"x.scales\" has other rows than its weight"},
    {"{\"quantization\":{\"mode\":\"mxfp4\"}}",
     "{" WEIGHT "," T("x.scales", "U8", "[2,2]", 64,
                      68) "," T("x.global_scale", "F32", "[1]", 68, 72) "}",
     72, ERROR_FORMAT, "\"x.global_scale\" stands beside numbers of mode mxfp4, which has none"},
    {"{\"quantization\":{\"mode\":\"nvfp4\"}}",
     "{" WEIGHT "," T("x.scales", "U8", "[2,4]", 64,
                      72) "," T("x.global_scale", "F32", "[2]", 72, 80) "}",
     80, ERROR_FORMAT, "\"x.global_scale\" is not F32 for 1 matrices"},
    {AFFINE, "{" T("x.weight", "F32", "[2,8]", 0, 64) "," SCALES "," BIASES "}", 72, ERROR_FORMAT,
     "\"x.weight\" has scales, but is F32 and not U32"},
    {AFFINE, "{" T("x.weight", "U32", "[16]", 0, 64) "," T("x.scales", "F16", "[2]", 64, 68) "}",
     68, ERROR_FORMAT, "\"x.weight\" has scales and 1 dimensions"},
    {AFFINE,
     "{" T("x.weight", "U32", "[2,9]", 0, 72) "," T("x.scales", "F16", "[2,1]", 72, 76) "," T(
         "x.biases", "F16", "[2,1]", 76, 80) "}",
     80, ERROR_FORMAT, "rows of 9 words and 1 scales"},
    {AFFINE,
     "{" T("x.weight", "U32", "[2,0]", 0, 0) "," T("x.scales", "F16", "[2,0]", 0,
                                                   0) "," T("x.biases", "F16", "[2,0]", 0, 0) "}",
     0, ERROR_FORMAT, "rows of 0 words and 0 scales"},
    {AFFINE,
     "{" T("x.weight", "U32", "[0,2305843009213693952]", 0,
           0) "," T("x.scales", "F16", "[0,288230376151711744]", 0,
                    0) "," T("x.biases", "F16", "[0,288230376151711744]", 0, 0) "}",
     0, ERROR_FORMAT, "which are not the same columns"},
};

static void contradictions_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++) {
        struct folder_bytes f = {0};
        folder_text(&f, "config.json", contradictions[i].config);
        folder_tensors(&f, "model.safetensors", contradictions[i].header, contradictions[i].n_data);
        assert_refused(&f, NULL, contradictions[i].code, contradictions[i].says);
    }
}

static void a_matrix_is_its_three_parts(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    folder_text(&f, "config.json", AFFINE);
    folder_tensors(&f, "model.safetensors",
                   "{" WEIGHT "," SCALES "," BIASES "," T("x.bias", "F16", "[2]", 72, 76) "," T(
                       "y.scales", "F16", "[1]", 76, 78) "}",
                   78);
    struct weights *w = assert_opened(&f);
    assert_int_equal(weights_n_tensors(w), 3); /* scales that stand alone are a tensor */
    const struct weights_tensor *t = weights_tensor(w, "x.weight");
    assert_int_equal(t->n_bytes, 72);
    assert_int_equal(t->shape[0], 64);
    assert_int_equal(t->shape[1], 2);
    assert_int_equal((const char *)t->scales - (const char *)t->data, 64);
    assert_int_equal((const char *)t->biases - (const char *)t->data, 68);
    struct matrix m;
    assert_true(weights_matrix(w, "x", &m));
    assert_int_equal(m.type, QUANT_AFFINE_4);
    assert_int_equal(m.parts[MATRIX_PACKED].row_bytes, 32);
    assert_int_equal(m.parts[MATRIX_SCALES].row_bytes, 2);
    assert_true(matrix_check(&m, NULL));
    assert_true(weights_matrix(w, "x.bias", &m));
    weights_close(w);
    folder_free(&f);
}

/* Scales of bytes tell their mode by the shapes, where config.json is silent. */
static void modes_of_bytes_are_inferred(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        const char *type;
        uint32_t group;
    } rows[] = {
        {"{" WEIGHT "," T("x.scales", "U8", "[2,2]", 64, 68) "}", 68, "MXFP4", 32},
        {"{" WEIGHT "," T("x.scales", "U8", "[2,4]", 64, 72) "}", 72, "NVFP4", 16},
        {"{" WEIGHT "," T("x.scales", "U8", "[2,1]", 64, 66) "}", 66, "MXFP8", 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct folder_bytes f = {0};
        folder_text(&f, "config.json", AFFINE);
        folder_tensors(&f, "model.safetensors", rows[i].header, rows[i].n_data);
        struct weights *w = assert_opened(&f);
        const struct weights_tensor *t = weights_tensor(w, "x.weight");
        assert_string_equal(t->type_name, rows[i].type);
        assert_int_equal(t->group, rows[i].group);
        weights_close(w);
        folder_free(&f);
    }
}

/* Two experts of nvfp4, each with a scale of its own. */
static void global_scales_are_factors_of_the_matrix(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    folder_text(&f, "config.json", "{\"quantization\":{\"mode\":\"nvfp4\"}}");
    folder_tensors(&f, "model.safetensors",
                   "{" T("x.weight", "U32", "[2,1,8]", 0, 64) "," T(
                       "x.scales", "U8", "[2,1,4]", 64,
                       72) "," T("x.global_scale", "F32", "[2]", 72, 80) "}",
                   80);
    struct weights *w = assert_opened(&f);
    struct matrix m;
    struct error err;
    assert_true(weights_matrix(w, "x.weight", &m));
    assert_true(matrix_check(&m, &err));
    for (size_t i = 0; i < 2; i++) {
        const uint8_t bytes[4] = {(uint8_t)(72 + 4 * i), (uint8_t)(73 + 4 * i),
                                  (uint8_t)(74 + 4 * i), (uint8_t)(75 + 4 * i)};
        const struct matrix expert = matrix_expert(&m, i), row = matrix_rows(&expert, 0, 1);
        float scale;
        memcpy(&scale, bytes, sizeof scale);
        assert_true(matrix_factor(&row) == scale / 2688.0f);
    }
    assert_true(weights_made_bytes(w) >= 8);
    weights_close(w);
    folder_free(&f);
}

/* ---- where they lie ---- */

/* Vectors are moved to where their type may lie, and counted; matrices stay. */
static void only_vectors_at_odd_places_are_made_anew(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        struct folder_bytes f = {0};
        char header[512];
        snprintf(header, sizeof header, "%s%*s",
                 "{" T("m", "F32", "[2,2]", 0, 16) "," T("v", "F32", "[2]", 16,
                                                         24) "," T("h", "F16", "[2]", 24, 28) "}",
                 (int)shift, "");
        folder_text(&f, "config.json", "{}");
        folder_tensors(&f, "model.safetensors", header, 28);
        struct weights *w = assert_opened(&f);
        const uint8_t *file = weights_file_at(w, 0).data;
        const struct weights_tensor *m = weights_tensor(w, "m"), *v = weights_tensor(w, "v"),
                                    *h = weights_tensor(w, "h");
        const size_t odd = (uintptr_t)m->data % 4;
        assert_ptr_equal(m->data, file + 8 + strlen(header));
        assert_int_equal((uintptr_t)v->data % 4, 0);
        assert_int_equal((uintptr_t)h->data % 2, 0);
        assert_int_equal(weights_made_bytes(w), (odd ? 8 : 0) + (odd % 2 ? 4 : 0));
        assert_memory_equal(v->data, file + 8 + strlen(header) + 16, 8);
        struct matrix matrix;
        float row[2], expected[2];
        assert_true(weights_matrix(w, "m", &matrix));
        matrix_decode(&matrix, 1, row);
        memcpy(expected, file + 8 + strlen(header) + 8, 8);
        assert_memory_equal(row, expected, 8);
        weights_close(w);
        folder_free(&f);
    }
}

static void fingerprint_of(const struct folder_bytes *f, uint64_t out[2])
{
    struct weights *w = assert_opened(f);
    weights_fingerprint(w, out);
    weights_close(w);
}

static void the_fingerprint_is_of_all_that_computes(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    uint64_t first[2], other[2];
    folder_text(&f, "config.json", AFFINE);
    folder_text(&f, "tokenizer.json", "{}");
    folder_tensors(&f, "model.safetensors", "{" WEIGHT "," SCALES "," BIASES "}", 72);
    char *bytes = f.bytes[2].data;
    size_t n = f.bytes[2].len;
    fingerprint_of(&f, first);
    fingerprint_of(&f, other);
    assert_memory_equal(first, other, sizeof first);
    for (size_t back = 1; back <= 9; back += 4) { /* biases, scales, weight */
        bytes[n - back] ^= 1;
        fingerprint_of(&f, other);
        assert_memory_not_equal(first, other, sizeof first);
        bytes[n - back] ^= 1;
    }
    folder_free(&f);
    folder_text(&f, "config.json", AFFINE " "); /* any change of it counts */
    folder_tensors(&f, "model.safetensors", "{" WEIGHT "," SCALES "," BIASES "}", 72);
    fingerprint_of(&f, other);
    assert_memory_not_equal(first, other, sizeof first);
    folder_free(&f);
}

/* ---- on disk ---- */

static void write_file(const char *name, const void *data, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", temp_folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void a_folder_on_disk_is_told_with_its_paths(void **state)
{
    (void)state;
    struct error err = {0};
    struct buf b;
    char path[4096];
    assert_null(weights_open(temp_folder, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, temp_folder));
    write_file("config.json", "{}", 2);
    safetensors_file(&b, header_a, 8);
    write_file("model.safetensors", b.data, b.len);
    struct weights *w = weights_open(temp_folder, &err);
    if (!w)
        fail_msg("%s", err.message);
    assert_true(weights_resident_bytes(w) > 0);
    weights_close(w);
    write_file("model.safetensors", b.data, b.len - 1);
    assert_null(weights_open(temp_folder, &err));
    snprintf(path, sizeof path, "%s/model.safetensors: tensor \"a\"", temp_folder);
    assert_non_null(strstr(err.message, path));
    buf_deinit(&b);
    /* a folder where a file should be */
    snprintf(path, sizeof path, "%s/tokenizer.json", temp_folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(weights_open(temp_folder, &err));
    snprintf(path, sizeof path, "%s/nothing.safetensors", temp_folder);
    assert_null(weights_open(path, &err));
    snprintf(path, sizeof path, "%s/nothing/at/all", temp_folder);
    assert_null(weights_open(path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_found_with_an_index_and_without),
        cmocka_unit_test(a_single_file_counts_before_an_index_of_others),
        cmocka_unit_test(wrong_indexes_are_refused),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(faults_are_told_with_the_file),
        cmocka_unit_test(wrong_configs_are_refused),
        cmocka_unit_test(a_huge_config_is_refused_unread),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(a_matrix_is_its_three_parts),
        cmocka_unit_test(modes_of_bytes_are_inferred),
        cmocka_unit_test(global_scales_are_factors_of_the_matrix),
        cmocka_unit_test(only_vectors_at_odd_places_are_made_anew),
        cmocka_unit_test(the_fingerprint_is_of_all_that_computes),
        TEST_IN_TEMP_FOLDER(a_folder_on_disk_is_told_with_its_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
