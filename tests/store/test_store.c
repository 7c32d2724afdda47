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
    assert_true(store_resolve(".", &path, &err)); /* as everywhere: the folder where one stands */
    assert_string_equal(path.data, ".");
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
    assert_true(store_mark(at, model->files[0].sha256, &err));
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
    const struct store_file file = {
        .name = "hello.gguf",
        .n_bytes = 5,
        /* printf hello | sha256sum */
        .sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"};
    const struct store_model hello = {
        .name = "hello", .file = "hello.gguf", .files = &file, .n_files = 1, .n_bytes = 5};
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

/* A folder of two files, the SHA-256 of one of which nobody knows. */
static void a_folder_is_as_good_as_its_worst_file(void **state)
{
    (void)state;
    static const struct store_file files[] = {
        {.name = "config.json"},
        {.name = "tokenizer.model", .is_optional = true},
        {.name = "hello.safetensors",
         .n_bytes = 5,
         .sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}};
    struct store_model hello = {.name = "hello",
                                .file = "Hello-4bit",
                                .is_folder = true,
                                .files = files,
                                .n_files = 3,
                                .n_bytes = 5};
    char at[256];
    assert_int_equal(store_model_state(&hello, NULL), STORE_ABSENT);
    snprintf(at, sizeof at, "%s/models", home);
    mkdir(at, 0755);
    snprintf(at, sizeof at, "%s/models/Hello-4bit", home);
    mkdir(at, 0755);
    put("Hello-4bit/config.json", "{}", 0);
    assert_int_equal(store_model_state(&hello, NULL), STORE_PARTIAL);
    put("Hello-4bit/hello.safetensors", "hello", 0);
    assert_int_equal(store_model_state(&hello, NULL), STORE_UNCHECKED);
    assert_true(store_check(&hello, NULL, &err));
    assert_int_equal(store_model_state(&hello, NULL), STORE_RECORDED);
    assert_false(store_model_is_verified(&hello));
    put("Hello-4bit/config.json", "{ }", 0);
    assert_int_equal(store_model_state(&hello, NULL), STORE_UNCHECKED);
    put("Hello-4bit/hello.safetensors", "hellO", 0);
    assert_false(store_check(&hello, NULL, &err));
    assert_non_null(strstr(err.message, "hello.safetensors"));
    hello.kv_bytes = 3;
    hello.context = 10;
    assert_true(store_model_memory(&hello, 100) == 5 + 30);
    assert_true(store_model_memory(&hello, 7) == 5 + 21);
}

static void a_folder_is_known_by_its_name_or_its_files(void **state)
{
    (void)state;
    const struct store_model *phi = store_model_find("phi-3-mini-128k");
    assert_non_null(phi);
    assert_true(phi->is_folder);
    assert_ptr_equal(store_model_of_file("/x/Phi-3-mini-128k-instruct-4bit/", 1), phi);
    assert_ptr_equal(store_model_of_file("Phi-3-mini-128k-instruct-4bit", 1), phi);
    assert_ptr_equal(store_model_of_file("Phi-3-mini-128k-instruct-4bit/model.safetensors", 1),
                     phi);
    assert_null(store_model_of_file("Phi-3-mini-4k-instruct-4bit/model.safetensors", 1));
    assert_null(store_model_of_file("model.safetensors", 1));
    assert_null(store_model_of_file("/", 1));
}

/* Nobody has to guess which of two is meant. */
static void a_name_that_is_both_is_refused(void **state)
{
    (void)state;
    const struct store_model *model = store_model_find("smollm2-135m");
    char at[256], here[256], began[4096];
    assert_non_null(getcwd(began, sizeof began));
    snprintf(here, sizeof here, "%s/here", home);
    assert_int_equal(mkdir(here, 0700), 0);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(mkdir("smollm2-135m", 0700), 0);
    assert_true(store_resolve("smollm2-135m", &path, &err)); /* the store has none: the folder */
    assert_string_equal(path.data, "smollm2-135m");
    put(model->file, "GGUF", (off_t)model->n_bytes);
    snprintf(at, sizeof at, "%s/models/%s", home, model->file);
    assert_true(store_mark(at, model->files[0].sha256, &err));
    assert_false(store_resolve("smollm2-135m", &path, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_non_null(strstr(err.message, "./smollm2-135m"));
    assert_non_null(strstr(err.message, at));
    assert_true(store_resolve("./smollm2-135m", &path, &err));
    put("mine.gguf", "x", 0); /* and one that the catalogue does not know */
    assert_int_equal(mkdir("mine", 0700), 0);
    assert_false(store_resolve("mine", &path, &err));
    assert_non_null(strstr(err.message, "./mine"));
    snprintf(here, sizeof here, "%s/models", home);
    assert_int_equal(chdir(here), 0); /* the very file under its own name is not two things */
    assert_true(store_resolve(model->file, &path, &err));
    assert_int_equal(chdir(began), 0);
}

static char others[400];

static bool hear_other(void *context, const struct store_other *other)
{
    (void)context;
    size_t n = strlen(others);
    snprintf(others + n, sizeof others - n, "%s %llu%s\n", other->name,
             (unsigned long long)other->n_bytes, other->is_folder ? " folder" : "");
    return true;
}

static void what_else_lies_there_is_told_and_removed(void **state)
{
    (void)state;
    char at[256];
    others[0] = '\0';
    put("b-00001-of-00002.gguf", "12", 0);
    put("b-00002-of-00002.gguf", "345", 0);
    put("c.gguf", "1", 0);
    put("notes.txt", "1", 0);
    put("smollm2.part", "1", 0);
    snprintf(at, sizeof at, "%s/models/folder", home);
    mkdir(at, 0755);
    put("folder/config.json", "{}", 0);
    put("folder/model.safetensors", "1234", 0);
    snprintf(at, sizeof at, "%s/models/no-model", home);
    mkdir(at, 0755);
    store_others_visit(hear_other, NULL);
    assert_string_equal(others, "b-00001-of-00002.gguf 5\nc.gguf 1\nfolder 4 folder\n");
    assert_true(store_remove("b-00001-of-00002", &path, &err));
    assert_true(store_remove("c.gguf", &path, &err));
    assert_true(store_remove("folder", &path, &err));
    snprintf(at, sizeof at, "%s/models/folder", home);
    assert_string_equal(path.data, at);
    others[0] = '\0';
    store_others_visit(hear_other, NULL);
    assert_string_equal(others, "");
    assert_false(store_remove("notes.txt", &path, &err)); /* no model */
    assert_int_equal(err.code, ERROR_INPUT);
    assert_false(store_remove("c.gguf", &path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_false(store_remove("../models/notes.txt", &path, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_false(store_remove("..", &path, &err));
    assert_int_equal(err.code, ERROR_INPUT);
    snprintf(at, sizeof at, "%s/models/deep", home);
    mkdir(at, 0755);
    put("deep/config.json", "{}", 0);
    snprintf(at, sizeof at, "%s/models/deep/er", home);
    mkdir(at, 0755);
    assert_false(store_remove("deep", &path, &err)); /* who knows what is in there */
    assert_non_null(strstr(err.message, "er"));
    snprintf(at, sizeof at, "%s/models/deep/config.json", home);
    assert_int_equal(access(at, F_OK), 0);
}

static void a_known_model_is_removed_with_all_that_fetches_left(void **state)
{
    (void)state;
    const struct store_model *model = store_model_find("smollm2-135m");
    char at[256];
    assert_false(store_remove("smollm2-135m", &path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    put(model->file, "GGUF", (off_t)model->n_bytes);
    snprintf(at, sizeof at, "%s/models/%s", home, model->file);
    assert_true(store_mark(at, model->files[0].sha256, &err));
    put("SmolLM2-135M-Instruct.Q4_1.gguf.part", "x", 0);
    snprintf(at, sizeof at, "%s/models/%s.part.wheels", home, model->file);
    mkdir(at, 0755);
    put("SmolLM2-135M-Instruct.Q4_1.gguf.part.wheels/a.whl", "x", 0);
    assert_true(store_remove("SmolLM2-135M", &path, &err));
    snprintf(at, sizeof at, "%s/models", home);
    assert_int_equal(rmdir(at), 0); /* nothing is left */
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
    const struct store_model *last = store_model_find("smollm2-135m"), *second = store_model_at(1);
    const struct store_model *models[] = {last, second};
    for (size_t i = 0; i < 2; i++) {
        char at[256];
        snprintf(at, sizeof at, "%s/models/%s", home, models[i]->file);
        put(models[i]->file, "GGUF", (off_t)models[i]->n_bytes);
        assert_true(store_mark(at, models[i]->files[0].sha256, &err));
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
        cmocka_unit_test_setup_teardown(a_folder_is_as_good_as_its_worst_file, begin, end),
        cmocka_unit_test_setup_teardown(a_folder_is_known_by_its_name_or_its_files, begin, end),
        cmocka_unit_test_setup_teardown(a_name_that_is_both_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(what_else_lies_there_is_told_and_removed, begin, end),
        cmocka_unit_test_setup_teardown(a_known_model_is_removed_with_all_that_fetches_left, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_preferred_model_is_the_first_that_is_there, begin, end),
        cmocka_unit_test_setup_teardown(a_file_is_known_by_size_and_name, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
