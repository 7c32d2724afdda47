/* Headers of safetensors files: right ones are read as they are meant, and every lie is refused
 * with the tensor and what is wrong. */
#include "base/arena.h"
#include "weights/safetensors.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder_bytes.h"
#include "guarded.h"

static struct arena names;

static bool read_bytes(struct safetensors *s, const void *data, size_t n, struct error *err)
{
    struct guarded g = guarded_copy(data, n);
    arena_deinit(&names);
    arena_init(&names, 1 << 20);
    bool ok = safetensors_read(s, g.data, n, &names, err);
    guarded_free(&g);
    if (!ok && (err->position > (int64_t)n || (err->position < 0 && err->code == ERROR_FORMAT)))
        fail_msg("position %lld of %zu: %s", (long long)err->position, n, err->message);
    return ok;
}

static bool read_header(struct safetensors *s, const char *header, size_t n_data, struct error *err)
{
    struct buf b;
    safetensors_file(&b, header, n_data);
    bool ok = read_bytes(s, b.data, b.len, err);
    buf_deinit(&b);
    return ok;
}

static void right_headers_are_read(void **state)
{
    (void)state;
    struct safetensors s;
    struct error err = {0};
    static const char header[] =
        "{\"__metadata__\": {\"format\": \"mlx\", \"by\": \"hand\"},"
        " \"b\\u00e9\": {\"shape\": [2, 3], \"dtype\": \"F16\", \"data_offsets\": [4, 16]},"
        " \"a\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4], \"more\": [{}]},"
        " \"none\": {\"dtype\": \"I64\", \"shape\": [0, 7], \"data_offsets\": [16, 16]},"
        " \"half\": {\"dtype\": \"F4\", \"shape\": [3, 2], \"data_offsets\": [16, 19]}}   ";
    if (!read_header(&s, header, 19, &err))
        fail_msg("%s", err.message);
    assert_true(s.is_mlx);
    assert_int_equal(s.n_tensors, 4);
    assert_int_equal(s.data_begin, 8 + strlen(header));
    const struct safetensors_tensor *t = s.tensors;
    assert_string_equal(t[0].name, "a");
    assert_int_equal(t[0].n_dims, 0);
    assert_string_equal(t[1].name, "b\xc3\xa9");
    assert_int_equal(t[1].type, SAFETENSORS_F16);
    assert_int_equal(t[1].n_dims, 2);
    assert_int_equal(t[1].shape[1], 3);
    assert_int_equal(t[1].begin, s.data_begin + 4);
    assert_int_equal(t[1].end, s.data_begin + 16);
    assert_string_equal(t[2].name, "none");
    assert_string_equal(t[3].name, "half");
    safetensors_deinit(&s);
    assert_true(read_header(&s, "{}", 0, &err));
    assert_false(s.is_mlx);
    safetensors_deinit(&s);
    assert_true(read_header(&s, "{\"__metadata__\":{\"format\":\"pt\"}}", 0, &err));
    assert_false(s.is_mlx);
    safetensors_deinit(&s);
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"
#define ONE(dtype, shape, begin, end) "{" T("t", dtype, shape, begin, end) "}"

static const struct {
    const char *header;
    size_t n_data;
    const char *says;
} wrong[] = {
    /* no header */
    {"", 0, "cut here"},
    {"[]", 0, "not a JSON object"},
    {"{} {}", 0, "follows"},
    {"{\"t\":", 0, "cut here"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"n\":1}}", 0, "not a string"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    /* no description */
    {"{\"t\":1}", 0, "tensor \"t\": byte 13: its description is not an object"},
    {"{\"t\":{}}", 0, "tensor \"t\": byte 14: it has no dtype"},
    {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "it has no shape"},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "it has no data_offsets"},
    {"{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "two members \"dtype\""},
    {"{\"\":{}}", 0, "the name of tensor 0 has 0 bytes"},
    {"{\"a\\u0000b\":{}}", 0, "zero byte"},
    /* types */
    {ONE("Q4_0", "[1]", 0, 4), 4, "dtype \"Q4_0\" is unknown"},
    {ONE("f32", "[1]", 0, 4), 4, "dtype \"f32\" is unknown"},
    {"{\"t\":{\"dtype\":7}}", 0, "dtype is not a string"},
    /* shapes */
    {ONE("F32", "1", 0, 4), 4, "its shape is not an array"},
    {ONE("F32", "[\"1\"]", 0, 4), 4, "its shape is not of numbers"},
    {ONE("F32", "[-1]", 0, 4), 4, "a number that none can be"},
    {ONE("F32", "[1.0]", 0, 4), 4, "a number that none can be"},
    {ONE("F32", "[1e0]", 0, 4), 4, "a number that none can be"},
    {ONE("F32", "[18446744073709551616]", 0, 4), 4, "a number that none can be"},
    {ONE("F32", "[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "more than 8 numbers"},
    {ONE("F32", "[4294967296,4294967296]", 0, 4), 4, "more than any file can hold"},
    {ONE("F32", "[2305843009213693952]", 0, 0), 0, "more than any file can hold"},
    {ONE("F32", "[2]", 0, 4), 4, "takes 8 bytes of F32, its data_offsets are 4 apart"},
    {ONE("F16", "[3]", 0, 4), 4, "takes 6 bytes of F16"},
    {ONE("F4", "[3]", 0, 1), 1, "takes 2 bytes of F4"},
    /* places */
    {ONE("F32", "[1]", 4, 0), 4, "not a begin and an end"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "not a begin and an end"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "more than 2 numbers"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", 1, "is not an array"},
    {ONE("F32", "[1]", 0, 4), 3, "\"t\" ends at byte 4 of the data, of which the file has 3"},
    {ONE("F32", "[1]", 0, 4), 5, "1 bytes behind the last tensor"},
    {"{}", 1, "1 bytes behind the last tensor"},
    {ONE("F32", "[1]", 4, 8), 8,
     "\"t\" begins at byte 4 of the data, but what is before it ends at 0"},
    {"{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 3, 7) "}", 7,
     "\"b\" begins inside tensor \"a\""},
    {"{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 0, 4) "}", 4, "begins inside tensor"},
    {"{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[2]", 1, 3) "}", 4, "begins inside tensor"},
    {"{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[2]", 5, 7) "}", 7,
     "\"b\" begins at byte 5 of the data, but what is before it ends at 4"},
};

static void lies_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct safetensors s;
        struct error err = {.position = -1};
        if (read_header(&s, wrong[i].header, wrong[i].n_data, &err))
            fail_msg("%s was taken", wrong[i].header);
        if (err.code != ERROR_FORMAT || !strstr(err.message, wrong[i].says))
            fail_msg("%s: %s", wrong[i].header, err.message);
        assert_null(s.tensors);
    }
}

