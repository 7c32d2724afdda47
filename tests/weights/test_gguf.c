/* The GGUF reader over hand-made files: right ones give back what was put in; cut, mutated and
 * hostile ones give one error with the place, and never a read outside the file. */
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/cpu_time.h"
#include "gguf_bytes.h"
#include "guarded.h"

enum { SAMPLE_META = 18, SAMPLE_TENSORS = 3 };

static void sample_meta(struct buf *b)
{
    GGUF_META(b, "u8", U8, uint8_t, 200);
    GGUF_META(b, "i8", I8, int8_t, -100);
    GGUF_META(b, "u16", U16, uint16_t, 60000);
    GGUF_META(b, "i16", I16, int16_t, -30000);
    GGUF_META(b, "u32", U32, uint32_t, 4000000000u);
    GGUF_META(b, "i32", I32, int32_t, -2000000000);
    GGUF_META(b, "f32", F32, float, 1.5f);
    GGUF_META(b, "no", BOOL, uint8_t, 0);
    GGUF_META(b, "yes", BOOL, uint8_t, 1);
    gguf_key(b, "text", GGUF_STRING);
    gguf_string(b, "what a model is");
    GGUF_META(b, "u64", U64, uint64_t, UINT64_MAX);
    GGUF_META(b, "i64", I64, int64_t, INT64_MIN);
    GGUF_META(b, "f64", F64, double, -0.25);
    gguf_array(b, "words", GGUF_STRING, 3);
    gguf_string(b, "a");
    gguf_string(b, "");
    gguf_string(b, "longer");
    gguf_array(b, "types", GGUF_I32, 3);
    GGUF_PUT(b, int32_t, -1);
    GGUF_PUT(b, int32_t, 2);
    GGUF_PUT(b, int32_t, 3);
    gguf_array(b, "scores", GGUF_F32, 2);
    GGUF_PUT(b, float, 0.5f);
    GGUF_PUT(b, float, -2.0f);
    gguf_array(b, "flags", GGUF_BOOL, 2);
    buf_append(b, "\1\0", 2);
    gguf_array(b, "empty", GGUF_STRING, 0);
}

/* Three tensors: [2][32] Q8_0 at 0 (68 bytes), [5] F32 at 96, [2][256] Q4_K at 128; 416 bytes of
 * data. */
static void sample_file(struct buf *b, uint32_t version)
{
    buf_init(b, 1 << 20);
    gguf_header(b, version, SAMPLE_TENSORS, SAMPLE_META);
    sample_meta(b);
    gguf_tensor(b, "first", QUANT_Q8_0, 2, (uint64_t[]){32, 2}, 0);
    gguf_tensor(b, "second", QUANT_F32, 1, (uint64_t[]){5}, 96);
    gguf_tensor(b, "third", QUANT_Q4_K, 2, (uint64_t[]){256, 2}, 128);
    gguf_pad(b, 32);
    gguf_data(b, 0x11, 96);
    gguf_data(b, 0x22, 32);
    gguf_data(b, 0x33, 288);
}

static struct weights *open_buf(const struct buf *b, struct error *err)
{
    *err = (struct error){.position = -1};
    return weights_open_bytes(b->data, b->len, err);
}

/* The file must be refused with this code and a message that has this text. Frees the buffer. */
static void assert_refused(struct buf *b, enum error_code code, const char *text)
{
    struct error err = {.position = -1};
    struct guarded g = guarded_copy(b->data, b->len);
    struct weights *w = weights_open_bytes(g.data, b->len, &err);
    if (w)
        fail_msg("opened, though it should say: %s", text);
    if (err.code != code || !strstr(err.message, text))
        fail_msg("%s \"%s\" instead of \"%s\"", error_code_name(err.code), err.message, text);
    if (err.position < 0 || (size_t)err.position > b->len)
        fail_msg("position %lld of %zu: %s", (long long)err.position, b->len, err.message);
    guarded_free(&g);
    buf_deinit(b);
}

