/* Numbers as they were written, whatever jansson makes of them, and strings that nobody takes for
 * numbers. */
#include "chat/json_exact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, unsigned flags, const char *expected)
{
    struct buf out;
    json_error_t at;
    json_t *value = json_exact_load(text, strlen(text), &at);
    if (!value)
        fail_msg("%s: %s", text, at.text);
    buf_init(&out, 1 << 16);
    json_exact_write(&out, value, flags);
    assert_false(buf_failed(&out));
    assert_string_equal(out.data, expected);
    buf_deinit(&out);
    json_decref(value);
}

static void same(const char *text)
{
    check(text, 0, text);
}

static void test_numbers_stay_as_written(void **state)
{
    static const char *const numbers[] = {"0",
                                          "-1",
                                          "9007199254740993",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "-9223372036854775808",
                                          "-9223372036854775809",
                                          "18446744073709551615",
                                          "123456789012345678901234567890",
                                          "18446744073709551615.0",
                                          "1e400",
                                          "-1E+400",
                                          "1e-400",
                                          "1.7976931348623157e308",
                                          "1E5",
                                          "1e5",
                                          "0.1",
                                          "0.10",
                                          "0.0",
                                          "-0",
                                          "-0.0",
                                          "0.00001",
                                          "3.141592653589793238",
                                          "1.0",
                                          "100.50",
                                          "1234567890123456.5",
                                          "12345.678"};
    char text[256];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(text, sizeof text, "{\"a\":[%s,{\"n\":%s}],\"b\":%s}", numbers[i], numbers[i],
                 numbers[i]);
        same(text);
        snprintf(text, sizeof text, "[%s]", numbers[i]);
        same(text);
    }
}

static void test_strings_stay_strings(void **state)
{
    (void)state;
    same("[\"1e400\",\"-0\",\"\\\"1e400\",{\"1e400\":\"\\\\\"},1e400]");
    check("[\"a\\u0000b\",1e400]", 0, "[\"a\\u0000b\",1e400]");
    check("{ \"b\" : [ 1 , 2e9 ] , \"a\" : null }", JSON_EXACT_SPACED,
          "{\"b\": [1, 2e9], \"a\": null}");
    check("{\"b\":true,\"a\":{\"d\":0,\"c\":1}}", JSON_EXACT_SORTED,
          "{\"a\":{\"c\":1,\"d\":0},\"b\":true}");
}

/* A client that reads numbers as doubles shows the same ones. */
static void test_rounded(void **state)
{
    (void)state;
    check("[18446744073709551615,1e5,0.10,-0,1e400]", JSON_EXACT_ROUNDED,
          "[1.8446744073709552e+19,100000,0.10000000000000001,0,1e999]");
    check("[18446744073709552000,100000.0,0.1,0,2e400]", JSON_EXACT_ROUNDED,
          "[1.8446744073709552e+19,100000,0.10000000000000001,0,1e999]");
}

static void test_what_is_no_json(void **state)
{
    static const char *const wrong[] = {"[01]",
                                        "[1.]",
                                        "[1e400,]",
                                        "[-]",
                                        "[1e]",
                                        "[1e400 1e400]",
                                        ("[\"\xff"
                                        "1\xfe\"]"),
                                        "1e400",
                                        "",
                                        "[1e400"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_null(json_exact_load(wrong[i], strlen(wrong[i]), NULL));
}

static void test_kinds(void **state)
{
    static const char text[] = "[\"1e400\",1e1,99999999999999999999,7,0.5,null]";
    json_t *a = json_exact_load(text, sizeof text - 1, NULL);
    (void)state;
    assert_true(json_exact_is_string(json_array_get(a, 0)));
    assert_false(json_exact_is_number(json_array_get(a, 0)));
    for (size_t i = 1; i < 5; i++) {
        assert_true(json_exact_is_number(json_array_get(a, i)));
        assert_false(json_exact_is_string(json_array_get(a, i)));
    }
    assert_false(json_exact_is_number(json_array_get(a, 5)) || json_exact_is_string(NULL));
    assert_true(json_exact_number(json_array_get(a, 1)) == 10);
    assert_true(json_exact_number(json_array_get(a, 2)) == 1e20);
    assert_true(json_exact_number(json_array_get(a, 4)) == 0.5);
    json_decref(a);
}

static void on_number(void *context, json_t *string)
{
    strcat(strcat(context, json_string_value(string)), " ");
}

static void test_view(void **state)
{
    static const char odd[] = "{\"a\":[1e400,{\"b\":-0}],\"c\":\"1e400\",\"d\":[2]}",
                      plain[] = "{\"a\":[1,2.5,\"x\"]}";
    char numbers[64] = "";
    (void)state;
    json_t *value = json_exact_load(odd, sizeof odd - 1, NULL);
    json_t *view = json_exact_view(value, on_number, numbers);
    assert_string_equal(numbers, "1e400 -0 ");
    char *text = json_dumps(view, JSON_COMPACT);
    assert_string_equal(text, "{\"a\":[\"1e400\",{\"b\":\"-0\"}],\"c\":\"1e400\",\"d\":[2]}");
    assert_ptr_equal(json_object_get(view, "d"), json_object_get(value, "d"));
    free(text);
    json_decref(view);
    json_decref(value);
    value = json_exact_load(plain, sizeof plain - 1, NULL);
    view = json_exact_view(value, on_number, numbers);
    assert_ptr_equal(view, value);
    json_decref(view);
    json_decref(value);
    assert_null(json_exact_view(NULL, on_number, numbers));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_stay_as_written),
        cmocka_unit_test(test_strings_stay_strings),
        cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_what_is_no_json),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
