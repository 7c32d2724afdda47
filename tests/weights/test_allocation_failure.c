/* Opening with the k-th allocation failing, for every k: one error, no crash, nothing leaked. */
#include "support/failing_alloc.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "folder_bytes.h"
#include "gguf_bytes.h"

static void assert_every_failure_is_an_error(const struct weights_file *files, size_t n_files,
                                             const char *name)
{
    long before = failing_alloc_n_alive, k = 0;
    for (;; k++) {
        struct error err = {0};
        failing_alloc_countdown = k;
        struct weights *w = weights_open_files(files, n_files, name, &err);
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
}

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

    const struct weights_file file = {"", b.data, b.len};
    assert_every_failure_is_an_error(&file, 1, "");
    buf_deinit(&b);
}

static void folders_fail_as_well(void **state)
{
    (void)state;
    struct folder_bytes f = {0};
    folder_text(
        &f, "config.json",
        "{\"quantization\":{\"bits\":4,\"group_size\":32,\"y\":{\"bits\":8,\"group_size\":64}},"
        "\"text\":\"\\u00e9\"}");
    folder_text(&f, "generation_config.json", "{\"top_k\":[1]}");
    folder_text(&f, "tokenizer.json", "{}");
    folder_tensors(&f, "model-00001-of-00002.safetensors",
                   "{\"x.weight\":{\"dtype\":\"U32\",\"shape\":[1,4],\"data_offsets\":[0,16]},"
                   "\"x.scales\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[16,18]},"
                   "\"x.biases\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[18,20]}}",
                   20);
    /* a byte and three floats: one of them lies at an odd place */
    folder_tensors(&f, "model-00002-of-00002.safetensors",
                   "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                   "\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]},"
                   "\"h\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5,9]},"
                   "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]},"
                   "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[10,14]}}",
                   14);
    folder_text(
        &f, "model.safetensors.index.json",
        "{\"weight_map\":{\"x.weight\":\"model-00001-of-00002.safetensors\","
        "\"x.scales\":\"model-00001-of-00002.safetensors\","
        "\"x.biases\":\"model-00001-of-00002.safetensors\","
        "\"u\":\"model-00002-of-00002.safetensors\",\"v\":\"model-00002-of-00002.safetensors\","
        "\"h\":\"model-00002-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\","
        "\"w\":\"model-00002-of-00002.safetensors\"}}");
    assert_every_failure_is_an_error(f.files, f.n, NULL);
    folder_free(&f);
}

static void split_files_fail_as_well(void **state)
{
    (void)state;
    static const char *const names[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    struct weights_file files[2];
    struct buf b[2];
    for (uint16_t i = 0; i < 2; i++) {
        buf_init(&b[i], 1 << 12);
        gguf_header(&b[i], 3, 1, 3);
        GGUF_META(&b[i], "split.no", U16, uint16_t, i);
        GGUF_META(&b[i], "split.count", U16, uint16_t, 2);
        GGUF_META(&b[i], "split.tensors.count", I32, int32_t, 2);
        gguf_tensor(&b[i], i ? "b" : "a", QUANT_F32, 1, (uint64_t[]){8}, 0);
        gguf_pad(&b[i], 32);
        gguf_data(&b[i], 0, 32);
        files[i] = (struct weights_file){names[i], b[i].data, b[i].len};
    }
    assert_every_failure_is_an_error(files, 2, names[1]);
    buf_deinit(&b[0]);
    buf_deinit(&b[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kth_failing_allocation_is_an_error),
        cmocka_unit_test(folders_fail_as_well),
        cmocka_unit_test(split_files_fail_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