static void every_scalar_comes_back(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    sample_file(&b, 3);
    struct weights *w = open_buf(&b, &err);
    if (!w)
        fail_msg("%s", err.message);
    assert_int_equal(weights_version(w), 3);
    assert_int_equal(weights_file_bytes(w), b.len);
    static const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"u8", 200},         {"i8", -100},         {"u16", 60000},    {"i16", -30000},
                    {"u32", 4000000000}, {"i32", -2000000000}, {"i64", INT64_MIN}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t v;
        uint64_t u;
        float f;
        assert_true(weights_int(w, integers[i].key, &v));
        assert_true(v == integers[i].value);
        assert_int_equal(weights_uint(w, integers[i].key, &u), v >= 0);
        assert_true(v < 0 || u == (uint64_t)v);
        assert_true(weights_float(w, integers[i].key, &f));
        assert_true(f == (float)v);
    }
    uint64_t u;
    int64_t v;
    float f;
    bool yes, no;
    struct weights_string s;
    assert_true(weights_uint(w, "u64", &u) && u == UINT64_MAX);
    assert_false(weights_int(w, "u64", &v));
    assert_true(weights_float(w, "f32", &f) && f == 1.5f);
    assert_true(weights_float(w, "f64", &f) && f == -0.25f);
    assert_true(weights_bool(w, "yes", &yes) && yes);
    assert_true(weights_bool(w, "no", &no) && !no);
    assert_true(weights_string(w, "text", &s));
    assert_int_equal(s.len, 15);
    assert_memory_equal(s.data, "what a model is", 15);
    weights_close(w);
    buf_deinit(&b);
}

static void a_missing_key_or_another_kind_is_no_value(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    sample_file(&b, 2);
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    assert_int_equal(weights_version(w), 2);
    uint64_t u;
    int64_t v;
    float f;
    bool yes;
    struct weights_string s;
    assert_false(weights_uint(w, "missing", &u));
    assert_false(weights_uint(w, "", &u));
    assert_false(weights_uint(w, "f32", &u));
    assert_false(weights_uint(w, "text", &u));
    assert_false(weights_uint(w, "yes", &u));
    assert_false(weights_uint(w, "types", &u));
    assert_false(weights_int(w, "f64", &v));
    assert_false(weights_float(w, "text", &f));
    assert_false(weights_bool(w, "u8", &yes));
    assert_false(weights_string(w, "words", &s));
    assert_false(weights_string(w, "u8", &s));
    assert_int_equal(weights_array_len(w, "text"), 0);
    assert_int_equal(weights_array_len(w, "missing"), 0);
    assert_false(weights_array_string(w, "types", 0, &s));
    assert_false(weights_array_int(w, "words", 0, &v));
    assert_false(weights_array_int(w, "scores", 0, &v));
    weights_close(w);
    buf_deinit(&b);
}

static void arrays_come_back_item_by_item(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    sample_file(&b, 3);
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    static const char *const words[] = {"a", "", "longer"};
    struct weights_string s;
    assert_int_equal(weights_array_len(w, "words"), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(weights_array_string(w, "words", i, &s));
        assert_int_equal(s.len, strlen(words[i]));
        assert_memory_equal(s.data, words[i], s.len);
    }
    assert_false(weights_array_string(w, "words", 3, &s));
    assert_false(weights_array_string(w, "words", SIZE_MAX, &s));
    int64_t v;
    float f;
    assert_true(weights_array_int(w, "types", 0, &v) && v == -1);
    assert_true(weights_array_int(w, "types", 2, &v) && v == 3);
    assert_true(weights_array_float(w, "types", 1, &f) && f == 2);
    assert_false(weights_array_int(w, "types", 3, &v));
    assert_true(weights_array_float(w, "scores", 1, &f) && f == -2.0f);
    assert_true(weights_array_int(w, "flags", 0, &v) && v == 1);
    assert_true(weights_array_int(w, "flags", 1, &v) && v == 0);
    assert_int_equal(weights_array_len(w, "empty"), 0);
    assert_false(weights_array_string(w, "empty", 0, &s));
    weights_close(w);
    buf_deinit(&b);
}

