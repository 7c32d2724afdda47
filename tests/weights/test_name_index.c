/* From names to numbers: all that were added are found, nothing else is, whatever the bytes. */
#include "weights/name_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 100000 };

static void every_added_name_is_found_and_no_other(void **state)
{
    (void)state;
    struct name_index index = {0};
    char(*names)[16] = calloc(N, sizeof *names);
    assert_int_equal(name_index_find(&index, "0", 1), NAME_INDEX_NONE);
    for (uint32_t i = 0; i < N; i++) {
        size_t len = (size_t)snprintf(names[i], sizeof names[i], "%u", i);
        assert_int_equal(name_index_find(&index, names[i], len), NAME_INDEX_NONE);
        assert_true(name_index_add(&index, names[i], len, i));
    }
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(name_index_find(&index, names[i], strlen(names[i])), i);
    assert_int_equal(name_index_find(&index, "100000", 6), NAME_INDEX_NONE);
    assert_int_equal(name_index_find(&index, "99999x", 6), NAME_INDEX_NONE);
    assert_int_equal(name_index_find(&index, "", 0), NAME_INDEX_NONE);
    name_index_deinit(&index);
    free(names);
}

static void names_of_every_length_differ_in_every_byte(void **state)
{
    (void)state;
    static char names[40][41];
    struct name_index index = {0};
    for (uint32_t len = 0; len < 40; len++) {
        memset(names[len], 'a', len);
        assert_true(name_index_add(&index, names[len], len, len));
    }
    for (uint32_t len = 0; len < 40; len++) {
        char copy[41];
        memcpy(copy, names[len], sizeof copy);
        assert_int_equal(name_index_find(&index, copy, len), len);
        for (uint32_t i = 0; i < len; i++) {
            copy[i] ^= 1;
            assert_int_equal(name_index_find(&index, copy, len), NAME_INDEX_NONE);
            copy[i] ^= 1;
        }
    }
    name_index_deinit(&index);
}

/* Who chooses the names does not know which collide: two tables of one process hash differently. */
static void tables_have_keys_of_their_own(void **state)
{
    (void)state;
    struct name_index a = {0}, b = {0};
    assert_true(name_index_add(&a, "x", 1, 0));
    assert_true(name_index_add(&b, "x", 1, 0));
    assert_memory_not_equal(a.key, b.key, sizeof a.key);
    name_index_deinit(&a);
    name_index_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_added_name_is_found_and_no_other),
        cmocka_unit_test(names_of_every_length_differ_in_every_byte),
        cmocka_unit_test(tables_have_keys_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
