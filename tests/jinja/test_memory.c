/* A template's life with the k-th allocation failing, for every k: an error each time, no crash,
 * nothing leaked, and nothing appended. */
#include "jinja/jinja.h"
#include "support/failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_OWN = 20 };

static const char source[] =
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(t='') %}{% for s in l %}"
    "{% set ns.t = ns.t + s + '<|end|>' %}{{ f(s) | upper }}{% endfor %}{{ ns.t * 9 }}"
    "{{ ns.t.split('|') | join(', ') | replace('e', '%s') }}{{ {'k': l} | tojson(indent=2) }}";

/* One life of a template and of notes about its context. */
static bool live(json_t *context, struct buf *out, struct buf *marks, struct error *err)
{
    json_t *list = json_object_get(context, "l");
    struct jinja_notes *notes = jinja_notes_create();
    struct jinja_template *t = jinja_template_create(source, sizeof source - 1, err);
    for (size_t i = 0; notes && i < N_OWN; i++)
        jinja_notes_own(notes, json_array_get(list, i));
    if (notes)
        jinja_notes_mixed(notes, json_array_get(list, 1), (const uint8_t[]){0, 1, 0, 1});
    bool ok = t && notes && jinja_template_render(t, context, notes, NULL, out, marks, err);
    if (t && !notes)
        error_set(err, ERROR_NO_MEMORY, "no notes");
    jinja_template_destroy(t);
    jinja_notes_destroy(notes);
    return ok;
}

static void the_kth_failing_allocation_is_an_error(void **state)
{
    (void)state;
    json_t *list = json_array(), *context = json_pack("{s:o}", "l", list);
    for (size_t i = 0; i < N_OWN + 10; i++)
        assert_int_equal(json_array_append_new(list, json_string("word")), 0);
    long k = 0;
    for (bool all_succeeded = false; !all_succeeded; k++) {
        struct buf out, marks;
        struct error err = {0};
        buf_init(&out, 1 << 20);
        buf_init(&marks, 1 << 20);
        long before = failing_alloc_n_alive;
        failing_alloc_countdown = k;
        bool ok = live(context, &out, &marks, &err);
        all_succeeded = failing_alloc_countdown >= 0;
        failing_alloc_countdown = -1;
        assert_int_equal(ok, all_succeeded);
        assert_true(ok || err.code == ERROR_NO_MEMORY || err.code == ERROR_TOO_LARGE);
        assert_int_equal(out.len, marks.len);
        assert_true(ok ? out.len > 1000 : out.len == 0);
        buf_deinit(&out);
        buf_deinit(&marks);
        assert_int_equal(failing_alloc_n_alive, before);
    }
    assert_true(k >= 30);
    json_decref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_kth_failing_allocation_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