static void the_list_of_metadata_names_every_entry(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    sample_file(&b, 3);
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    assert_int_equal(weights_n_meta(w), SAMPLE_META);
    struct weights_meta first = weights_meta_at(w, 0), words = weights_meta_at(w, 13);
    assert_int_equal(first.key.len, 2);
    assert_memory_equal(first.key.data, "u8", 2);
    assert_int_equal(first.kind, WEIGHTS_UINT);
    assert_memory_equal(words.key.data, "words", 5);
    assert_int_equal(words.kind, WEIGHTS_ARRAY);
    assert_int_equal(words.item_kind, WEIGHTS_STRING);
    assert_int_equal(words.n_items, 3);
    assert_int_equal(weights_meta_at(w, 1).kind, WEIGHTS_INT);
    assert_int_equal(weights_meta_at(w, 6).kind, WEIGHTS_FLOAT);
    assert_int_equal(weights_meta_at(w, 8).kind, WEIGHTS_BOOL);
    weights_close(w);
    buf_deinit(&b);
}

static void tensors_point_at_their_data(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    sample_file(&b, 3);
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    assert_int_equal(weights_n_tensors(w), SAMPLE_TENSORS);
    static const struct {
        const char *name;
        enum quant_type type;
        uint64_t n_bytes, shape[4];
        uint8_t byte;
    } expected[] = {{"first", QUANT_Q8_0, 68, {32, 2, 1, 1}, 0x11},
                    {"second", QUANT_F32, 20, {5, 1, 1, 1}, 0x22},
                    {"third", QUANT_Q4_K, 288, {256, 2, 1, 1}, 0x33}};
    for (size_t i = 0; i < SAMPLE_TENSORS; i++) {
        const struct weights_tensor *t = weights_tensor(w, expected[i].name);
        assert_non_null(t);
        assert_ptr_equal(t, weights_tensor_at(w, i));
        assert_string_equal(t->name, expected[i].name);
        assert_int_equal(t->type, expected[i].type);
        assert_int_equal(t->n_bytes, expected[i].n_bytes);
        assert_memory_equal(t->shape, expected[i].shape, sizeof t->shape);
        assert_int_equal(((const uint8_t *)t->data)[0], expected[i].byte);
        assert_int_equal(((const uint8_t *)t->data)[t->n_bytes - 1], expected[i].byte);
        struct matrix m;
        assert_true(weights_matrix(w, expected[i].name, &m));
        assert_int_equal(m.type, t->type);
        assert_ptr_equal(m.parts[MATRIX_BLOCKS].data, t->data);
        assert_int_equal(m.parts[MATRIX_BLOCKS].expert_bytes, t->n_bytes);
        assert_int_equal(m.n_cols, expected[i].shape[0]);
        assert_int_equal(m.n_rows, expected[i].shape[1]);
        assert_int_equal(m.n_experts, 1);
    }
    struct matrix m;
    assert_false(weights_matrix(w, "fourth", &m));
    assert_null(weights_tensor(w, "fourth"));
    assert_null(weights_tensor(w, "firs"));
    assert_null(weights_tensor_at(w, 3));
    weights_close(w);
    buf_deinit(&b);
}

static void a_cut_file_is_refused_at_every_length(void **state)
{
    (void)state;
    struct buf b;
    sample_file(&b, 3);
    for (size_t n = 0; n < b.len; n++) {
        struct error err = {.position = -1};
        struct guarded g = guarded_copy(b.data, n);
        if (weights_open_bytes(g.data, n, &err))
            fail_msg("opened with %zu of %zu bytes", n, b.len);
        assert_int_equal(err.code, ERROR_FORMAT);
        if (err.position < 0 || (size_t)err.position > n)
            fail_msg("cut at %zu, position %lld: %s", n, (long long)err.position, err.message);
        guarded_free(&g);
    }
    struct error err;
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    weights_close(w);
    b.len -= 1;
    char text[100];
    snprintf(text, sizeof text,
             "the file is cut: tensor \"third\" ends at byte %zu, the file has %zu", b.len + 1,
             b.len);
    assert_refused(&b, ERROR_FORMAT, text);
}

