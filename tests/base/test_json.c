/* JSON texts right and wrong: events, trees, numbers, escapes, and where a fault is said to be. */
#include "base/json_read.h"
#include "base/json_tree.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* The text at the end of a readable page: a byte too many is a crash. */
struct page {
    char *map;
    size_t n_bytes;
    const char *text;
};

static struct page page_of(const char *text, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (len / page + 1) * page;
    struct page p = {.n_bytes = n + page};
    p.map = mmap(NULL, p.n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p.map != MAP_FAILED);
    assert_int_equal(mprotect(p.map + n, page, PROT_NONE), 0);
    p.text = memcpy(p.map + n - len, text, len);
    return p;
}

static bool read_text(const char *text, size_t len, struct json_tree *t, struct error *err)
{
    struct page p = page_of(text, len);
    bool ok = json_tree_read(t, p.text, len, 1000, err);
    if (ok)
        json_tree_deinit(t);
    munmap(p.map, p.n_bytes);
    return ok;
}

static void right_texts_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        " 12.5e-3 ",
        "\"\"",
        "[]",
        "{}",
        "[[],{}]",
        "null",
        "\t[true , false]\r\n",
        "{\"\":0}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"",
        "[NaN,Infinity,-Infinity]",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json_tree t;
        struct error err = {0};
        if (!read_text(texts[i], strlen(texts[i]), &t, &err))
            fail_msg("%s: %s", texts[i], err.message);
    }
}

static const struct {
    const char *text;
    int64_t at;
    const char *says;
} wrong[] = {
    {"", 0, "cut"},
    {"  ", 2, "cut"},
    {"[1,", 3, "cut"},
    {"[1", 2, "cut"},
    {"{\"a\"", 4, "colon"},
    {"{\"a\":", 5, "cut"},
    {"{\"a\":1", 6, "cut"},
    {"{\"a\" 1}", 5, "colon"},
    {"{a:1}", 1, "name in quotes"},
    {"{\"a\":1,}", 7, "name in quotes"},
    {"[1,]", 3, "value should begin"},
    {"[,1]", 1, "value should begin"},
    {"[1 2]", 3, "comma or ]"},
    {"{\"a\":1 \"b\":2}", 7, "comma or }"},
    {"[1}", 2, "comma or ]"},
    {"{\"a\":1]", 6, "comma or }"},
    {"]", 0, "value should begin"},
    {"1 2", 2, "follows"},
    {"{} {}", 3, "follows"},
    {"01", 1, "follows"},
    {"+1", 0, "value should begin"},
    {"1.", 0, "value should begin"},
    {".5", 0, "value should begin"},
    {"1e", 0, "value should begin"},
    {"-", 0, "value should begin"},
    {"-NaN", 0, "value should begin"},
    {"nul", 0, "value should begin"},
    {"True", 0, "value should begin"},
    {"'a'", 0, "value should begin"},
    {"// x\n1", 0, "value should begin"},
    {"\"a", 0, "does not end"},
    {"\"a\\\"", 0, "does not end"},
    {"\"a\nb\"", 2, "control character"},
    {"\"\\x\"", 1, "escape"},
    {"\"\\u12g4\"", 1, "escape"},
    {"\"\\ud800\"", 1, "escape"},
    {"\"\\ud800\\u0041\"", 1, "escape"},
    {"\"\\udc00\"", 1, "escape"},
    {"\"\xff\"", 1, "UTF-8"},
    {"\"\xc0\xaf\"", 1, "UTF-8"},
    {"\"\xed\xa0\x80\"", 1, "UTF-8"},
    {"\"\xf4\x90\x80\x80\"", 1, "UTF-8"},
    {"\"\xe2\x82\"", 1, "UTF-8"},
    {"\xef\xbb\xbf{}", 0, "value should begin"},
    {"{\"a\":1,\"b\":2,\"a\":3}", 18, "two members \"a\""},
    {"{\"\\u0061\":1,\"a\":3}", 17, "two members \"a\""},
};

static void wrong_texts_are_refused_with_the_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct json_tree t;
        struct error err = {0};
        if (read_text(wrong[i].text, strlen(wrong[i].text), &t, &err))
            fail_msg("%s was taken", wrong[i].text);
        if (err.code != ERROR_FORMAT || err.position != wrong[i].at ||
            !strstr(err.message, wrong[i].says))
            fail_msg("%s: %d at %lld: %s", wrong[i].text, (int)err.code, (long long)err.position,
                     err.message);
        assert_null(t.values);
    }
    struct json_tree t;
    struct error err = {0};
    assert_false(read_text("[\"a\0b\"]", 7, &t, &err));
    assert_false(read_text("[1\0]", 4, &t, &err));
}

