/* Settings: what a row says is what is read, refused, printed and explained; nearest names; text
 * that a terminal may see. */
#include "base/nearest.h"
#include "base/printable.h"
#include "base/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
    uint32_t first; /* no source lies at 0 */
    bool flag;
    const char *text, *list;
    uint32_t number, choice;
    uint64_t wide, size;
    float real;
    struct setting_numbers numbers;
    enum setting_source size_from;
};

static const char *const colours[] = {"red", "green", "blue", NULL};

#define VALUE(kind, member) SETTING_VALUE(kind, struct values, member)

static const struct setting rows[] = {
    {.name = "flag", VALUE(FLAG, flag), .help = "a flag"},
    {.name = "text", VALUE(TEXT, text), .metavar = "TEXT", .help = "a text"},
    {.name = "number",
     VALUE(UINT, number),
     .min = 2,
     .max = 90,
     .fallback = "17",
     .metavar = "N",
     .help = "a number ({default})"},
    {.name = "wide", VALUE(UINT64, wide), .metavar = "N", .help = "a wide number"},
    {.name = "real", VALUE(FLOAT, real), .min = -1, .max = 1, .metavar = "X", .help = "a real one"},
};

static const struct setting more_rows[] = {
    {.name = "size",
     VALUE(SIZE, size),
     SETTING_SOURCE(struct values, size_from),
     .min = 1024,
     .max = 1ull << 40,
     .metavar = "SIZE",
     .environment = "PENSIEVE_TEST_SIZE",
     .help = "a size"},
    {.name = "choice",
     VALUE(CHOICE, choice),
     .choices = colours,
     .fallback = "green",
     .metavar = "COLOUR",
     .help = "{choices} (default: {default})"},
    {.name = "numbers",
     VALUE(NUMBERS, numbers),
     .needs_one = true,
     .min = 1,
     .max = 99,
     .fallback = "1",
     .metavar = "N,N",
     .help = "numbers"},
    {.name = "list", VALUE(LIST, list), .choices = colours, .metavar = "C,C", .help = "colours"},
};
static const struct setting_table table = SETTING_TABLE(rows),
                                  more_table = SETTING_TABLE(more_rows);

static struct values values;
static const struct settings_part parts[] = {{&table, &values}, {&more_table, &values}};
static struct settings settings;

static int begin(void **state)
{
    (void)state;
    values = (struct values){0};
    return !settings_init(&settings, parts, 2, NULL);
}

static bool set(const char *name, const char *text, struct error *err)
{
    size_t i = settings_find(&settings, name, strlen(name));
    assert_true(i < settings_n(&settings));
    return settings_set(&settings, i, SETTING_BY_FLAG, name, text, err);
}

static void assert_sets(const char *name, const char *text)
{
    struct error err = {0};
    if (!set(name, text, &err))
        fail_msg("%s = '%s': %s", name, text, err.message);
}

/* The message names the setting, the value and what would be right. */
static void assert_refused(const char *name, const char *text, const char *right)
{
    struct error err = {0};
    const struct values before = values;
    assert_false(set(name, text, &err));
    assert_int_equal(err.code, ERROR_USAGE);
    assert_ptr_equal(strstr(err.message, name), err.message);
    assert_non_null(strstr(err.message, text));
    if (!strstr(err.message, right))
        fail_msg("\"%s\" is not in: %s", right, err.message);
    assert_memory_equal(&values, &before, sizeof values);
}

static void defaults_are_written(void **state)
{
    (void)state;
    assert_int_equal(values.number, 17);
    assert_int_equal(values.choice, 1);
    assert_int_equal(values.numbers.n, 1);
    assert_null(values.text);
    for (size_t i = 0; i < settings_n(&settings); i++)
        assert_int_equal(settings_source(&settings, i), SETTING_BY_DEFAULT);
}