/* Reads everything that an opened file offers; the guard page catches what lies outside. */
static unsigned touch_all(const struct weights *w)
{
    unsigned sum = 0;
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        const uint8_t *p = t->data;
        assert_ptr_equal(weights_tensor(w, t->name), t);
        sum += p[0] + p[t->n_bytes - 1];
    }
    for (size_t i = 0; i < weights_n_meta(w); i++) {
        struct weights_meta m = weights_meta_at(w, i);
        struct weights_string s;
        char key[256] = "";
        assert_true(m.key.len < sizeof key);
        memcpy(key, m.key.data, m.key.len);
        if (weights_string(w, key, &s))
            sum += s.len ? (uint8_t)s.data[s.len - 1] : 0;
        for (size_t k = 0; k < weights_array_len(w, key); k++) {
            int64_t v = 0;
            float f = 0;
            if (weights_array_string(w, key, k, &s))
                sum += s.len ? (uint8_t)s.data[s.len - 1] : 0;
            weights_array_int(w, key, k, &v);
            weights_array_float(w, key, k, &f);
            sum += (unsigned)v + (f > 0);
        }
    }
    return sum;
}

static void no_changed_byte_leads_outside_the_file(void **state)
{
    (void)state;
    struct buf b;
    sample_file(&b, 3);
    struct guarded g = guarded_copy(b.data, b.len);
    size_t n_head = b.len - 416, n_opened = 0, n_refused = 0;
    for (size_t i = 0; i < n_head; i++) {
        for (int value = 0; value < 256; value++) {
            struct error err;
            g.data[i] = (uint8_t)value;
            struct weights *w = weights_open_bytes(g.data, b.len, &err);
            n_opened += w != NULL;
            n_refused += w == NULL;
            if (w)
                touch_all(w);
            else if (err.position < 0 || (size_t)err.position > b.len)
                fail_msg("byte %zu = %d: position %lld: %s", i, value, (long long)err.position,
                         err.message);
            weights_close(w);
        }
        g.data[i] = (uint8_t)b.data[i];
    }
    assert_true(n_opened > n_head && n_refused > n_head); /* both were tried in earnest */
    guarded_free(&g);
    buf_deinit(&b);
}

static struct buf header(uint64_t n_tensors, uint64_t n_meta)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    gguf_header(&b, 3, n_tensors, n_meta);
    return b;
}

