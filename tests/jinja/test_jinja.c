/* The template engine against jinja2: small templates with what jinja2 makes of them, and the
 * engine's own promises (errors with their place, limits). Golden file by
 * scripts/golden_templates.py. */
#include "support/cpu_time.h"
#include "jinja/jinja.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

static json_t *golden;

static int load_golden(void **state)
{
    golden = json_load_file(JINJA_GOLDEN "/golden_jinja.json", JSON_ALLOW_NUL, NULL);
    setenv("TZ", "UTC", 1);
    return golden ? 0 : -1;
}

static int unload_golden(void **state)
{
    json_decref(golden);
    return 0;
}

/* Renders, or fails with the error filled. */
static bool render(const char *source, size_t n, const json_t *context,
                   const struct jinja_limits *limits, struct buf *out, struct error *err)
{
    struct jinja_template *t = jinja_template_create(source, n, err);
    bool ok = t && jinja_template_render(t, context, NULL, limits, out, NULL, err);
    jinja_template_destroy(t);
    return ok;
}

static bool is_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* A source that has no letters beyond ASCII can have them only from the context. */
static bool foreign_is_data(const char *source, const struct buf *out, const struct buf *marks)
{
    if (!is_ascii(source, strlen(source)) || strchr(source, '\\'))
        return true;
    for (size_t i = 0; i < out->len; i++)
        if ((unsigned char)out->data[i] >= 0x80 && !marks->data[i])
            return false;
    return true;
}

/* One case; prints what differs. */
static bool check_case(const json_t *item, const json_t *context, const struct jinja_limits *limits)
{
    const json_t *template = json_object_get(item, "template"),
                 *output = json_object_get(item, "output");
    const char *source = json_string_value(template);
    struct buf out, marks;
    struct error err = {0};
    buf_init(&out, 1 << 20);
    buf_init(&marks, 1 << 20);
    struct jinja_template *t = jinja_template_create(source, json_string_length(template), &err);
    bool rendered = t && jinja_template_render(t, context, NULL, limits, &out, &marks, &err);
    jinja_template_destroy(t);
    bool same =
        marks.len == out.len && foreign_is_data(source, &out, &marks) &&
        rendered == (output != NULL) &&
        (!output || (out.len == json_string_length(output) &&
                     memcmp(out.data ? out.data : "", json_string_value(output), out.len) == 0));
    if (!same)
        print_error("template  %s\nexpected  %s\ngot       %s\n\n", source,
                    output ? json_string_value(output)
                           : json_string_value(json_object_get(item, "error")),
                    rendered ? (out.data ? out.data : "") : err.message);
    buf_deinit(&out);
    buf_deinit(&marks);
    return same;
}

static void test_same_as_jinja2(void **state)
{
    const json_t *context = json_object_get(golden, "context"), *item;
    struct jinja_limits limits = jinja_limits_default();
    size_t i, n_wrong = 0;
    limits.now = json_integer_value(json_object_get(golden, "now"));
    json_array_foreach(json_object_get(golden, "cases"), i, item) n_wrong +=
        !check_case(item, context, &limits);
    assert_true(json_array_size(json_object_get(golden, "cases")) > 1000);
    assert_int_equal(n_wrong, 0);
}

/* ---- promises of our own ---- */

/* Renders source with an empty context and the limits; the error's code, or NONE. */
static enum error_code outcome(const char *source, size_t n, const struct jinja_limits *limits,
                               struct error *err)
{
    json_t *context = json_object();
    struct buf out;
    *err = (struct error){0};
    buf_init(&out, 1 << 20);
    bool ok = render(source, n, context, limits, &out, err);
    buf_deinit(&out);
    json_decref(context);
    return ok ? ERROR_NONE : err->code;
}

static enum error_code outcome_of(const char *source, struct error *err)
{
    return outcome(source, strlen(source), NULL, err);
}

/* `begin` and `end` n times around `middle`. */
static char *nested(const char *begin, const char *middle, const char *end, size_t n)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, begin);
    buf_puts(&b, middle);
    for (size_t i = 0; i < n; i++)
        buf_puts(&b, end);
    assert_false(buf_failed(&b));
    return buf_steal(&b, NULL);
}