static void every_kind_is_read_and_printed_alike(void **state)
{
    static const char *const texts[][2] = {
        {"flag", "true"},   {"flag", "false"},     {"text", "a=b c"},
        {"number", "2"},    {"number", "90"},      {"wide", "18446744073709551615"},
        {"real", "-0.5"},   {"real", "0.1"},       {"size", "1K"},
        {"size", "1T"},     {"size", "1536M"},     {"size", "1025"},
        {"choice", "blue"}, {"numbers", "1,2,99"}, {"list", "red,blue"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf once, again;
        buf_init(&once, 100);
        buf_init(&again, 100);
        const size_t at = settings_find(&settings, texts[i][0], strlen(texts[i][0]));
        const struct setting *row = settings_at(&settings, at, NULL);
        assert_sets(texts[i][0], texts[i][1]);
        assert_true(setting_print(row, &values, &once));
        assert_sets(texts[i][0], once.data);
        assert_true(setting_print(row, &values, &again));
        assert_string_equal(once.data, again.data);
        if (row->kind != SETTING_FLOAT)
            assert_string_equal(once.data, texts[i][1]);
        assert_int_equal(settings_source(&settings, at), SETTING_BY_FLAG);
        values.text = values.list = NULL; /* they were borrowed */
        buf_deinit(&once);
        buf_deinit(&again);
    }
    assert_int_equal(values.size_from, SETTING_BY_FLAG);
    assert_sets("size", "2gib");
    assert_true(values.size == 2ull << 30);
    assert_sets("size", "3kB");
    assert_true(values.size == 3072);
    assert_sets("flag", "on");
    assert_true(values.flag);
}

static void what_is_wrong_is_refused_with_what_is_right(void **state)
{
    static const char *const wrong[][3] = {
        {"flag", "maybe", "true or false"},
        {"number", "1", "from 2 to 90"},
        {"number", "91", "from 2 to 90"},
        {"number", "-3", "from 2 to 90"},
        {"number", "+3", "whole number"},
        {"number", " 3", "whole number"},
        {"number", "3x", "whole number"},
        {"number", "", "whole number"},
        {"number", "99999999999999999999999", "from 2 to 90"},
        {"wide", "18446744073709551616", "to 18446744073709551615"},
        {"wide", "-1", "whole number"},
        {"real", "1.01", "from -1 to 1"},
        {"real", "nan", "from -1 to 1"},
        {"real", "x", "number"},
        {"size", "1023", "from 1K to 1T"},
        {"size", "2T", "from 1K to 1T"},
        {"size", "much", "like 512M or 8G"},
        {"size", "1Gx", "like 512M or 8G"},
        {"size", "99999999999T", "from 1K to 1T"},
        {"choice", "pink", "red, green or blue"},
        {"choice", "re", "red, green or blue"},
        {"numbers", "", "from 1 to 99"},
        {"numbers", "1,", "from 1 to 99"},
        {"numbers", "1;2", "with commas"},
        {"numbers", "0", "from 1 to 99"},
        {"numbers", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "up to 16"},
        {"list", "red,", "comma"},
        {"list", ",", "comma"},
        {"list", "red,,blue", "a list of"},
        {"list", "pink", "a list of red, green or blue"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i][0], wrong[i][1], wrong[i][2]);
}

static void who_outweighs_whom(void **state)
{
    struct error err = {0};
    const size_t size = settings_find(&settings, "size", 4);
    (void)state;
    setenv("PENSIEVE_TEST_SIZE", "2G", 1);
    assert_true(settings_set(&settings, size, SETTING_BY_FILE, "size", "1G", &err));
    assert_true(values.size == 1ull << 30);
    assert_true(settings_take_environment(&settings, &err));
    assert_true(values.size == 2ull << 30);
    assert_int_equal(values.size_from, SETTING_BY_ENVIRONMENT);
    assert_true(settings_set(&settings, size, SETTING_BY_FILE, "size", "1G", &err));
    assert_true(values.size == 2ull << 30);
    assert_true(settings_set(&settings, size, SETTING_BY_FLAG, "--size", "3G", &err));
    setenv("PENSIEVE_TEST_SIZE", "wrong", 1);
    assert_true(settings_take_environment(&settings, &err));
    assert_true(values.size == 3ull << 30);
    begin(NULL);
    assert_false(settings_take_environment(&settings, &err));
    assert_ptr_equal(strstr(err.message, "PENSIEVE_TEST_SIZE"), err.message);
    unsetenv("PENSIEVE_TEST_SIZE");
}

static void help_says_what_the_row_says(void **state)
{
    struct buf help;
    (void)state;
    buf_init(&help, 200);
    assert_true(setting_help(&rows[2], &help));
    assert_string_equal(help.data, "a number (17)");
    buf_clear(&help);
    assert_true(setting_help(&more_rows[1], &help));
    assert_string_equal(help.data, "red, green or blue (default: green)");
    buf_deinit(&help);
}

static void a_wrong_default_is_an_error(void **state)
{
    static const struct setting wrong[] = {
        {.name = "n", VALUE(UINT, number), .max = 5, .fallback = "6", .help = ""}};
    static const struct setting_table wrong_table = SETTING_TABLE(wrong);
    const struct settings_part part = {&wrong_table, &values};
    struct error err = {0};
    (void)state;
    assert_false(settings_init(&settings, &part, 1, &err));
    assert_int_equal(err.code, ERROR_INTERNAL);
}

static void a_misspelt_name_finds_the_one_meant(void **state)
{
    static const char *const names[][2] = {
        {"numbr", "number"}, {"nmuber", "number"},    {"wdie", "wide"}, {"sise", "size"},
        {"choi", "choice"},  {"numbers2", "numbers"}, {"xyzzy", NULL},  {"", NULL},
        {"z", NULL},         {"text", "text"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = settings_nearest_flag(&settings, names[i][0], strlen(names[i][0]));
        if (names[i][1])
            assert_string_equal(found, names[i][1]);
        else
            assert_null(found);
    }
}

static void assert_shown(const char *text, const char *as)
{
    char out[100];
    struct buf b;
    buf_init(&b, 100);
    assert_true(printable_append(&b, text, strlen(text), ""));
    assert_string_equal(b.data ? b.data : "", as);
    assert_int_equal(printable_copy(out, sizeof out, text, strlen(text)), strlen(as));
    assert_string_equal(out, as);
    buf_deinit(&b);
}

static void terminals_see_no_orders(void **state)
{
    char out[8];
    struct buf b;
    (void)state;
    assert_shown("plain, \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                 "plain, \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_shown("\033]0;x\a\r\n\x7f", "\\x1b]0;x\\x07\\x0d\\x0a\\x7f");
    assert_shown("\xc2\x9b"
                 "2J",
                 "\\xc2\\x9b2J"); /* a CSI of one character */
    assert_shown("a\xe2\x80\xae"
                 "b",
                 "a\\xe2\\x80\\xae"
                 "b"); /* turns the direction */
    assert_shown("\xff\xc3(\xe2\x82", "\\xff\\xc3(\\xe2\\x82");
    assert_shown(
        "\xed\xa0\x80\xc0\x9b\xf4\x90\x80\x80",
        "\\xed\\xa0\\x80\\xc0\\x9b\\xf4\\x90\\x80\\x80"); /* surrogate, overlong, too far */
    buf_init(&b, 100);
    assert_true(printable_append(&b, "a\n\tb\033\0", 6, "\n\t"));
    assert_string_equal(b.data, "a\n\tb\\x1b\\x00");
    buf_deinit(&b);
    assert_int_equal(printable_copy(out, sizeof out, "12345\033", 6), 5); /* never half an escape */
    assert_int_equal(printable_strip(out, sizeof out,
                                     "a\033\xc2\x9b"
                                     "b\xff",
                                     6),
                     2);
    assert_string_equal(out, "ab");
    assert_true(printable_is_cut("\xe2\x82", 2));
    assert_true(printable_is_cut("\xf0", 1));
    assert_false(printable_is_cut("\xe2\x28", 2));
    assert_false(printable_is_cut("a", 1));
    assert_false(printable_is_cut("\xff", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_written, begin),
        cmocka_unit_test_setup(every_kind_is_read_and_printed_alike, begin),
        cmocka_unit_test_setup(what_is_wrong_is_refused_with_what_is_right, begin),
        cmocka_unit_test_setup(who_outweighs_whom, begin),
        cmocka_unit_test(help_says_what_the_row_says),
        cmocka_unit_test(a_wrong_default_is_an_error),
        cmocka_unit_test_setup(a_misspelt_name_finds_the_one_meant, begin),
        cmocka_unit_test(terminals_see_no_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
