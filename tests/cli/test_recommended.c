/* What a folder's files recommend: which of several templates it is, and the sampling. */
#include "cli/recommended.h"

#include "base/buf.h"
#include "chat/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A header of two bytes, and no tensors. */
static const char no_tensors[] = "\2\0\0\0\0\0\0\0{}";

static struct weights *open_folder(const char *name, const char *text, const char *other_name,
                                   const char *other)
{
    struct error err = {0};
    struct weights_file files[4] = {{"config.json", "{}", 2},
                                    {"model.safetensors", no_tensors, sizeof no_tensors - 1}};
    size_t n = 2;
    if (name)
        files[n++] = (struct weights_file){name, text, strlen(text)};
    if (other_name)
        files[n++] = (struct weights_file){other_name, other, strlen(other)};
    struct weights *w = weights_open_files(files, n, NULL, &err);
    if (!w)
        fail_msg("%s", err.message);
    return w;
}

static void assert_template(const char *name, const char *text, const char *other_name,
                            const char *other, const char *expected)
{
    struct weights *w = open_folder(name, text, other_name, other);
    struct error err = {0};
    struct buf out;
    buf_init(&out, 1 << 16);
    if (!recommended_template(w, &out, NULL, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data ? out.data : "", expected);
    buf_deinit(&out);
    weights_close(w);
}

static void the_template_comes_from_where_it_stands(void **state)
{
    (void)state;
    assert_template(NULL, NULL, NULL, NULL, "");
    assert_template("chat_template.jinja", "A\n", NULL, NULL, "A\n");
    assert_template("tokenizer_config.json", "{\"chat_template\": \"B\\n{{ 1 }}\"}", NULL, NULL,
                    "B\n{{ 1 }}");
    assert_template("chat_template.json", "{\"chat_template\": \"C\"}", NULL, NULL, "C");
    assert_template("chat_template.jinja", "A", "tokenizer_config.json",
                    "{\"chat_template\": \"B\"}", "A");
    assert_template("chat_template.jinja", "", "tokenizer_config.json",
                    "{\"chat_template\": \"B\"}", "B");
    assert_template("tokenizer_config.json", "{\"chat_template\": \"B\"}", "chat_template.json",
                    "{\"chat_template\": \"C\"}", "B");
    assert_template("tokenizer_config.json", "{\"chat_template\": null}", "chat_template.json",
                    "{\"chat_template\": \"C\"}", "C");
    assert_template("tokenizer_config.json", "{\"chat_template\": 7}", NULL, NULL, "");
}

#define TWO(plain, tools)                                                                          \
    "{\"chat_template\": [{\"name\": \"default\", \"template\": \"" plain "\"}, "                  \
    "{\"name\": \"rag\", \"template\": \"R\"}, "                                                   \
    "{\"name\": \"tool_use\", \"template\": \"" tools "\"}]}"

static void of_several_the_default_is_taken(void **state)
{
    (void)state;
    assert_template("tokenizer_config.json", TWO("has {{ tools }}", "T"), NULL, NULL,
                    "has {{ tools }}");
    assert_template("tokenizer_config.json",
                    "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T\"}]}", NULL,
                    NULL, "T");
    assert_template("tokenizer_config.json",
                    "{\"chat_template\": [1, {\"name\": 2}, {\"template\": \"x\"}]}", NULL, NULL,
                    "");
}

static void assert_renders(const struct chat_template *t, const char *context, const char *expected)
{
    json_t *object = json_loads(context, 0, NULL);
    struct error err = {0};
    struct buf out;
    buf_init(&out, 1 << 16);
    if (!chat_template_render(t, object, NULL, &out, NULL, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data ? out.data : "", expected);
    buf_deinit(&out);
    json_decref(object);
}

/* Each of the two says what it said alone, to the last newline. */
static void with_tools_it_is_the_one_that_knows_them(void **state)
{
    (void)state;
    struct weights *w =
        open_folder("tokenizer_config.json",
                    TWO("\\n plain\\n \\n\\n", "\\ntools\\n  {% if x %}\\nX{% endif "
                                               "%}\\n"),
                    NULL, NULL);
    struct error err = {0};
    struct buf source;
    buf_init(&source, 1 << 16);
    assert_true(recommended_template(w, &source, NULL, &err));
    struct chat_template *t = chat_template_create(source.data, source.len, &err);
    if (!t)
        fail_msg("%s", err.message);
    assert_renders(t, "{}", "\n plain\n \n");
    assert_renders(t, "{\"tools\": []}", "\n plain\n \n");
    assert_renders(t, "{\"tools\": [1], \"x\": true}", "\ntools\nX");
    chat_template_destroy(t);
    buf_deinit(&source);
    weights_close(w);
}

static void what_is_no_json_is_an_error(void **state)
{
    (void)state;
    struct weights *w = open_folder("chat_template.json", "{\"chat_template\": ", NULL, NULL);
    struct error err = {0};
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_false(recommended_template(w, &out, NULL, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_non_null(strstr(err.message, "chat_template.json"));
    weights_close(w);
    w = open_folder("chat_template.jinja", "a long one", NULL, NULL);
    buf_deinit(&out);
    buf_init(&out, 4);
    assert_false(recommended_template(w, &out, NULL, &err));
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    buf_deinit(&out);
    weights_close(w);
}

static struct engine_sampling sampling_of(const char *generation)
{
    struct engine_sampling s = {.temperature = 0.25f, .top_p = 0.5f, .top_k = 7};
    struct weights *w = open_folder("generation_config.json", generation, NULL, NULL);
    recommended_sampling(w, &s);
    weights_close(w);
    return s;
}

static void sampling_is_what_generation_config_says(void **state)
{
    (void)state;
    struct engine_sampling s =
        sampling_of("{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.95, \"top_k\": 20, "
                    "\"min_p\": 0.1, \"repetition_penalty\": 1.05}");
    assert_true(s.temperature == 0.6f && s.top_p == 0.95f && s.top_k == 20);
    assert_true(s.min_p == 0.1f && s.repeat_penalty == 1.05f);
    s = sampling_of("{\"do_sample\": false, \"temperature\": 0.6, \"top_p\": 0.9}");
    assert_true(s.temperature == 0.0f && s.top_p == 0.9f && s.top_k == 7);
    s = sampling_of("{}");
    assert_true(s.temperature == 0.25f && s.top_p == 0.5f && s.top_k == 7);
    s = sampling_of("{\"temperature\": -1, \"top_p\": 1e9, \"top_k\": -3, \"min_p\": \"x\", "
                    "\"repetition_penalty\": 1e30}"); /* no sampler could mean it */
    assert_true(s.temperature == 0.25f && s.top_p == 0.5f && s.top_k == 7);
    assert_true(s.min_p == 0.0f && s.repeat_penalty == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_template_comes_from_where_it_stands),
        cmocka_unit_test(of_several_the_default_is_taken),
        cmocka_unit_test(with_tools_it_is_the_one_that_knows_them),
        cmocka_unit_test(what_is_no_json_is_an_error),
        cmocka_unit_test(sampling_is_what_generation_config_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