static void files_of_another_format_are_refused_by_name(void **state)
{
    (void)state;
    struct buf b;
    sample_file(&b, 1);
    assert_refused(&b, ERROR_UNSUPPORTED, "version 1");
    sample_file(&b, 4);
    assert_refused(&b, ERROR_UNSUPPORTED, "version 4");
    sample_file(&b, __builtin_bswap32(3));
    assert_refused(&b, ERROR_UNSUPPORTED, "big-endian");
    sample_file(&b, 3);
    memcpy(b.data, "<htm", 4);
    assert_refused(&b, ERROR_FORMAT, "not a GGUF file: it begins with \"<htm\"");
    struct error err;
    assert_null(weights_open_bytes("", 0, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    b = header(0, 1);
    GGUF_META(&b, "split.count", U16, uint16_t, 3);
    gguf_pad(&b, 32);
    assert_refused(&b, ERROR_UNSUPPORTED, "split over 3 files");
}

static void hostile_counts_are_refused(void **state)
{
    (void)state;
    static const uint64_t counts[] = {4,          1000,       1 << 20,    (1 << 20) + 1, UINT32_MAX,
                                      1ull << 32, 1ull << 61, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct buf b = header(counts[i], 0);
        gguf_data(&b, 0, 64);
        assert_refused(&b, ERROR_FORMAT,
                       counts[i] > 1 << 20 ? "at most 1048576" : "tensors cannot");
        b = header(0, counts[i] + (counts[i] == 4));
        gguf_data(&b, 0, 64);
        assert_refused(&b, ERROR_FORMAT,
                       counts[i] > 1 << 16 ? "at most 65536" : "metadata entries cannot");
        b = header(0, 1);
        GGUF_PUT(&b, uint64_t, counts[i] + 1000 * (counts[i] < UINT32_MAX)); /* a key's length */
        gguf_data(&b, 'x', 64);
        assert_refused(&b, ERROR_FORMAT, "string");
        for (uint32_t type = 0; type <= GGUF_F64; type++) {
            if (type == GGUF_ARRAY)
                continue;
            b = header(0, 1);
            gguf_array(&b, "list", type, counts[i] == 4 ? 100 : counts[i]);
            gguf_data(&b, 0, 64);
            assert_refused(&b, ERROR_FORMAT, "metadata entry \"list\"");
        }
    }
}

static struct buf one_tensor(uint32_t type, uint32_t n_dims, const uint64_t *shape, uint64_t offset)
{
    struct buf b = header(1, 0);
    gguf_tensor(&b, "t", type, n_dims, shape, offset);
    gguf_pad(&b, 32);
    gguf_data(&b, 0, 64);
    return b;
}

static void hostile_tensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, n_dims;
        uint64_t shape[5], offset;
        enum error_code code;
        const char *text;
    } cases[] = {
        {QUANT_F32, 5, {1, 1, 1, 1, 1}, 0, ERROR_FORMAT, "5 dimensions"},
        {QUANT_F32, 2, {1, 0}, 0, ERROR_FORMAT, "dimension 1 is 0"},
        {QUANT_F32, 2, {1ull << 32, 1ull << 32}, 0, ERROR_FORMAT, "multiply"},
        {QUANT_F32, 4, {1ull << 31, 1ull << 31, 1ull << 31, 2}, 0, ERROR_FORMAT, "multiply"},
        {QUANT_F32, 1, {1ull << 62}, 0, ERROR_FORMAT, "multiply"},
        {QUANT_F16, 1, {1ull << 63}, 0, ERROR_FORMAT, "multiply"},
        {QUANT_Q4_0, 1, {1ull << 63}, 0, ERROR_FORMAT, "multiply"},
        {QUANT_Q4_K, 1, {255}, 0, ERROR_FORMAT, "not whole blocks of Q4_K"},
        {QUANT_Q8_0, 2, {16, 2}, 0, ERROR_FORMAT, "not whole blocks of Q8_0"},
        {26, 2, {256, 2}, 0, ERROR_UNSUPPORTED, "I32"},
        {4, 1, {256}, 0, ERROR_UNSUPPORTED, "unknown"},
        {QUANT_AFFINE_4, 1, {256}, 0, ERROR_UNSUPPORTED, "number 66"}, /* ours, no file's */
        {UINT32_MAX, 1, {256}, 0, ERROR_UNSUPPORTED, "4294967295"},
        {QUANT_F32, 1, {1}, 4, ERROR_FORMAT, "not a multiple of the alignment"},
        {QUANT_F32, 1, {1}, 64, ERROR_FORMAT, "the file is cut: tensor \"t\" ends at byte"},
        {QUANT_F32, 1, {17}, 0, ERROR_FORMAT, "the file is cut"},
        {QUANT_F32, 1, {1}, 1ull << 63, ERROR_FORMAT, "than any file"},
        {QUANT_F32, 1, {1}, UINT64_MAX - 31, ERROR_FORMAT, "than any file"},
        {QUANT_F32, 1, {1ull << 61}, 1ull << 62, ERROR_FORMAT, "than any file"},
        {QUANT_F32, 1, {1ull << 61}, 1ull << 63, ERROR_FORMAT, "than any file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = one_tensor(cases[i].type, cases[i].n_dims, cases[i].shape, cases[i].offset);
        assert_refused(&b, cases[i].code, cases[i].text);
    }
    struct buf b = one_tensor(QUANT_F32, 1, (uint64_t[]){16}, 0); /* the same, right */
    struct error err;
    struct weights *w = open_buf(&b, &err);
    assert_non_null(w);
    assert_int_equal(weights_tensor(w, "t")->n_bytes, 64);
    weights_close(w);
    buf_deinit(&b);
}

/* The third and the fourth dimension count experts; one dimension is one row. */
static void tensors_are_matrices(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_dims;
        uint64_t shape[4];
        size_t n_rows, n_experts;
    } cases[] = {{1, {4}, 1, 1}, {2, {4, 2}, 2, 1}, {3, {4, 1, 3}, 1, 3}, {4, {2, 2, 2, 2}, 2, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct matrix m;
        struct buf b = one_tensor(QUANT_F32, cases[i].n_dims, cases[i].shape, 0);
        struct weights *w = open_buf(&b, &err);
        assert_non_null(w);
        assert_true(weights_matrix(w, "t", &m));
        assert_int_equal(m.n_cols, cases[i].shape[0]);
        assert_int_equal(m.n_rows, cases[i].n_rows);
        assert_int_equal(m.n_experts, cases[i].n_experts);
        assert_int_equal(m.parts[MATRIX_BLOCKS].row_bytes, 4 * m.n_cols);
        assert_int_equal(m.parts[MATRIX_BLOCKS].expert_bytes, 4 * m.n_cols * m.n_rows);
        weights_close(w);
        buf_deinit(&b);
    }
}

static void names_are_unique_and_sayable(void **state)
{
    (void)state;
    struct buf b = header(0, 2);
    GGUF_META(&b, "twice", U8, uint8_t, 1);
    GGUF_META(&b, "twice", U8, uint8_t, 2);
    assert_refused(&b, ERROR_FORMAT, "metadata entry \"twice\": byte 42: the name appears twice");
    b = header(2, 0);
    gguf_tensor(&b, "t", QUANT_F32, 1, (uint64_t[]){8}, 0);
    gguf_tensor(&b, "t", QUANT_F32, 1, (uint64_t[]){8}, 32);
    gguf_pad(&b, 32);
    gguf_data(&b, 0, 64);
    assert_refused(&b, ERROR_FORMAT, "tensor \"t\": byte");
    b = header(0, 1);
    GGUF_META(&b, "", U32, uint32_t, 1);
    assert_refused(&b, ERROR_FORMAT, "the name is empty");
    b = header(0, 1);
    GGUF_PUT(&b, uint64_t, 3);
    buf_append(&b, "a\0b", 3);
    GGUF_PUT(&b, uint32_t, GGUF_U8);
    buf_putc(&b, 1);
    assert_refused(&b, ERROR_FORMAT, "zero byte");
    b = header(0, 1);
    GGUF_PUT(&b, uint64_t, 70000);
    gguf_data(&b, 'k', 70000);
    gguf_data(&b, 0, 8);
    assert_refused(&b, ERROR_FORMAT, "too long");
    b = header(0, 1); /* what a terminal would obey is not in the message */
    GGUF_META(&b, "\033[2Jx\377\177", BOOL, uint8_t, 7);
    assert_refused(&b, ERROR_FORMAT, "\"?[2Jx??\"");
}

static void values_are_what_their_types_say(void **state)
{
    (void)state;
    struct buf b = header(0, 1);
    gguf_key(&b, "odd", 13);
    gguf_data(&b, 0, 16);
    assert_refused(&b, ERROR_FORMAT, "unknown value type 13");
    b = header(0, 1);
    gguf_array(&b, "odd", UINT32_MAX, 1);
    gguf_data(&b, 0, 16);
    assert_refused(&b, ERROR_FORMAT, "unknown value type");
    b = header(0, 1);
    gguf_array(&b, "nested", GGUF_ARRAY, 1);
    gguf_data(&b, 0, 16);
    assert_refused(&b, ERROR_UNSUPPORTED, "arrays of arrays");
    b = header(0, 1);
    GGUF_META(&b, "maybe", BOOL, uint8_t, 2);
    assert_refused(&b, ERROR_FORMAT, "a bool is 2");
    b = header(0, 1);
    gguf_array(&b, "maybe", GGUF_BOOL, 3);
    buf_append(&b, "\1\0\3", 3);
    assert_refused(&b, ERROR_FORMAT, "a bool is 3");
}

static struct buf aligned_file(uint32_t alignment)
{
    struct buf b = header(1, 1);
    GGUF_META(&b, "general.alignment", U32, uint32_t, alignment);
    gguf_tensor(&b, "t", QUANT_F32, 1, (uint64_t[]){4}, 0);
    gguf_pad(&b, alignment ? alignment : 32);
    gguf_data(&b, 0x44, 16);
    return b;
}

static void the_alignment_is_the_files_own(void **state)
{
    (void)state;
    static const uint32_t good[] = {8, 16, 64, 4096}, bad[] = {0, 1, 4, 24, 33};
    struct error err;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct buf b = aligned_file(good[i]);
        struct weights *w = open_buf(&b, &err);
        if (!w)
            fail_msg("alignment %u: %s", good[i], err.message);
        assert_int_equal(*(const uint8_t *)weights_tensor(w, "t")->data, 0x44);
        weights_close(w);
        buf_deinit(&b);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = aligned_file(bad[i]);
        assert_refused(&b, ERROR_FORMAT, "general.alignment");
    }
    struct buf b = header(0, 1);
    gguf_key(&b, "general.alignment", GGUF_STRING);
    gguf_string(&b, "32");
    assert_refused(&b, ERROR_FORMAT, "general.alignment");
    b = aligned_file(64);
    b.data[24 + 8 + 17 + 4 + 3] = (char)0x80; /* 2^31 + 64: far past the end, and no overflow */
    assert_refused(&b, ERROR_FORMAT, "general.alignment");
}

