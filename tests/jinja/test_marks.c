/* Whose each byte of a rendered text is. In what is expected, « and » stand around data: what came
 * out of the context, and what printing adds. */
#include "base/clock.h"
#include "jinja/jinja.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

static const char context_text[] =
    "{\"s\": \"Äb cd\", \"t\": \" x<&y \", \"l\": [\"p\", \"q\"], \"n\": 12, \"yes\": true,"
    "\"d\": {\"kEy\": \"vAl\", \"two\": [1, \"w\"]}, \"lines\": \"a\\nb\\n\", \"dots\": \"a.b.c\","
    "\"lock\": {\"role\": \"user\"}, \"bos\": \"<s>\", \"mixed\": \"[given]\", \"nul\": "
    "\"a\\u0000b\","
    "\"big\": \"123456789012345678901234567890\", \"digits\": \"0.1000000000000000000001\","
    "\"small\": \"-7e+02\", \"word\": \"12x\"}";

struct rendered {
    struct buf out, marks;
    bool ok;
    struct error err;
};

static struct rendered render(const char *source, const json_t *context,
                              const struct jinja_notes *notes)
{
    struct rendered r = {.err = {0}};
    buf_init(&r.out, 64 << 20);
    buf_init(&r.marks, 64 << 20);
    struct jinja_template *t = jinja_template_create(source, strlen(source), &r.err);
    r.ok = t && jinja_template_render(t, context, notes, NULL, &r.out, &r.marks, &r.err);
    jinja_template_destroy(t);
    if (!r.ok)
        fail_msg("%s: %s", source, r.err.message);
    assert_int_equal(r.out.len, r.marks.len);
    return r;
}

static void rendered_deinit(struct rendered *r)
{
    buf_deinit(&r->out);
    buf_deinit(&r->marks);
}

/* The text with « and » around its data. */
static void annotate(const struct rendered *r, struct buf *shown)
{
    bool inside = false;
    buf_init(shown, 1 << 20);
    for (size_t i = 0; i <= r->out.len; i++) {
        bool data = i < r->out.len && r->marks.data[i];
        if (data != inside)
            buf_puts(shown, data ? "«" : "»");
        if (i < r->out.len) {
            assert_in_range(r->marks.data[i], 0, 1);
            buf_putc(shown, r->out.data[i] ? r->out.data[i] : '0');
        }
        inside = data;
    }
}

/* The context, with notes about those of its strings that are not plain data. */
static json_t *noted_context(struct jinja_notes **notes)
{
    json_t *context = json_loads(context_text, JSON_ALLOW_NUL, NULL);
    assert_non_null(context);
    assert_non_null(*notes = jinja_notes_create());
    jinja_notes_own(*notes, json_object_get(json_object_get(context, "lock"), "role"));
    jinja_notes_own(*notes, json_object_get(context, "bos"));
    jinja_notes_mixed(*notes, json_object_get(context, "mixed"),
                      (const uint8_t[]){0, 1, 1, 1, 1, 1, 0});
    jinja_notes_number(*notes, json_object_get(context, "big"));
    jinja_notes_number(*notes, json_object_get(context, "digits"));
    jinja_notes_number(*notes, json_object_get(context, "small"));
    jinja_notes_number(*notes, json_object_get(context, "word"));
    return context;
}

struct expectation {
    const char *source, *shown;
};

static void check_all(const struct expectation *cases, size_t n)
{
    struct jinja_notes *notes;
    json_t *context = noted_context(&notes);
    size_t n_wrong = 0;
    for (size_t i = 0; i < n; i++) {
        struct buf shown;
        struct rendered r = render(cases[i].source, context, notes);
        annotate(&r, &shown);
        if (!shown.data || strcmp(shown.data, cases[i].shown)) {
            print_error("template  %s\nexpected  %s\ngot       %s\n\n", cases[i].source,
                        cases[i].shown, shown.data ? shown.data : "");
            n_wrong++;
        }
        buf_deinit(&shown);
        rendered_deinit(&r);
    }
    json_decref(context);
    jinja_notes_destroy(notes);
    assert_int_equal(n_wrong, 0);
}