static void lengths_are_checked_first(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        enum error_code code;
    } rows[] = {{3, ERROR_FORMAT},          {1 << 20, ERROR_FORMAT},
                {UINT32_MAX, ERROR_FORMAT}, {UINT64_C(1) << 32, ERROR_FORMAT},
                {INT64_MAX, ERROR_FORMAT},  {UINT64_MAX - 7, ERROR_FORMAT},
                {UINT64_MAX, ERROR_FORMAT}};
    struct safetensors s;
    struct error err = {.position = -1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t bytes[10] = {0};
        memcpy(bytes, &rows[i].length, 8);
        memcpy(bytes + 8, "{}", 2);
        assert_false(read_bytes(&s, bytes, sizeof bytes, &err));
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.message, "the header should have"));
    }
    for (size_t n = 0; n < 8; n++)
        assert_false(read_bytes(&s, "\2\0\0\0\0\0\0\0", n, &err));
    /* as long as it says, and still too long: nothing of it is read */
    size_t n = 100000001;
    uint8_t *large = calloc(1, 8 + n);
    assert_non_null(large);
    memcpy(large, &n, 8);
    arena_init(&names, 1 << 20);
    assert_false(safetensors_read(&s, large, 8 + n, &names, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    free(large);
}

/* Cut anywhere, a file is refused, and nothing is read behind its end. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    struct buf b;
    safetensors_file(&b, "{" T("a", "U8", "[4]", 0, 4) "," T("b", "F32", "[1,2]", 4, 12) "}", 12);
    for (size_t n = 0; n <= b.len; n++) {
        struct safetensors s;
        struct error err = {.position = -1};
        bool ok = read_bytes(&s, b.data, n, &err);
        assert_int_equal(ok, n == b.len);
        if (ok)
            safetensors_deinit(&s);
    }
    buf_deinit(&b);
}

/* Any byte of a file changed to anything: read or refused, never worse. */
static void every_changed_byte_is_read_or_refused(void **state)
{
    (void)state;
    struct buf b;
    safetensors_file(&b, "{" T("a", "U8", "[4]", 0, 4) "," T("b", "F32", "[1,2]", 4, 12) "}", 12);
    for (size_t i = 0; i < b.len - 12; i++)
        for (int value = 0; value < 256; value++) {
            char was = b.data[i];
            struct safetensors s;
            struct error err = {.position = -1};
            b.data[i] = (char)value;
            if (read_bytes(&s, b.data, b.len, &err)) {
                for (size_t k = 0; k < s.n_tensors; k++)
                    assert_true(s.tensors[k].end <= b.len);
                safetensors_deinit(&s);
            }
            b.data[i] = was;
        }
    buf_deinit(&b);
}

static int deinit_names(void **state)
{
    (void)state;
    arena_deinit(&names);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_headers_are_read),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(lengths_are_checked_first),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_changed_byte_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, deinit_names);
}