static void a_large_vocabulary_opens_quickly_and_any_word_is_near(void **state)
{
    (void)state;
    enum { N = 150000 };
    struct buf b;
    buf_init(&b, 64 << 20);
    gguf_header(&b, 3, 0, 2);
    for (int list = 0; list < 2; list++) {
        gguf_array(&b, list ? "merges" : "words", GGUF_STRING, N);
        for (int i = 0; i < N; i++) {
            char word[24];
            snprintf(word, sizeof word, "w%d", i);
            gguf_string(&b, word);
        }
    }
    int64_t best_ms = INT64_MAX;
    for (int round = 0; round < 5; round++) {
        struct error err;
        int64_t begin_ms = cpu_time_ms();
        struct weights *w = open_buf(&b, &err);
        int64_t ms = cpu_time_ms() - begin_ms;
        assert_non_null(w);
        best_ms = ms < best_ms ? ms : best_ms;
        struct weights_string s;
        begin_ms = cpu_time_ms();
        for (int i = N - 1; i >= 0; i--) {
            char word[24];
            int n = snprintf(word, sizeof word, "w%d", i);
            assert_true(weights_array_string(w, "merges", (size_t)i, &s));
            if (s.len != (size_t)n || memcmp(s.data, word, s.len))
                fail_msg("word %d is another", i);
        }
        assert_true(cpu_time_ms() - begin_ms < 10000); /* walking it for each takes minutes */
        weights_close(w);
    }
    if (best_ms > 400) /* a search for each takes minutes */
        fail_msg("opening took %lld ms", (long long)best_ms);
    buf_deinit(&b);
}

