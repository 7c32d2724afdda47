/* The store: where it is, what a name means, and what counts as checked. */
#include "store/store.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char home[64];
static struct buf path;
static struct error err;

static int begin(void **state)
{
    (void)state;
    strcpy(home, "/tmp/pensieve-store-XXXXXX");
    assert_non_null(mkdtemp(home));
    setenv("PENSIEVE_HOME", home, 1);
    buf_init(&path, 8192);
    err = (struct error){0};
    return 0;
}

static int remove_entry(const char *at, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(at);
}

static int end(void **state)
{
    (void)state;
    buf_deinit(&path);
    nftw(home, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* A file of n bytes in the store, its first bytes `head`. */
static void put(const char *file, const char *head, off_t n)
{
    char at[256];
    snprintf(at, sizeof at, "%s/models", home);
    mkdir(at, 0755);
    snprintf(at, sizeof at, "%s/models/%s", home, file);
    FILE *f = fopen(at, "w");
    assert_non_null(f);
    fputs(head, f);
    fclose(f);
    if (n)
        assert_int_equal(truncate(at, n), 0);
}

static void the_folder_follows_the_environment(void **state)
{
    (void)state;
    char expected[200];
    snprintf(expected, sizeof expected, "%s/models", home);
    assert_true(store_dir(&path, &err));
    assert_string_equal(path.data, expected);
    unsetenv("PENSIEVE_HOME");
    setenv("HOME", "/home/nobody", 1);
#ifndef __APPLE__
    setenv("XDG_DATA_HOME", "/data", 1);
    assert_true(store_dir(&path, &err));
    assert_string_equal(path.data, "/data/pensieve/models");
    setenv("XDG_DATA_HOME", "relative", 1);
    assert_true(store_dir(&path, &err));
    assert_string_equal(path.data, "/home/nobody/.local/share/pensieve/models");
    unsetenv("XDG_DATA_HOME");
#endif
    unsetenv("HOME");
    assert_false(store_dir(&path, &err));
    assert_non_null(strstr(err.message, "PENSIEVE_HOME"));
}

static void a_path_means_itself(void **state)
{
    (void)state;
    put("mine.gguf", "x", 0);
    char at[200];
    snprintf(at, sizeof at, "%s/models/mine.gguf", home);
    assert_true(store_resolve(at, &path, &err));
    assert_string_equal(path.data, at);
    assert_false(store_resolve("/nowhere/mine.gguf", &path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nowhere/mine.gguf"));
}

static void a_file_of_the_store_goes_by_its_name(void **state)
{
    (void)state;
    put("mine.gguf", "x", 0);
    assert_true(store_resolve("mine", &path, &err));
    assert_true(store_resolve("mine.gguf", &path, &err));
    assert_non_null(strstr(path.data, "/models/mine.gguf"));
    /* a folder is a model, too: of the store, or where the command was started */
    char at[200], began[4096];
    snprintf(at, sizeof at, "%s/models/phi-folder", home);
    assert_int_equal(mkdir(at, 0700), 0);
    assert_true(store_resolve("phi-folder", &path, &err));
    assert_string_equal(path.data, at);
    assert_non_null(getcwd(began, sizeof began));
    assert_int_equal(chdir(home), 0);
    assert_true(store_resolve("models", &path, &err));
    assert_string_equal(path.data, "models");
    assert_int_equal(chdir(began), 0);
    assert_false(store_resolve("yours", &path, &err));
    assert_non_null(strstr(err.message, "qwen2.5-coder-0.5b")); /* says which are known */
    assert_false(store_resolve("", &path, &err));
    assert_false(store_resolve("..", &path, &err));
}

static void a_known_model_that_is_missing_says_how_to_fetch_it(void **state)
{
    (void)state;
    assert_false(store_resolve("smollm2-135m", &path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "pensieve pull smollm2-135m"));
    put("SmolLM2-135M-Instruct.Q4_1.gguf.part", "x", 0);
    assert_false(store_resolve("smollm2-135m", &path, &err));
    assert_non_null(strstr(err.message, "partly"));
    assert_non_null(strstr(err.message, "pensieve pull smollm2-135m"));
}

/* Of the right size and name, put there by hand, and not the model: found out at the first use. */
static void a_file_put_by_hand_is_hashed_before_it_is_used(void **state)
{
    (void)state;
    const struct store_model *model = store_model_find("smollm2-135m");
    put(model->file, "GGUF", (off_t)model->n_bytes);
    assert_int_equal(store_model_state(model, NULL), STORE_UNCHECKED);
    assert_false(store_resolve("smollm2-135m", &path, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_non_null(strstr(err.message, "SHA-256"));
    assert_int_equal(store_model_state(model, NULL), STORE_UNCHECKED);
}

static void a_mark_holds_for_the_file_it_was_made_for(void **state)
{
    (void)state;
    const struct store_model *model = store_model_find("smollm2-135m");
    char at[256];
    snprintf(at, sizeof at, "%s/models/%s", home, model->file);
    put(model->file, "GGUF", (off_t)model->n_bytes);
    assert_true(store_mark(at, model->sha256, &err));
    assert_int_equal(store_model_state(model, NULL), STORE_CHECKED);
    assert_true(store_resolve("smollm2-135m", &path, &err)); /* the mark is believed */
    assert_true(store_resolve("SmolLM2-135M", &path, &err)); /* case does not matter */
    assert_true(store_resolve(model->file, &path, &err));
    assert_string_equal(path.data, at);
    put(model->file, "gguf", (off_t)model->n_bytes); /* another file in its place, a second later */
    struct timespec later[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
    assert_int_equal(utimensat(AT_FDCWD, at, later, 0), 0);
    assert_int_equal(store_model_state(model, NULL), STORE_UNCHECKED);
    assert_true(store_mark(at, "0000", &err)); /* a mark of something else */
    assert_int_equal(store_model_state(model, NULL), STORE_UNCHECKED);
    put(model->file, "GGUF", 100);
    assert_int_equal(store_model_state(model, NULL), STORE_ABSENT);
}

static void check_marks_only_what_is_right(void **state)
{
    (void)state;
    struct store_model hello = *store_model_at(0);
    hello.name = "hello";
    hello.file = "hello.gguf";
    hello.n_bytes = 5;
    /* printf hello | sha256sum */
    hello.sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    put("hello.gguf", "hellO", 0);
    assert_false(store_check(&hello, NULL, &err));
    assert_int_equal(err.code, ERROR_FORMAT);
    put("hello.gguf", "hell", 0);
    assert_false(store_check(&hello, NULL, &err));
    put("hello.gguf", "hello", 0);
    assert_int_equal(store_model_state(&hello, NULL), STORE_UNCHECKED);
    assert_true(store_check(&hello, NULL, &err));
    assert_int_equal(store_model_state(&hello, NULL), STORE_CHECKED);
}

static void the_preferred_model_is_the_first_that_is_there(void **state)
{
    (void)state;
    assert_false(store_preferred(&path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    put("zebra.gguf", "x", 0);
    put("apple.gguf", "x", 0);
    put("notes.txt", "x", 0);
    assert_true(store_preferred(&path, &err));
    assert_non_null(strstr(path.data, "/apple.gguf"));
    const struct store_model *last = store_model_at(2), *second = store_model_at(1);
    const struct store_model *models[] = {last, second};
    for (size_t i = 0; i < 2; i++) {
        char at[256];
        snprintf(at, sizeof at, "%s/models/%s", home, models[i]->file);
        put(models[i]->file, "GGUF", (off_t)models[i]->n_bytes);
        assert_true(store_mark(at, models[i]->sha256, &err));
        assert_true(store_preferred(&path, &err));
        assert_string_equal(path.data, at);
    }
}

static void a_file_is_known_by_size_and_name(void **state)
{
    (void)state;
    const struct store_model *model = store_model_find("smollm2-135m");
    char at[256];
    put("renamed.gguf", "GGUF....general.name....Smollm2 135M 8k Lc100K Mix1 Ep2",
        (off_t)model->n_bytes);
    snprintf(at, sizeof at, "%s/models/renamed.gguf", home);
    assert_ptr_equal(store_model_of_file(at, model->n_bytes), model);
    assert_null(store_model_of_file(at, model->n_bytes + 1));
    put("renamed.gguf", "GGUF....general.name....Something else", (off_t)model->n_bytes);
    assert_null(store_model_of_file(at, model->n_bytes));
    snprintf(at, sizeof at, "/elsewhere/%s", model->file);
    assert_ptr_equal(store_model_of_file(at, model->n_bytes), model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_folder_follows_the_environment, begin, end),
        cmocka_unit_test_setup_teardown(a_path_means_itself, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_the_store_goes_by_its_name, begin, end),
        cmocka_unit_test_setup_teardown(a_known_model_that_is_missing_says_how_to_fetch_it, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_file_put_by_hand_is_hashed_before_it_is_used, begin, end),
        cmocka_unit_test_setup_teardown(a_mark_holds_for_the_file_it_was_made_for, begin, end),
        cmocka_unit_test_setup_teardown(check_marks_only_what_is_right, begin, end),
        cmocka_unit_test_setup_teardown(the_preferred_model_is_the_first_that_is_there, begin, end),
        cmocka_unit_test_setup_teardown(a_file_is_known_by_size_and_name, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
