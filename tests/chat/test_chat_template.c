/* A chat template from its source to a prompt: the promises of chat_template.h. */
#include "chat/chat_template.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static const char source[] = "{%- if tools %}\n"
                             "    {{- '[tools]\\n' }}\n"
                             "    {%- for tool in tools %}\n"
                             "        {{- tool | tojson ~ '\\n' }}\n"
                             "    {%- endfor %}\n"
                             "{%- endif %}\n"
                             "{%- for m in messages %}\n"
                             "    {%- if m.role not in ['system', 'user', 'assistant', 'tool'] %}\n"
                             "        {{- raise_exception('Unknown role: ' ~ m.role) }}\n"
                             "    {%- endif %}\n"
                             "    {{- '[' ~ m.role ~ ']\\n' ~ m.content ~ eos_token ~ '\\n' }}\n"
                             "{%- endfor %}\n"
                             "{%- if add_generation_prompt %}\n"
                             "    {{- '[assistant]\\n' }}\n"
                             "{%- endif %}\n";

static struct chat_template *create(void)
{
    struct error err;
    struct chat_template *t = chat_template_create(source, sizeof source - 1, &err);
    assert_non_null(t);
    return t;
}

static json_t *conversation(const char *text)
{
    json_error_t error;
    json_t *context = json_loads(text, 0, &error);
    assert_non_null(context);
    return context;
}

static void test_renders_messages_and_tools(void **state)
{
    struct chat_template *t = create();
    json_t *context =
        conversation("{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"},"
                     " {\"role\": \"user\", \"content\": \"\\u00fc \\ud83c\\udf89 <&>\"}],"
                     " \"tools\": [{\"name\": \"f\", \"zeta\": 1, \"alpha\": {\"x\": [1.0, null, "
                     "true, \"\\u00e9\\n\"]}}],"
                     " \"eos_token\": \"<e>\", \"add_generation_prompt\": true}");
    struct buf out;
    struct error err;
    buf_init(&out, 1 << 16);
    assert_true(chat_template_render(t, context, NULL, &out, NULL, &err));
    assert_string_equal(
        out.data,
        "[tools]\n"
        "{\"name\": \"f\", \"zeta\": 1, \"alpha\": {\"x\": [1.0, null, true, \"é\\n\"]}}\n"
        "[system]\nBe brief.<e>\n"
        "[user]\nü 🎉 <&><e>\n"
        "[assistant]\n");
    buf_deinit(&out);
    json_decref(context);
    chat_template_destroy(t);
}

/* Nothing of one rendering stays for the next one. */
static void test_renders_again(void **state)
{
    struct chat_template *t = create();
    json_t *one = conversation(
               "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"eos_token\": \".\"}"),
           *other = conversation("{\"messages\": [], \"add_generation_prompt\": true}");
    struct buf out;
    struct error err;
    buf_init(&out, 1 << 16);
    for (int i = 0; i < 3; i++) {
        assert_true(chat_template_render(t, one, NULL, &out, NULL, &err));
        assert_true(chat_template_render(t, other, NULL, &out, NULL, &err));
    }
    assert_string_equal(
        out.data, "[user]\na.\n[assistant]\n[user]\na.\n[assistant]\n[user]\na.\n[assistant]\n");
    buf_deinit(&out);
    json_decref(one);
    json_decref(other);
    chat_template_destroy(t);
}

static void test_refusal_of_the_template(void **state)
{
    struct chat_template *t = create();
    json_t *context = conversation("{\"messages\": [{\"role\": \"ghost\", \"content\": \"boo\"}]}");
    struct buf out;
    struct error err;
    buf_init(&out, 1 << 16);
    assert_false(chat_template_render(t, context, NULL, &out, NULL, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_string_equal(err.message, "Unknown role: ghost");
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
    json_decref(context);
    chat_template_destroy(t);
}

static void test_bad_source(void **state)
{
    struct error err;
    assert_null(chat_template_create("{% for m in %}", 14, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_int_equal(err.position, 12);
    chat_template_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renders_messages_and_tools),
        cmocka_unit_test(test_renders_again),
        cmocka_unit_test(test_refusal_of_the_template),
        cmocka_unit_test(test_bad_source),
    };
    return cmocka_run_group_tests_name("chat template", tests, NULL, NULL);
}
