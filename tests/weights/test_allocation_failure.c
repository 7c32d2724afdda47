/* Opening with the k-th allocation failing, for every k: one error, no crash, nothing leaked. */
#include "support/failing_alloc.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gguf_bytes.h"

static void the_kth_failing_allocation_is_an_error(void **state)
{
    (void)state;
    enum { N = 100 }; /* enough names that both indexes grow */
    struct buf b;
    buf_init(&b, 1 << 20);
    gguf_header(&b, 3, N, N + 1);
    gguf_array(&b, "words", GGUF_STRING, 2);
    gguf_string(&b, "one");
    gguf_string(&b, "two");
    char name[600]; /* long, so that the names take more than one block */
    memset(name, 'n', sizeof name);
    for (int i = 0; i < N; i++) {
        snprintf(name + 590, 10, "%d", i);
        GGUF_META(&b, name, U8, uint8_t, 1);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name + 590, 10, "%d", i);
        gguf_tensor(&b, name, QUANT_F32, 1, (uint64_t[]){8}, 0);
    }
    gguf_pad(&b, 32);
    gguf_data(&b, 0, 32);

    long before = failing_alloc_n_alive, k = 0;
    for (;; k++) {
        struct error err = {0};
        failing_alloc_countdown = k;
        struct weights *w = weights_open_bytes(b.data, b.len, &err);
        bool all_succeeded = failing_alloc_countdown >= 0;
        failing_alloc_countdown = -1;
        weights_close(w);
        assert_int_equal(failing_alloc_n_alive, before);
        if (all_succeeded) {
            if (!w)
                fail_msg("%s", err.message);
            break;
        }
        assert_null(w);
        assert_int_equal(err.code, ERROR_NO_MEMORY);
    }
    assert_true(k >= 10);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kth_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
