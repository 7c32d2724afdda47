/* The foundation: buffers keep their ceiling, arenas theirs, errors their text, maps their file. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/file_map.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void buf_grows_to_its_ceiling_and_no_further(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        assert_true(buf_putc(&b, (char)('a' + i % 26)));
    assert_int_equal(b.len, 1000);
    assert_false(buf_putc(&b, 'x'));
    assert_true(buf_failed(&b));
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.data[1000], 0);
    buf_clear(&b);
    assert_true(buf_printf(&b, "%d-%s", 42, "x"));
    assert_string_equal(b.data, "42-x");
    buf_consume(&b, 3);
    assert_string_equal(b.data, "x");
    buf_consume(&b, 99);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

/* Byte by byte up to the ceiling, the block moves a few times only, in its last half, too. */
static void buf_moves_rarely(void **state)
{
    (void)state;
    struct buf b;
    size_t n_moves = 0;
    buf_init(&b, 100000);
    for (size_t cap = 0; buf_putc(&b, 'x'); cap = b.cap)
        n_moves += b.cap != cap;
    assert_int_equal(b.len, 100000);
    assert_true(n_moves < 20);
    buf_deinit(&b);
}

static void buf_refuses_sizes_that_overflow(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_true(buf_puts(&b, "abc"));
    assert_false(buf_reserve(&b, SIZE_MAX - 1));
    buf_deinit(&b);
}

static void buf_steal_hands_over_the_block(void **state)
{
    (void)state;
    struct buf b;
    size_t n;
    buf_init(&b, 100);
    buf_puts(&b, "mine");
    char *data = buf_steal(&b, &n);
    assert_int_equal(n, 4);
    assert_string_equal(data, "mine");
    assert_null(b.data);
    free(data);
}

static void arena_is_aligned_zeroed_and_bounded(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100000);
    for (size_t n = 1; n < 300; n++) {
        unsigned char *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_null(arena_alloc(&a, 100000));
    assert_null(arena_array(&a, SIZE_MAX / 2, 3));
    assert_string_equal(arena_copy(&a, "hello", 4), "hell");
    arena_deinit(&a);
}

static void memory_is_there_once_it_is_touched_until_it_is_given_back(void **state)
{
    (void)state;
    enum { N_BYTES = 3 << 20 };
    struct error err;
    char *memory = memory_map(N_BYTES, "a test", &err);
    assert_non_null(memory);
    assert_int_equal(memory_resident(memory, N_BYTES), 0);
    memset(memory, 1, N_BYTES / 3);
    assert_int_equal(memory_resident(memory, N_BYTES), N_BYTES / 3);
    memory_give_back(memory, N_BYTES);
#ifndef __APPLE__ /* which takes it when it likes */
    assert_int_equal(memory_resident(memory, N_BYTES), 0);
    assert_int_equal(memory[0], 0);
#endif
    memset(memory, 2, N_BYTES);
    assert_int_equal(memory_resident(memory, N_BYTES), N_BYTES);
    memory_unmap(memory, N_BYTES);
}

static void error_keeps_code_position_and_a_bounded_message(void **state)
{
    (void)state;
    struct error err;
    assert_false(error_at(&err, ERROR_FORMAT, 77, "bad %s", "magic"));
    assert_int_equal(err.code, ERROR_FORMAT);
    assert_int_equal(err.position, 77);
    assert_false(error_prefix(&err, "file %d", 3));
    assert_string_equal(err.message, "file 3: bad magic");
    for (int i = 0; i < 100; i++)
        error_prefix(&err, "prefix %d", i);
    assert_true(strlen(err.message) < sizeof err.message);
    assert_false(error_set(NULL, ERROR_IO, "nobody listens"));
    assert_string_equal(error_code_name(ERROR_NOT_FOUND), "not found");
}

static void file_map_reads_a_file_and_explains_a_missing_one(void **state)
{
    (void)state;
    struct error err;
    struct file_map map;
    char path[] = "/tmp/pensieve-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(file_map_open(&map, path, &err));
    assert_null(map.data);
    assert_int_equal(write(fd, "content", 7), 7);
    close(fd);
    assert_true(file_map_open(&map, path, &err));
    assert_int_equal(map.size, 7);
    assert_memory_equal(map.data, "content", 7);
    file_map_close(&map);
    unlink(path);
    assert_false(file_map_open(&map, path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_false(file_map_open(&map, "/tmp", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_grows_to_its_ceiling_and_no_further),
        cmocka_unit_test(buf_moves_rarely),
        cmocka_unit_test(buf_refuses_sizes_that_overflow),
        cmocka_unit_test(buf_steal_hands_over_the_block),
        cmocka_unit_test(arena_is_aligned_zeroed_and_bounded),
        cmocka_unit_test(memory_is_there_once_it_is_touched_until_it_is_given_back),
        cmocka_unit_test(error_keeps_code_position_and_a_bounded_message),
        cmocka_unit_test(file_map_reads_a_file_and_explains_a_missing_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