/* Eight GiB of data in a file with a hole: opened without looking at it. */
static void opening_costs_nothing_for_the_tensors_data(void **state)
{
    (void)state;
    char path[] = "/tmp/pensieve-weights-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct buf b = header(1, 0);
    gguf_tensor(&b, "huge", QUANT_F32, 2, (uint64_t[]){1 << 15, 1 << 16}, 0);
    gguf_pad(&b, 32);
    assert_int_equal(write(fd, b.data, b.len), b.len);
    assert_int_equal(ftruncate(fd, (off_t)b.len + (8ll << 30)), 0);
    struct rusage before, after;
    struct error err;
    getrusage(RUSAGE_SELF, &before);
    struct weights *w = weights_open(path, &err);
    getrusage(RUSAGE_SELF, &after);
    unlink(path);
    close(fd);
    if (!w)
        fail_msg("%s", err.message);
    assert_int_equal(weights_tensor(w, "huge")->n_bytes, 8ull << 30);
    assert_true(after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt < 500);
    weights_close(w);
    buf_deinit(&b);
}

static void errors_of_a_file_begin_with_its_path(void **state)
{
    (void)state;
    struct error err;
    assert_null(weights_open("/nonexistent/model.gguf", &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/model.gguf"));
    assert_null(weights_open("/dev/null", &err));
    char path[] = "/tmp/pensieve-weights-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "GGUF", 4), 4);
    close(fd);
    assert_null(weights_open(path, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_int_equal(err.position, 4);
    assert_memory_equal(err.message, path, strlen(path));
    unlink(path);
}

/* What NVFP4 is multiplied by: X.scale, if it has a float for each matrix. */
static void scales_beside_nvfp4_are_factors_of_the_matrix(void **state)
{
    (void)state;
    struct buf b;
    struct error err;
    struct matrix m;
    buf_init(&b, 1 << 20);
    gguf_header(&b, 3, 5, 0);
    gguf_tensor(&b, "a.weight", QUANT_NVFP4, 3, (uint64_t[]){64, 1, 2}, 0);
    gguf_tensor(&b, "a.scale", QUANT_F32, 1, (uint64_t[]){2}, 96);
    gguf_tensor(&b, "b.weight", QUANT_NVFP4, 2, (uint64_t[]){64, 1}, 128);
    gguf_tensor(&b, "b.scale", QUANT_F32, 1, (uint64_t[]){2}, 192);
    gguf_tensor(&b, "a.bias", QUANT_F32, 1, (uint64_t[]){2}, 224);
    gguf_pad(&b, 32);
    gguf_data(&b, 0x38, 96); /* scales of 1; numbers -0 and 1.5 */
    GGUF_PUT(&b, float, 0.5f);
    GGUF_PUT(&b, float, -3.0f);
    gguf_data(&b, 0, 152);
    struct weights *w = open_buf(&b, &err);
    if (!w)
        fail_msg("%s", err.message);
    assert_true(weights_matrix(w, "a.weight", &m));
    assert_true(matrix_check(&m, &err));
    for (size_t i = 0; i < 2; i++) {
        const struct matrix expert = matrix_expert(&m, i), alone = matrix_expert(&expert, 0);
        float row[64];
        assert_true(matrix_factor(&alone) == (i ? -3.0f : 0.5f));
        matrix_decode(&expert, 0, row);
        assert_true(row[8] == 1.5f * (i ? -3.0f : 0.5f)); /* the high nibble 3 is 1.5 */
    }
    assert_true(weights_matrix(w, "b.weight", &m));
    assert_false(matrix_check(&m, &err)); /* two floats are none of one matrix */
    assert_non_null(strstr(err.message, "NVFP4 whose scale is not F32 for each of 1 matrices"));
    assert_true(weights_matrix(w, "a.bias", &m));
    assert_null(m.parts[MATRIX_FACTORS].data);
    weights_close(w);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_comes_back),
        cmocka_unit_test(a_missing_key_or_another_kind_is_no_value),
        cmocka_unit_test(arrays_come_back_item_by_item),
        cmocka_unit_test(the_list_of_metadata_names_every_entry),
        cmocka_unit_test(tensors_point_at_their_data),
        cmocka_unit_test(a_cut_file_is_refused_at_every_length),
        cmocka_unit_test(no_changed_byte_leads_outside_the_file),
        cmocka_unit_test(files_of_another_format_are_refused_by_name),
        cmocka_unit_test(hostile_counts_are_refused),
        cmocka_unit_test(hostile_tensors_are_refused),
        cmocka_unit_test(tensors_are_matrices),
        cmocka_unit_test(names_are_unique_and_sayable),
        cmocka_unit_test(values_are_what_their_types_say),
        cmocka_unit_test(the_alignment_is_the_files_own),
        cmocka_unit_test(a_large_vocabulary_opens_quickly_and_any_word_is_near),
        cmocka_unit_test(opening_costs_nothing_for_the_tensors_data),
        cmocka_unit_test(scales_beside_nvfp4_are_factors_of_the_matrix),
        cmocka_unit_test(errors_of_a_file_begin_with_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
