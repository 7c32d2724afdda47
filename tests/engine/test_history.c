/* Answers are remembered by their identity, also in a file, and only whole ones come back. */
#include "engine/history.h"
#include "gate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static int make_file(void **state)
{
    (void)state;
    strcpy(path, "/tmp/pensieve-history-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static struct history *open_history(const char *at)
{
    struct error err = {0};
    struct history *h = history_create(at, &err);
    if (!h)
        fail_msg("%s", err.message);
    return h;
}

/* Answer i: i + 1 tokens i, i + 1, ... */
static void remember(struct history *h, uint32_t i)
{
    int32_t tokens[64];
    const uint64_t identity[2] = {i, ~(uint64_t)i};
    for (uint32_t k = 0; k <= i % 50; k++)
        tokens[k] = (int32_t)(i + k);
    history_remember(h, 1, identity, tokens, i % 50 + 1);
}

static bool knows(struct history *h, uint32_t i)
{
    const uint64_t identity[2] = {i, ~(uint64_t)i};
    size_t n;
    int32_t *tokens = history_recall(h, 1, identity, &n);
    if (!tokens)
        return false;
    assert_int_equal(n, i % 50 + 1);
    for (size_t k = 0; k < n; k++)
        assert_int_equal(tokens[k], i + k);
    free(tokens);
    return true;
}

static void answers_come_back_to_their_owner(void **state)
{
    (void)state;
    const uint64_t identity[2] = {3, ~(uint64_t)3};
    size_t n;
    struct history *h = open_history(NULL);
    remember(h, 3);
    remember(h, 4);
    assert_true(knows(h, 3) && knows(h, 4) && !knows(h, 5));
    assert_null(history_recall(h, 2, identity, &n));
    /* the last one of an identity holds */
    history_remember(h, 1, identity, (const int32_t[]){7, 8}, 2);
    int32_t *tokens = history_recall(h, 1, identity, &n);
    assert_int_equal(n, 2);
    assert_int_equal(tokens[1], 8);
    free(tokens);
    history_destroy(h);
}

static void the_oldest_are_forgotten(void **state)
{
    (void)state;
    struct history *h = open_history(NULL);
    for (uint32_t i = 0; i < 5000; i++) {
        remember(h, i);
        assert_true(knows(h, 0)); /* used all the time */
    }
    assert_true(knows(h, 4999) && !knows(h, 1));
    history_destroy(h);
}

static void a_file_keeps_them(void **state)
{
    (void)state;
    struct history *h = open_history(path);
    for (uint32_t i = 0; i < 20; i++)
        remember(h, i);
    history_destroy(h);
    h = open_history(path);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(knows(h, i));
    history_destroy(h);

    /* cut or damaged anywhere: what stands before is good, and it goes on */
    struct stat st;
    static char whole[1 << 16];
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, whole, sizeof whole), st.st_size);
    close(fd);
    for (off_t at = 0; at < st.st_size; at += 13) {
        for (int cut = 0; cut < 2; cut++) {
            fd = open(path, O_RDWR | O_TRUNC);
            assert_int_equal(write(fd, whole, (size_t)(cut ? at : st.st_size)),
                             cut ? at : st.st_size);
            char byte = (char)(whole[at] ^ 4);
            if (!cut)
                assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            close(fd);
            h = open_history(path);
            uint32_t n = 0;
            while (n < 20 && knows(h, n))
                n++;
            for (uint32_t i = n; i < 20; i++)
                assert_false(knows(h, i));
            remember(h, 30);
            history_destroy(h);
            h = open_history(path);
            assert_true(knows(h, 30) && (!n || knows(h, n - 1)));
            history_destroy(h);
        }
    }
}

/* While the disk takes its time, answers are remembered and recalled; all of them are written in the
 * end. */
static void a_slow_disk_holds_up_nobody(void **state)
{
    (void)state;
    struct history *h = open_history(path);
    gate_close();
    for (uint32_t i = 0; i < 200; i++)
        remember(h, i);
    for (uint32_t i = 0; i < 200; i++)
        assert_true(knows(h, i));
    gate_wait_for_one(); /* what is being written may be forgotten, too */
    for (uint32_t i = 200; i < 5000; i++)
        remember(h, i);
    assert_false(gate_has_given_up());
    gate_open();
    history_destroy(h);
    h = open_history(path);
    assert_true(knows(h, 4999) && knows(h, 2000));
    history_destroy(h);
}

static void the_file_is_bounded(void **state)
{
    (void)state;
    static int32_t tokens[100000];
    struct stat st;
    struct history *h = open_history(path);
    for (uint64_t i = 0; i < 200; i++)
        history_remember(h, 1, (const uint64_t[]){i, i}, tokens, 100000);
    history_destroy(h);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size <= 33 << 20);
    h = open_history(path);
    size_t n = 0;
    free(history_recall(h, 1, (const uint64_t[]){199, 199}, &n));
    assert_int_equal(n, 100000);
    history_destroy(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_back_to_their_owner),
        cmocka_unit_test(the_oldest_are_forgotten),
        cmocka_unit_test_setup_teardown(a_file_keeps_them, make_file, remove_file),
        cmocka_unit_test_setup_teardown(a_slow_disk_holds_up_nobody, make_file, remove_file),
        cmocka_unit_test_setup_teardown(the_file_is_bounded, make_file, remove_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
