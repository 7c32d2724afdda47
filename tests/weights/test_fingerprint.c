/* Another content, another fingerprint: of every tensor a piece goes in, and the file's size and times. */
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "weights/weights.h"

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

struct print {
    uint64_t of[2];
};

static struct print print_of(struct weights *w)
{
    struct print p;
    assert_non_null(w);
    weights_fingerprint(w, p.of);
    weights_close(w);
    return p;
}

static void assert_prints(bool same, struct print a, struct print b)
{
    assert_int_equal(!memcmp(&a, &b, sizeof a), same);
}

static void each_tensor_counts(void **state)
{
    (void)state;
    struct tiny_model m;
    struct error err = {0};
    tiny_model_init(&m);
    uint8_t *bytes = m.data;
    const struct print before = print_of(weights_open_bytes(m.data, m.size, &err));
    struct weights *w = weights_open_bytes(m.data, m.size, &err);
    assert_non_null(w);
    assert_true(weights_n_tensors(w) > 10);
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        const struct weights_tensor *t = weights_tensor_at(w, i);
        const size_t begin = (size_t)((const uint8_t *)t->data - bytes);
        const size_t places[] = {begin, begin + t->n_bytes / 2, begin + t->n_bytes - 1};
        for (int k = 0; k < 3; k++) {
            bytes[places[k]] ^= 1;
            assert_prints(false, before, print_of(weights_open_bytes(m.data, m.size, &err)));
            bytes[places[k]] ^= 1;
        }
    }
    weights_close(w);
    assert_prints(true, before, print_of(weights_open_bytes(m.data, m.size, &err)));
    tiny_model_deinit(&m);
}

static void the_times_of_the_file_count(void **state)
{
    (void)state;
    struct tiny_model m;
    struct error err = {0};
    char path[4200];
    const struct timespec early[2] = {{1000, 0}, {1000, 5}}, late[2] = {{1000, 0}, {1000, 6}};
    tiny_model_init(&m);
    snprintf(path, sizeof path, "%s/model.gguf", temp_folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, m.data, m.size), m.size);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path, early, 0), 0);
    const struct print before = print_of(weights_open(path, &err));
    assert_prints(true, before, print_of(weights_open(path, &err)));
    assert_int_equal(utimensat(AT_FDCWD, path, late, 0), 0);
    assert_prints(false, before, print_of(weights_open(path, &err)));
    assert_int_equal(utimensat(AT_FDCWD, path, early, 0), 0);
    assert_prints(true, before, print_of(weights_open(path, &err)));
    unlink(path);
    tiny_model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_tensor_counts),
        TEST_IN_TEMP_FOLDER(the_times_of_the_file_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