static void test_errors_say_where(void **state)
{
    struct error err;
    assert_int_equal(outcome_of("text {{ a b }}", &err), ERROR_FORMAT);
    assert_int_equal(err.position, 10);
    assert_int_equal(outcome_of("{% if x %}", &err), ERROR_FORMAT);
    assert_int_equal(outcome_of("abc {{ 'never closed }}", &err), ERROR_FORMAT);
    assert_int_equal(err.position, 7);
    assert_int_equal(outcome_of("abc {{ nope.member }}", &err), ERROR_FORMAT);
    assert_int_equal(err.position, 11);
    assert_non_null(strstr(err.message, "'nope' is undefined"));
    assert_int_equal(outcome_of("{% include 'x' %}", &err), ERROR_UNSUPPORTED);
}

static void test_raise_exception_is_input(void **state)
{
    struct error err;
    assert_int_equal(outcome_of("{{ raise_exception('Roles must ' ~ 'alternate') }}", &err),
                     ERROR_INPUT);
    assert_string_equal(err.message, "Roles must alternate");
}

static void test_failure_appends_nothing(void **state)
{
    struct error err;
    json_t *context = json_object();
    struct buf out;
    buf_init(&out, 100);
    buf_puts(&out, "kept");
    assert_false(render("lost {{ 1 / 0 }}", 16, context, NULL, &out, &err));
    assert_string_equal(out.data, "kept");
    char *longer = nested("0123456789", "", "", 20);
    assert_false(render(longer, strlen(longer), context, NULL, &out, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    assert_string_equal(out.data, "kept");
    assert_true(render("{{ 1 + 1 }}", 11, context, NULL, &out, &err));
    assert_string_equal(out.data, "kept2");
    free(longer);
    buf_deinit(&out);
    json_decref(context);
}

static void test_deep_sources_are_refused(void **state)
{
    static const struct {
        const char *begin, *middle, *end;
    } cases[] = {
        {"(", "1", ")"},          {"[", "1", "]"},           {"{1:", "1", "}"},
        {"not ", "1", ""},        {"- ", "1", ""},           {"f(", "1", ")"},
        {"a[", "1", "]"},         {"1 if 1 else ", "1", ""}, {"1 + ", "1", ""},
        {"1 and ", "1", ""},      {"a", "", "|upper"},       {"a", "", ".b"},
        {"a", "", " is defined"}, {"a", "", "()"},           {"1 ** ", "1", ""},
    };
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *inside = nested(cases[i].begin, cases[i].middle, cases[i].end, 100000 / 2);
        char *source = nested("{{ ", inside, " }}", 1);
        enum error_code code = outcome_of(source, &err);
        if (code != ERROR_TOO_LARGE && code != ERROR_FORMAT)
            fail_msg("%s…: %s", cases[i].begin, error_code_name(code));
        free(inside);
        free(source);
    }
    static const char *const blocks[][2] = {{"{% if 1 %}", "{% endif %}"},
                                            {"{% for x in [1] %}", "{% endfor %}"},
                                            {"{% macro m() %}", "{% endmacro %}"},
                                            {"{% set x %}", "{% endset %}"},
                                            {"{% filter upper %}", "{% endfilter %}"},
                                            {"{% generation %}", "{% endgeneration %}"},
                                            {"{% with %}", "{% endwith %}"}};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        char *source = nested(blocks[i][0], "x", blocks[i][1], 5000);
        assert_int_equal(outcome_of(source, &err), ERROR_TOO_LARGE);
        free(source);
    }
}

static void test_reasonable_depth_works(void **state)
{
    struct error err;
    char *parentheses = nested("(", "1", ")", 100), *source = nested("{{ ", parentheses, " }}", 1);
    assert_int_equal(outcome_of(source, &err), ERROR_NONE);
    free(parentheses);
    free(source);
    source = nested("{% if 1 %}", "x", "{% endif %}", 100);
    assert_int_equal(outcome_of(source, &err), ERROR_NONE);
    free(source);
    /* as deep as the recursive macros of templates that write out JSON schemas */
    assert_int_equal(
        outcome_of("{% macro m(n) %}{% for x in [1] %}{% if n > 0 %}{{ '<' ~ m(n - 1) ~ '>' }}"
                   "{% endif %}{% endfor %}{% endmacro %}{{ m(40) }}",
                   &err),
        ERROR_NONE);
}

