/* The option parser: every form of an option, and every way to be wrong. */
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
    bool flag;
    const char *text;
    uint32_t number;
    enum setting_source number_from;
    uint64_t wide;
    float real;
    int n_args, exit_code;
    char *argv[16];
};

#define VALUE(kind, member) SETTING_VALUE(kind, struct values, member)

static const struct setting rows[] = {
    {.name = "flag", .letter = 'f', VALUE(FLAG, flag), .help = "a flag"},
    {.name = "text", .letter = 't', VALUE(TEXT, text), .metavar = "TEXT", .help = "a text"},
    {.name = "number",
     .letter = 'n',
     VALUE(UINT, number),
     SETTING_SOURCE(struct values, number_from),
     .min = 2,
     .max = 9,
     .metavar = "N",
     .environment = "PENSIEVE_TEST_NUMBER",
     .help = "a number\nin two lines"},
    {.name = "wide", VALUE(UINT64, wide), .metavar = "N", .help = "a wide number"},
    {.name = "real", VALUE(FLOAT, real), .max = 1, .metavar = "X", .help = "a real number"},
};
static const struct setting_table table = SETTING_TABLE(rows);

/* Parses "word word word" with at most two arguments. */
static bool parse(struct values *v, char *line)
{
    const struct settings_part part = {&table, v};
    const struct command command = {.name = "test",
                                    .synopsis = "[options]",
                                    .about = "About.",
                                    .parts = &part,
                                    .n_parts = 1,
                                    .max_args = 2};
    struct settings settings;
    int argc = 0;
    memset(v, 0, sizeof *v);
    v->argv[argc++] = (char *)(uintptr_t)"test";
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        v->argv[argc++] = word;
    return options_parse(&command, argc, v->argv, &settings, &v->n_args, &v->exit_code);
}

#define assert_parses(v, words)                                                                    \
    do {                                                                                           \
        static char line[] = words;                                                                \
        assert_true(parse(v, line));                                                               \
    } while (0)

#define assert_refuses(words, code)                                                                \
    do {                                                                                           \
        static char line[] = words;                                                                \
        struct values refused;                                                                     \
        assert_false(parse(&refused, line));                                                       \
        assert_int_equal(refused.exit_code, code);                                                 \
    } while (0)

static void every_form_is_understood(void **state)
{
    struct values v;
    (void)state;
    assert_parses(&v, "-f --text=a=b first -n 9 second --wide 18446744073709551615 --real .5");
    assert_true(v.flag && v.number_from == SETTING_BY_FLAG);
    assert_string_equal(v.text, "a=b");
    assert_int_equal(v.number, 9);
    assert_true(v.wide == UINT64_MAX);
    assert_true(v.real == 0.5f);
    assert_int_equal(v.n_args, 2);
    assert_string_equal(v.argv[1], "first");
    assert_string_equal(v.argv[2], "second");
    assert_parses(&v, "--flag --text -- -");
    assert_string_equal(v.text, "--");
    assert_int_equal(v.n_args, 1);
    assert_string_equal(v.argv[1], "-");
    assert_parses(&v, "-- --flag -t");
    assert_false(v.flag);
    assert_int_equal(v.n_args, 2);
    assert_string_equal(v.argv[1], "--flag");
    assert_parses(&v, "--text=");
    assert_string_equal(v.text, "");
    assert_parses(&v, "");
    assert_int_equal(v.n_args, 0);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    assert_refuses("--unknown", CLI_USAGE);
    assert_refuses("--fla", CLI_USAGE);
    assert_refuses("--flagg", CLI_USAGE);
    assert_refuses("-x", CLI_USAGE);
    assert_refuses("-ft", CLI_USAGE);
    assert_refuses("--flag=yes", CLI_USAGE);
    assert_refuses("--text", CLI_USAGE);
    assert_refuses("--number 1", CLI_USAGE);
    assert_refuses("--number 10", CLI_USAGE);
    assert_refuses("--number -3", CLI_USAGE);
    assert_refuses("--number 3x", CLI_USAGE);
    assert_refuses("--number=", CLI_USAGE);
    assert_refuses("--number 99999999999999999999999", CLI_USAGE);
    assert_refuses("--wide 18446744073709551616", CLI_USAGE);
    assert_refuses("--real 1.01", CLI_USAGE);
    assert_refuses("--real nan", CLI_USAGE);
    assert_refuses("--real x", CLI_USAGE);
    assert_refuses("one two three", CLI_USAGE);
}

static void a_flag_outweighs_the_environment(void **state)
{
    struct values v;
    (void)state;
    setenv("PENSIEVE_TEST_NUMBER", "5", 1);
    assert_parses(&v, "first");
    assert_int_equal(v.number, 5);
    assert_int_equal(v.number_from, SETTING_BY_ENVIRONMENT);
    assert_parses(&v, "-n 3");
    assert_int_equal(v.number, 3);
    setenv("PENSIEVE_TEST_NUMBER", "55", 1);
    assert_refuses("first", CLI_USAGE);
    assert_parses(&v, "-n 3"); /* hinders nobody who says another */
    assert_int_equal(v.number, 3);
    setenv("PENSIEVE_TEST_NUMBER", "", 1);
    assert_parses(&v, "first");
    assert_int_equal(v.number_from, SETTING_BY_DEFAULT);
    unsetenv("PENSIEVE_TEST_NUMBER");
}

static void help_ends_the_parsing(void **state)
{
    (void)state;
    assert_refuses("--flag --help --unknown", CLI_OK);
    assert_refuses("-h", CLI_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_understood),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(a_flag_outweighs_the_environment),
        cmocka_unit_test(help_ends_the_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
