/* JSON byte by byte: what goes in comes out in one form, wherever it is cut it can be closed, and
 * what is no JSON is told at the first byte that shows it. */
#include "chat/json_exact.h"
#include "chat/json_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* How many bytes were taken before the verdict. */
static size_t stream(const char *text, size_t n, struct json_stream *s, struct buf *out,
                     enum json_stream_verdict *verdict)
{
    size_t i = 0;
    json_stream_init(s);
    for (*verdict = JSON_STREAM_MORE; i < n && *verdict == JSON_STREAM_MORE; i++)
        *verdict = json_stream_byte(s, text[i], out);
    return i;
}

static void check(const char *text, const char *expected)
{
    struct json_stream s;
    struct buf out;
    enum json_stream_verdict verdict;
    buf_init(&out, 1 << 16);
    assert_int_equal(stream(text, strlen(text), &s, &out, &verdict), strlen(text));
    assert_int_equal(verdict, JSON_STREAM_DONE);
    assert_string_equal(out.data, expected);
    buf_deinit(&out);
}

static void test_one_form(void **state)
{
    (void)state;
    check("{ \"a\" : [ 1 , -0.50e+3 , true , false , null , { } , [ ] ] , \"b\" : \"x\" }",
          "{\"a\":[1,-0.50e+3,true,false,null,{},[]],\"b\":\"x\"}");
    check("[\"\\u0041\\/\\b\\f\\n\\r\\t\\\"\\\\\\u00e9\\u20AC\\ud83d\\ude00\\u0000\"]",
          "[\"A/\\u0008\\u000c\\n\\r\\t\\\"\\\\\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\u0000\"]");
    check("[123456789012345678901234567890,1E400,-0]", "[123456789012345678901234567890,1E400,-0]");
}

static void test_mended(void **state)
{
    (void)state;
    check("[\"it\\'s\"]", "[\"it's\"]");
    check("[\"a\n\tb\x01\"]", "[\"a\\n\\tb\\u0001\"]");
    check("[\"\\d+ \\$ C:\\Users\\unix \\x\"]", "[\"\\\\d+ \\\\$ C:\\\\Users\\\\unix \\\\x\"]");
    check("[\"\\ud800 \\udc00 \\ud800\\ud83d\\ude00\\ud800\\n\\ud800\"]",
          "[\"\\\\ud800 \\\\udc00 \\\\ud800\xf0\x9f\x98\x80\\\\ud800\\n\\\\ud800\"]");
    check("[\"\\u12\\u\"]", "[\"\\\\u12\\\\u\"]");
}

static void check_bad(const char *good, const char *bad)
{
    char text[128];
    struct json_stream s;
    struct buf out;
    enum json_stream_verdict verdict;
    snprintf(text, sizeof text, "%s%s", good, bad);
    buf_init(&out, 1 << 16);
    assert_int_equal(stream(text, strlen(text), &s, &out, &verdict), strlen(good) + 1);
    assert_int_equal(verdict, JSON_STREAM_BAD);
    buf_deinit(&out);
}

static void test_bad(void **state)
{
    (void)state;
    check_bad("", "x");
    check_bad(" ", "1");
    check_bad("[1", "x");
    check_bad("[0", "1]");
    check_bad("[1.", "]");
    check_bad("[1e+", ",");
    check_bad("[-", "]");
    check_bad("[tru", "x");
    check_bad("[1,", "]");
    check_bad("{\"a\"", ",");
    check_bad("{\"a\":1,", "}");
    check_bad("{", "a");
    check_bad("{\"a\":1", "]");
    check_bad("[1 ", "2");
    char deep[JSON_STREAM_MAX_DEPTH + 1] = "";
    memset(deep, '[', JSON_STREAM_MAX_DEPTH);
    check_bad(deep, "[");
}

/* A value with a bit of everything. */
static void put_any(struct buf *out, int depth)
{
    static const char *const scalars[] = {
        "0",  "-12.5e-7", "true", "null", "\"\"", "\"a\\\\\\u00e9\\ud83d\\ude00\xe2\x82\xac\\n\"",
        "1e5"};
    int kind = depth > 3 ? 0 : rand() % 3, n = rand() % 4;
    if (!kind) {
        buf_puts(out, scalars[rand() % 7]);
        return;
    }
    buf_putc(out, kind == 1 ? '[' : '{');
    for (int i = 0; i < n; i++) {
        buf_puts(out, i ? " ," : "");
        if (kind == 2)
            buf_printf(out, "\"k%d\\n\" : ", i);
        put_any(out, depth + 1);
    }
    buf_putc(out, kind == 1 ? ']' : '}');
}

/* The text is that of json_exact, and every beginning of it can be closed to something that reads.
 */
static void test_any_text_anywhere_cut(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct buf text, out, exact;
        struct json_stream s;
        enum json_stream_verdict verdict;
        buf_init(&text, 1 << 16);
        buf_puts(&text, "{\"v\":");
        put_any(&text, 0);
        buf_puts(&text, "}");
        for (size_t n = 1; n <= text.len; n++) {
            buf_init(&out, 1 << 16);
            stream(text.data, n, &s, &out, &verdict);
            if (n < text.len)
                json_stream_close(&s, 0, &out);
            /* the cut may lie in a character */
            json_t *value = NULL;
            for (size_t i = 0; i < out.len; i++)
                if (n < text.len && (unsigned char)out.data[i] >= 0x80)
                    out.data[i] = '?';
            value = json_exact_load(out.data, out.len, NULL);
            assert_non_null(value);
            if (n == text.len) {
                buf_init(&exact, 1 << 16);
                json_exact_write(&exact, value, 0);
                assert_string_equal(exact.data, out.data);
                assert_int_equal(verdict, JSON_STREAM_DONE);
                buf_deinit(&exact);
            }
            json_decref(value);
            buf_deinit(&out);
        }
        buf_deinit(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_form),
        cmocka_unit_test(test_mended),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_any_text_anywhere_cut),
    };
    srand(5);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