static void test_endless_work_ends(void **state)
{
    static const char *const sources[] = {
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' in 'abc' }}{% endfor %}{% "
        "endfor %}",
        "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor "
        "%}",
        "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor "
        "%}",
        "{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor "
        "%}",
        "{% set n = namespace(l=1) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ "
        "n.l }}",
        "{% set n = namespace(l=1) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}"
        "{{ n.l|tojson }}",
        "{% set n = namespace(l=1, m=1) %}{% for i in range(9999) %}{% set n.l = [n.l] %}"
        "{% set n.m = [n.m] %}{% endfor %}{{ n.l == n.m }}",
        "{% set n = namespace(l=[]) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}{% endfor "
        "%}{{ n.l }}",
        "{{ 'x' * 999999999999 }}",
        "{{ [1] * 999999999999 }}",
        "{{ ('x' * 9999999)|replace('x', 'y' * 9999999) }}",
        "{{ ('x' * 9999999)|list|join('y' * 9999999) }}",
        "{{ ('a' * 999999).rfind('a' * 499999 ~ 'b') }}{{ ('a' * 999999).rsplit('a' * 499999 ~ "
        "'b') }}"
        "{% for i in range(9999) %}{{ ('a' * 999999).rfind('a' * 499999 ~ 'b') }}{% endfor %}",
        "{{ ('a' * 999999)|trim('b' * 999999 ~ 'a') }}",
        "{{ 'x'.center(999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ [1]|batch(999999999, 'x')|list }}",
        "{{ [1]|slice(999999)|list }}{% for i in range(999) %}{{ [1]|slice(999999)|list|length "
        "}}{% endfor %}",
        "{{ {}|tojson(indent=999999999) }}",
        "{{ 'x'|indent(999999999) }}",
        "{{ [[[[1]]]]|tojson(indent='x' * 9999999) }}{% for i in range(999) %}{{ [1, 2, "
        "3]|tojson(indent="
        "'x' * 99999) }}{% endfor %}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ 10 ** 100 }}",
        "{{ 2 ** 99999999999 }}",
        "{{ (0 - 9223372036854775807 - 1) // -1 }}",
        "{{ range(0 - 9223372036854775807, 9223372036854775807) }}",
    };
    struct error err;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        int64_t begin = cpu_time_ms();
        if (outcome_of(sources[i], &err) == ERROR_NONE)
            fail_msg("no error: %s", sources[i]);
        if (cpu_time_ms() - begin >
            60000) /* about one second on a fast machine */
            fail_msg("too slow: %s", sources[i]);
        if (getenv("VERBOSE"))
            print_message("%6lld ms %s: %.80s\n", (long long)(cpu_time_ms() - begin), err.message,
                          sources[i]);
    }
}

/* With less memory than needed a render fails cleanly wherever it runs out, and never differs. */
static void test_any_memory_limit(void **state)
{
    static const char source[] =
        "{% macro m(a, b=2) %}{{ a ~ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, c=4) "
        "}}"
        "{% set n = namespace(t='', l=[]) %}{% for x in range(30) if x is odd %}"
        "{% set n.t = n.t + '%05d' % x %}{% set n.l = n.l + [{'k': x, 'v': n.t}] %}{{ loop.last "
        "}}{% endfor %}"
        "{{ n.l|tojson(indent=2) }}{{ n.l|map(attribute='k')|sort(reverse=true)|join(', ') }}"
        "{{ n.t|upper|replace('0', '--')|indent(3) }}{{ n.t[::-1].split('1') }}{{ n.l|groupby('k') "
        "}}"
        "{% set c %}{% filter title %}a b{{ 'x'.join(['1', '2']) }}{% endfilter %}{% endset %}{{ c "
        "}}"
        "{{ '{:>9}|{}'.format('r', c) }}{{ dict(n.l[0], z=1)|dictsort }}";
    struct jinja_limits limits = jinja_limits_default();
    json_t *context = json_object();
    struct buf whole, out;
    struct error err;
    bool ok = false;
    buf_init(&whole, 1 << 20);
    assert_true(render(source, strlen(source), context, NULL, &whole, &err));
    assert_true(whole.len > 2000);
    for (limits.max_bytes = 0; !ok; limits.max_bytes += 48) {
        buf_init(&out, 1 << 20);
        ok = render(source, strlen(source), context, &limits, &out, &err);
        if (ok)
            assert_string_equal(out.data, whole.data);
        else
            assert_int_equal(err.code, ERROR_TOO_LARGE);
        buf_deinit(&out);
        assert_true(limits.max_bytes < 4 << 20);
    }
    buf_deinit(&whole);
    json_decref(context);
}