#define CHECK_ALL(cases) check_all((cases), sizeof(cases) / sizeof *(cases))

static void test_joining_and_cutting(void **state)
{
    static const struct expectation cases[] = {
        {"own", "own"},
        {"a{{ s }}b", "a«Äb cd»b"},
        {"{{ 'a' ~ s ~ 'b' }}", "a«Äb cd»b"},
        {"{{ 'a' + s + 'b' + s }}", "a«Äb cd»b«Äb cd»"},
        {"{{ s + 'a' + 'b' }}", "«Äb cd»ab"},
        {"{% set x = 'a' + 'b' %}{% set y = x + s %}{% set z = x + 'c' %}{{ x }}{{ y }}{{ z }}",
         "abab«Äb cd»abc"},
        {"{{ ('a' ~ s ~ 'b')[1:-2] }}", "«Äb c»"},
        {"{{ ('a' ~ s ~ 'b')[-3:] }}", "«cd»b"},
        {"{{ ('a' ~ s ~ 'b')[0] }}{{ ('a' ~ s)[1] }}", "a«Ä»"},
        {"{{ ('a' ~ s)[::-1] }}{{ ('a' ~ s) | reverse }}", "«dc bÄ»a«dc bÄ»a"},
        {"{{ ('ab' ~ s) | first }}{{ ('ab' ~ s) | last }}", "a«d»"},
        {"{% for c in 'a' ~ s %}{{ c }}-{% endfor %}", "a-«Ä»-«b»-« »-«c»-«d»-"},
        {"{{ ('a' ~ s) * 2 }}", "a«Äb cd»a«Äb cd»"},
        {"{{ '-' * 2 ~ 'x' * n }}", "--xxxxxxxxxxxx"},
        {"{{ l | join('+') }}{{ '+'.join(l) }}{{ l | join(s) }}", "«p»+«qp»+«qpÄb cdq»"},
        {"{{ (s ~ 'w x').split() | join('/') }}", "«Äb»/«cd»w/x"},
        {"{{ (s ~ '.w').split('.') | join('/') }}{{ dots.rsplit('.', 1) | join('/') }}",
         "«Äb cd»/w«a.b»/«c»"},
        {"{{ dots.partition('.')[1] }}{{ dots.rpartition('.')[0] }}", "«.a.b»"},
        {"{{ lines.splitlines() | join(';') }}", "«a»;«b»"},
        {"{{ ('a ' ~ t ~ ' b ').strip() }}{{ (' ' ~ t) | trim }}", "a « x<&y » b«x<&y»"},
        {"{{ ('<' ~ s ~ '>').lstrip('<').rstrip('>') }}", "«Äb cd»"},
        {"{{ ('a' ~ s).removeprefix('a') }}{{ (s ~ 'z').removesuffix('z') }}", "«Äb cdÄb cd»"},
        {"{{ s.replace('b', '<b>') }}", "«Ä»<b>« cd»"},
        {"{{ 'a_c'.replace('_', s) }}{{ 'ab' | replace('', '.') }}", "a«Äb cd»c.a.b."},
        {"{{ dots | replace('.', '', 1) }}", "«ab.c»"},
        {"{{ s | truncate(5, true, '..', 0) }}{{ (s ~ 'efgh') | truncate(6, true, '.', 0) }}",
         "«Äb cdÄb cd».\0"},
    };
    CHECK_ALL(cases);
}