/* Every beginning of a text is refused, and none is read past its end. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1.5e+3, \"\\ud83d\\ude00\xe2\x82\xac\", {\"b\": null}], "
                               "\"c\": -Infinity, \"d\": true}";
    for (size_t n = 0; n < sizeof text; n++) {
        struct json_tree t;
        struct error err = {0};
        assert_int_equal(read_text(text, n, &t, &err), n == sizeof text - 1);
    }
}

static void depth_and_size_have_an_end(void **state)
{
    (void)state;
    char text[2 * JSON_READ_MAX_DEPTH + 2];
    for (size_t depth = JSON_READ_MAX_DEPTH; depth <= JSON_READ_MAX_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct json_tree t;
        struct error err = {0};
        bool ok = read_text(text, 2 * depth, &t, &err);
        assert_int_equal(ok, depth == JSON_READ_MAX_DEPTH);
        if (!ok)
            assert_non_null(strstr(err.message, "too deep"));
    }
    struct json_tree t;
    struct error err = {0};
    assert_true(json_tree_read(&t, "[1,2,3]", 7, 4, &err));
    json_tree_deinit(&t);
    assert_false(json_tree_read(&t, "[1,2,3]", 7, 3, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    char digits[JSON_READ_MAX_NUMBER + 1];
    memset(digits, '7', sizeof digits);
    assert_true(json_tree_read(&t, digits, sizeof digits - 1, 1, &err));
    json_tree_deinit(&t);
    assert_false(json_tree_read(&t, digits, sizeof digits, 1, &err));
}

static void a_tree_is_found_in(void **state)
{
    (void)state;
    static const char text[] =
        "{\"rope\": {\"factor\": 32.0, \"long\": [1.5, 2, -3]}, \"no\": null, \"is\": true, "
        "\"n\": 1000000000000000019884624838656, \"big\": 18446744073709551615, "
        "\"least\": -9223372036854775808, "
        "\"t\\u00e9xt\": \"a\\u0000\\ud83d\\ude00\\n\", \"inf\": Infinity, \"e\": 1e3}";
    struct json_tree t;
    struct error err = {0};
    if (!json_tree_read(&t, text, sizeof text - 1, 100, &err))
        fail_msg("%s", err.message);
    const struct json_tree_value *root = t.values;
    double x;
    uint64_t u;
    int64_t i;
    assert_int_equal(root->n_items, 9);
    assert_true(json_tree_double(json_tree_path(root, "rope.factor"), &x) && x == 32);
    assert_false(json_tree_uint(json_tree_path(root, "rope.factor"), &u));
    const struct json_tree_value *list = json_tree_path(root, "rope.long");
    assert_int_equal(list->n_items, 3);
    assert_true(json_tree_double(json_tree_item(list, 0), &x) && x == 1.5);
    assert_true(json_tree_int(json_tree_item(list, 2), &i) && i == -3);
    assert_false(json_tree_uint(json_tree_item(list, 2), &u));
    assert_null(json_tree_item(list, 3));
    assert_null(json_tree_item(root, 0));
    assert_true(json_tree_double(json_tree_member(root, "n"), &x) && x == 1e30);
    assert_false(json_tree_uint(json_tree_member(root, "n"), &u));
    assert_true(json_tree_uint(json_tree_member(root, "big"), &u) && u == UINT64_MAX);
    assert_false(json_tree_int(json_tree_member(root, "big"), &i));
    assert_true(json_tree_int(json_tree_member(root, "least"), &i) && i == INT64_MIN);
    assert_false(json_tree_uint(json_tree_member(root, "e"), &u));
    assert_true(json_tree_double(json_tree_member(root, "e"), &x) && x == 1000);
    assert_true(json_tree_double(json_tree_member(root, "inf"), &x) && isinf(x));
    assert_true(json_tree_is(json_tree_member(root, "no"), JSON_TREE_NULL));
    assert_true(json_tree_member(root, "is")->is_true);
    const struct json_tree_value *s = json_tree_member(root, "t\xc3\xa9xt");
    assert_non_null(s);
    assert_int_equal(s->len, 7);
    assert_memory_equal(s->text, "a\0\xf0\x9f\x98\x80\n", 7);
    assert_null(json_tree_path(root, "rope.factor.x"));
    assert_null(json_tree_path(root, "nothing.at.all"));
    assert_null(json_tree_member(NULL, "x"));
    json_tree_deinit(&t);
}

static void a_value_can_be_stepped_over(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,{\"x\":[]}],\"b\":2,\"c\":{}}";
    struct json_reader r;
    struct error err = {0};
    json_read_init(&r, text, sizeof text - 1, &err);
    assert_int_equal(json_read_next(&r), JSON_READ_OBJECT);
    for (const char *key = "abc"; *key; key++) {
        assert_int_equal(json_read_next(&r), JSON_READ_KEY);
        assert_int_equal(r.value_len, 1);
        assert_int_equal(*r.value, *key);
        assert_true(json_read_skip(&r, *key == 'c' ? json_read_next(&r) : JSON_READ_KEY));
    }
    assert_int_equal(json_read_next(&r), JSON_READ_OBJECT_END);
    assert_int_equal(json_read_next(&r), JSON_READ_END);
    assert_int_equal(json_read_next(&r), JSON_READ_END);
}

/* Two equal names are found among many too, and many do not take the time of their square. */
static void many_names_are_compared(void **state)
{
    (void)state;
    enum { N = 200000, ROOM = N * 16 };
    char *text = malloc(ROOM);
    assert_non_null(text);
    for (int again = 0; again < 2; again++) {
        size_t n = 0;
        for (int i = 0; i < N; i++)
            n += (size_t)sprintf(text + n, "%c\"%07d\":0", i ? ',' : '{',
                                 i == N - 1 && again ? 7 : i);
        text[n++] = '}';
        struct json_tree t;
        struct error err = {0};
        bool ok = json_tree_read(&t, text, n, 2 * N + 1, &err);
        assert_int_equal(ok, !again);
        if (ok)
            json_tree_deinit(&t);
        else
            assert_non_null(strstr(err.message, "0000007"));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_texts_are_read),
        cmocka_unit_test(wrong_texts_are_refused_with_the_byte),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(depth_and_size_have_an_end),
        cmocka_unit_test(a_tree_is_found_in),
        cmocka_unit_test(a_value_can_be_stepped_over),
        cmocka_unit_test(many_names_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