static void test_any_step_and_depth_limit(void **state)
{
    static const char source[] =
        "{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(5) }}{{ [[[[1]]]]|tojson }}{% for x in 'abc' %}{{ x|upper }}{% endfor %}";
    struct jinja_limits limits = jinja_limits_default();
    struct error err;
    enum error_code code = ERROR_TOO_LARGE;
    for (limits.max_steps = 0; code != ERROR_NONE; limits.max_steps++) {
        code = outcome(source, strlen(source), &limits, &err);
        assert_true(code == ERROR_NONE || code == ERROR_TOO_LARGE);
        assert_true(limits.max_steps < 1000);
    }
    code = ERROR_TOO_LARGE;
    for (limits.max_depth = 0; code != ERROR_NONE; limits.max_depth++) {
        code = outcome(source, strlen(source), &limits, &err);
        assert_true(code == ERROR_NONE || code == ERROR_TOO_LARGE);
        assert_true(limits.max_depth < 100);
    }
}

static void test_deep_context_is_refused(void **state)
{
    char *text = nested("[", "", "]", 2000), *object = nested("{\"a\": ", text, "}", 1);
    json_t *context = json_loads(object, 0, NULL);
    struct buf out;
    struct error err;
    assert_non_null(context);
    buf_init(&out, 1 << 20);
    assert_false(render("{{ a }}", 7, context, NULL, &out, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    assert_true(
        render("{{ b }}x", 8, context, NULL, &out, &err)); /* what is not read costs nothing */
    assert_string_equal(out.data, "x");
    buf_deinit(&out);
    json_decref(context);
    free(text);
    free(object);
}

/* Any bytes are a template or an error; invalid UTF-8 in text passes through. */
static void test_any_bytes(void **state)
{
    static const char source[] =
        "a\xff\xfe{{ '\xc3'|upper }}{{ '\xe4\xb8'|length }}{{ '\xff\xff'[1] }}"
        "{{ '\xf0\x9f'|tojson }}{{ ['\xff'] }}{{ '\xff'|list }}\x80";
    json_t *context = json_object();
    struct buf out;
    struct error err;
    buf_init(&out, 1 << 20);
    assert_true(render(source, sizeof source - 1, context, NULL, &out, &err));
    assert_memory_equal(out.data,
                        "a\xff\xfe\xc3"
                        "2\xff",
                        6);
    for (size_t n = 0; n < sizeof source; n++) {
        buf_clear(&out);
        render(source, n, context, NULL, &out, &err);
    }
    assert_false(render("{{ \xff }}", 7, context, NULL, &out, &err));
    buf_deinit(&out);
    json_decref(context);
}

static void test_large_templates(void **state)
{
    struct error err;
    char *many = nested("{% set v = 1 %}{{ v }}{# c #}", "", "", 20000);
    assert_int_equal(outcome_of(many, &err), ERROR_NONE);
    free(many);
    many = nested("x", "", "", (1 << 20) + 1);
    assert_int_equal(outcome_of(many, &err), ERROR_TOO_LARGE);
    free(many);
    struct buf names;
    buf_init(&names, 1 << 20);
    for (int i = 0; i < 50000; i++)
        buf_printf(&names, "{{ v%d }}", i);
    assert_int_equal(outcome(names.data, names.len, NULL, &err), ERROR_NONE);
    buf_deinit(&names);
    assert_int_equal(
        outcome_of("{% set n = namespace(d={}) %}{% for i in range(400) %}{% set n.d = dict(n.d, "
                   "**{'k' ~ i: i}) %}{% endfor %}{{ n.d.k399 }}",
                   &err),
        ERROR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_as_jinja2, load_golden, unload_golden),
        cmocka_unit_test(test_errors_say_where),
        cmocka_unit_test(test_raise_exception_is_input),
        cmocka_unit_test(test_failure_appends_nothing),
        cmocka_unit_test(test_deep_sources_are_refused),
        cmocka_unit_test(test_reasonable_depth_works),
        cmocka_unit_test(test_endless_work_ends),
        cmocka_unit_test(test_any_memory_limit),
        cmocka_unit_test(test_any_step_and_depth_limit),
        cmocka_unit_test(test_deep_context_is_refused),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_large_templates),
    };
    return cmocka_run_group_tests_name("jinja", tests, NULL, NULL);
}