static void test_changing(void **state)
{
    static const struct expectation cases[] = {
        {"{{ ('ab' ~ s) | upper }}{{ ('AB' ~ s).lower() }}", "AB«ÄB CD»ab«äb cd»"},
        {"{{ ('xß' ~ s) | title }}{{ (s ~ 'AB') | capitalize }}", "Xß«äb CdÄb cd»ab"},
        {"{{ ('xy' ~ s).title() }}{{ (s ~ 'Ab').swapcase() }}", "Xy«äb CdäB CD»aB"},
        {"{{ ('<' ~ t ~ '>') | escape }}", "&lt;« x&lt;&amp;y »&gt;"},
        {"{{ ('<b>' | safe) + t }}", "<b>« x&lt;&amp;y »"},
        {"{{ s | center(7) }}{{ 'ab'.ljust(3) }}{{ s.rjust(6, '*') }}", " «Äb cd» ab *«Äb cd»"},
        {"{{ ('x\\n' ~ lines) | indent(2) }}", "x«\n»  «a\n»  «b\n»"},
        {"{{ ('a&' ~ t) | urlencode }}", "a«%26%20x%3C%26y%20»"},
        {"{{ '%s=%s' % ('a', s) }}{{ '<%5s>' | format(l[0]) }}", "a=«Äb cd»<«    p»>"},
        {"{{ '{}={a}'.format('x', a=s) }}{{ '{:>3}'.format('x') }}", "x=«Äb cd  »x"},
        {"{{ s.format() }}{{ ('{}' ~ s).format('x') }}", "«Äb cd»x«Äb cd»"},
        {"{{ '%d' % n }}{{ n }}{{ n + 1 }}{{ yes }}{{ none }}", "«121213TrueNone»"},
        {"{{ '7'.zfill(3) }}{{ s | wordcount }}{{ s | length }}", "007«25»"},
    };
    CHECK_ALL(cases);
}

static void test_containers(void **state)
{
    static const struct expectation cases[] = {
        {"{{ d.kEy }}{{ d['kEy'] }}{{ d.get('none', 'x') }}", "«vAlvAl»x"},
        {"{% for k, v in d.items() %}{{ k }}:{{ v }} {% endfor %}",
         "«kEy»:«vAl» «two»:«[1, 'w']» "},
        {"{{ d | tojson }}", "«{\"kEy\": \"vAl\", \"two\": [1, \"w\"]}»"},
        {"{{ {'a': s, 'b': 'x'} | tojson }}", "«{\"»a«\": \"Äb cd\", \"»b«\": \"»x«\"}»"},
        {"{{ {'a': ['x', l[0]]} }}", "«{'»a«': ['»x«', 'p']}»"},
        {"{{ lines | tojson }}{{ s | tojson(ensure_ascii=true) }}",
         "«\"a\\nb\\n\"\"\\u00c4b cd\"»"},
        {"{{ ['x', s] | map('upper') | join }}{{ l | sort(reverse=true) | join }}", "X«ÄB CDqp»"},
        {"{{ ['x', s] | select('string') | list | last }}{{ l | max }}", "«Äb cdq»"},
        {"{{ [{'a': 'x', 'b': s}] | map(attribute='b') | first }}", "«Äb cd»"},
        {"{% for g in [{'a': s, 'b': 'x'}] | groupby('a') %}{{ g.grouper }}{{ g.list[0].b }}"
         "{% endfor %}",
         "«Äb cd»x"},
        {"{{ dict(a='x', b=s).b }}{{ dict(d).kEy }}", "«Äb cdvAl»"},
        {"{% for c in s | list | batch(3) %}{{ c | join }}/{% endfor %}", "«Äb »/«cd»/"},
        {"{% set x = ['o'] %}{% set _ = x.append(s) %}{% set _ = x.insert(0, l[0]) %}"
         "{% set _ = x.extend(['o', l[1]]) %}{{ x | join }}{{ x.pop() }}{{ x.pop(0) }}{{ x.pop(0) "
         "}}",
         "«p»o«Äb cd»o«qqp»o"},
        {"{% set x = {'k': s} %}{% set _ = x.update({s: 'own'}, two='t') %}{{ x.pop('k') }}"
         "{{ x.setdefault('n', l[0]) }}{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}",
         "«Äb cdpÄb cd»=own;two=t;n=«p»;"},
    };
    CHECK_ALL(cases);
}

