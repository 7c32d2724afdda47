/* The catalogue against the real files: each that is there is known by what it calls itself, under
 * whatever name, and has the SHA-256 that the catalogue says. */
#include "fixture.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char models_dir[4096];
static int n_there;

static bool find_models(void)
{
    const char *given = getenv("PENSIEVE_TEST_MODELS");
    struct buf dir;
    buf_init(&dir, sizeof models_dir - 1);
    bool ok = given || store_dir(&dir, NULL);
    snprintf(models_dir, sizeof models_dir, "%s", given ? given : ok ? dir.data : "");
    buf_deinit(&dir);
    for (size_t i = 0; ok && i < store_n_models(); i++) {
        char path[4400];
        snprintf(path, sizeof path, "%s/%s", models_dir, store_model_at(i)->file);
        n_there += !access(path, R_OK);
    }
    return n_there > 0;
}

static void each_file_is_what_the_catalogue_says(void **state)
{
    (void)state;
    fixture_begin();
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *model = store_model_at(i);
        char path[4400];
        struct error err;
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", models_dir, model->file);
        if (stat(path, &st))
            continue;
        if (model->general_name) {
            assert_int_equal(symlink(path, fixture_path("renamed")), 0);
            assert_ptr_equal(store_model_of_file(fixture_path("renamed"), (uint64_t)st.st_size),
                             model);
            unlink(fixture_path("renamed"));
        }
        assert_int_equal(symlink(path, fixture_path(model->file)), 0);
        if (!store_check(model, fixture_dir, &err))
            fail_msg("%s", err.message);
    }
    fixture_end();
}

int main(void)
{
    if (!find_models()) {
        fprintf(stderr, "SKIPPED: no known model in %s\n", models_dir);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_file_is_what_the_catalogue_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