static void test_json_text(void **state)
{
    static const struct expectation cases[] = {
        {"{{ ('{\"k\": \"' ~ s ~ '!\"}') | from_json }}", "«{'»k«': 'Äb cd»!«'}»"},
        {"{{ (('[\"a' ~ s ~ '\", 1]') | from_json)[0] }}", "a«Äb cd»"},
        {"{{ (d | tojson | from_json).kEy }}{{ (d | tojson | from_json).two[1] }}", "«vAlw»"},
        {"{{ lines | tojson | from_json }}", "«a\nb\n»"},
        {"{{ '\"a\\\\n\\\\u00e9\"' | from_json }}", "a\né"},
    };
    CHECK_ALL(cases);
}

static void test_statements(void **state)
{
    static const struct expectation cases[] = {
        {"{% macro f(x, y='d') %}<{{ x }}{{ y }}>{% endmacro %}{{ f(s) }}{{ f('a', y=s) }}",
         "<«Äb cd»d><a«Äb cd»>"},
        {"{% macro f(x) %}<{{ x }}{{ caller() }}>{% endmacro %}{% call f('x') %}{{ s }}y{% endcall "
         "%}",
         "<x«Äb cd»y>"},
        {"{% macro f() %}{{ kwargs.a }}{{ varargs[0] }}{% endmacro %}{{ f(s, a='x') }}",
         "x«Äb cd»"},
        {"{% set x %}a{{ s }}{% endset %}{{ x }}{{ x[1:3] }}", "a«Äb cdÄb»"},
        {"{% set ns = namespace(x='') %}{% for c in l %}{% set ns.x = ns.x ~ '<' ~ c ~ '>' %}"
         "{% endfor %}{{ ns.x }}",
         "<«p»><«q»>"},
        {"{% filter upper %}a{{ s }}{% endfilter %}", "A«ÄB CD»"},
        {"{% for x in ['a', [s, 'z']] recursive %}{{ x if x is string else loop(x) }}{% endfor %}",
         "a«Äb cd»z"},
        {"{% for x in l %}{{ loop.cycle('o', s) }}{{ loop.index }}{% endfor %}", "o«1Äb cd2»"},
        {"{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "«p», «q»"},
        {"{% if s == 'Äb cd' and 'b' in s and s is string %}same{% endif %}", "same"},
        {"{{ {'Äb cd': 'found'}[s] }}{{ s if n > 1 else 'x' }}{{ nope | default('x') }}",
         "found«Äb cd»x"},
        {"{{ strftime_now('%Y')[:2] }}{{ strftime_now(s) }}", "20«Äb cd»"},
        {"{% generation %}{{ s }}!{% endgeneration %}", "«Äb cd»!"},
    };
    CHECK_ALL(cases);
}

static void test_what_the_caller_notes(void **state)
{
    static const struct expectation cases[] = {
        {"{{ bos }}<|{{ lock.role }}|>{{ s }}", "<s><|user|>«Äb cd»"},
        {"{{ lock | tojson }}", "«{\"role\": \"»user«\"}»"},
        {"{{ mixed }}{{ mixed[1:] }}{{ mixed | upper }}", "[«given»]«given»][«GIVEN»]"},
        {"{{ nul }}{{ nul | length }}{{ nul | tojson }}", "«a0b3\"a\\u0000b\"»"},
        {"{{ [big, digits, small] | tojson }}",
         "«[123456789012345678901234567890, 0.1000000000000000000001, -7e+02]»"},
        {"{{ big }} {{ digits ~ '' }} {{ '%s' % small }}",
         "«123456789012345678901234567890» «0.1000000000000000000001» «-7e+02»"},
        {"{{ big is integer }}{{ big is float }}{{ digits is float }}{{ big is number }}"
         "{{ big > 1 }}{{ big is string }}{{ big == big }}{{ big | int }}",
         "«TrueFalseTrueTrueTrueFalseTrue123456789012345678901234567890»"},
        {"{{ small + 0 }}{{ {big: 'k'} | tojson }}{{ -small }}",
         "«-700.0{\"123456789012345678901234567890\": \"»k«\"}700.0»"},
        {"{{ word is string }}{{ word }}", "«True12x»"}, /* it is no number, whatever was said */
    };
    CHECK_ALL(cases);
}

static void test_notes_are_about_nodes(void **state)
{
    struct jinja_notes *notes = jinja_notes_create();
    json_t *list = json_array();
    for (int i = 0; i < 1000; i++) {
        json_t *word = json_string("w");
        if (i % 3 == 0)
            jinja_notes_own(notes, word);
        if (i % 6 == 0)
            jinja_notes_mixed(notes, word, (const uint8_t[]){2}); /* the later note holds */
        json_array_append_new(list, word);
    }
    jinja_notes_own(notes, NULL);
    jinja_notes_own(notes, list); /* no string: nothing */
    json_t *context = json_pack("{s:o, s:o}", "l", list, "copy", json_deep_copy(list));
    struct rendered r = render("{{ l | join }}{{ copy | join }}", context, notes);
    assert_int_equal(r.out.len, 2000);
    for (size_t i = 0; i < 2000; i++)
        assert_int_equal(r.marks.data[i], i >= 1000 || i % 6 != 3);
    rendered_deinit(&r);
    json_decref(context);
    jinja_notes_destroy(notes);
    jinja_notes_destroy(NULL);
}

/* A conversation of a megabyte in small and in large messages, as templates write it: the time must
 * grow with the text. The limit catches a quadratic step, not a slow day. */
static void test_long_conversations(void **state)
{
    static const char source[] =
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
        "{% set ns = namespace(all='') %}{% for m in messages %}"
        "{% set ns.all = ns.all + '<|' + m.role + '|>' + m.content %}{% endfor %}{{ ns.all }}";
    for (size_t n_bytes = 50; n_bytes <= 500000; n_bytes *= 100) {
        char *content = calloc(n_bytes + 1, 1);
        json_t *messages = json_array(), *context = json_pack("{s:o}", "messages", messages);
        memset(content, 'c', n_bytes);
        for (size_t i = 0; i < 1000000 / n_bytes; i++)
            json_array_append_new(messages,
                                  json_pack("{s:s, s:s}", "role", "user", "content", content));
        int64_t begin_ms = clock_now_ms();
        struct rendered r = render(source, context, NULL);
        int64_t ms = clock_now_ms() - begin_ms;
        assert_true(r.out.len > 2000000);
        assert_memory_equal(r.marks.data, "\0\0\1\1\1\1\0\0\1", 9);
        print_message("messages of %zu bytes: %lld ms\n", n_bytes, (long long)ms);
        assert_true(ms < 5000);
        rendered_deinit(&r);
        json_decref(context);
        free(content);
    }
}

static void test_output_is_appended_with_its_marks(void **state)
{
    struct error err;
    struct buf out, marks;
    json_t *context = json_pack("{s:s}", "s", "data");
    struct jinja_template *t = jinja_template_create("a{{ s }}", 8, &err);
    buf_init(&out, 12);
    buf_init(&marks, 12);
    assert_true(jinja_template_render(t, context, NULL, NULL, &out, &marks, &err));
    assert_true(jinja_template_render(t, context, NULL, NULL, &out, &marks, &err));
    assert_false(jinja_template_render(t, context, NULL, NULL, &out, &marks, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    assert_int_equal(out.len, 10);
    assert_string_equal(out.data, "adataadata");
    assert_int_equal(marks.len, 10);
    assert_memory_equal(marks.data, "\0\1\1\1\1\0\1\1\1\1", 10);
    buf_deinit(&out);
    buf_deinit(&marks);
    jinja_template_destroy(t);
    json_decref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joining_and_cutting),
        cmocka_unit_test(test_changing),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_json_text),
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_what_the_caller_notes),
        cmocka_unit_test(test_notes_are_about_nodes),
        cmocka_unit_test(test_long_conversations),
        cmocka_unit_test(test_output_is_appended_with_its_marks),
    };
    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
