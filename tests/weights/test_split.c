/* Split GGUF: any part's name opens all, and a part that is missing or not what it should be is
 * named. */
#include "support/temp_folder.h"
#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_bytes.h"

enum { N = 3 };

/* A part with a metadata entry of its own and one tensor, called after its number; the first of all
 * has none. */
struct part {
    uint16_t no, count;
    int32_t n_tensors;
    const char *tensor; /* NULL: none */
};

static const struct part right[N] = {{0, N, 2, NULL}, {1, N, 2, "one"}, {2, N, 2, "two"}};
static const char *const names[N] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                     "m-00003-of-00003.gguf"};

static struct buf bytes[N];
static struct weights_file files[N];

static void make_part(int i, const struct part *p)
{
    struct buf *b = &bytes[i];
    buf_init(b, 1 << 16);
    gguf_header(b, 3, p->tensor != NULL, 4);
    GGUF_META(b, "split.no", U16, uint16_t, p->no);
    GGUF_META(b, "split.count", U16, uint16_t, p->count);
    GGUF_META(b, "split.tensors.count", I32, int32_t, p->n_tensors);
    GGUF_META(b, "number", U32, uint32_t, (uint32_t)i);
    if (p->tensor)
        gguf_tensor(b, p->tensor, QUANT_F32, 1, (uint64_t[]){8}, 0);
    gguf_pad(b, 32);
    if (p->tensor)
        gguf_data(b, (uint8_t)i, 32);
    files[i] = (struct weights_file){names[i], b->data, b->len};
}

static void make(const struct part parts[N])
{
    for (int i = 0; i < N; i++)
        make_part(i, &parts[i]);
}

static int free_parts(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++)
        buf_deinit(&bytes[i]);
    return 0;
}

static void assert_whole(const struct weights *w)
{
    uint64_t u;
    assert_int_equal(weights_n_files(w), N);
    assert_int_equal(weights_n_tensors(w), 2);
    assert_int_equal(weights_file_bytes(w), bytes[0].len + bytes[1].len + bytes[2].len);
    assert_true(weights_uint(w, "number", &u) && u == 0); /* the first part's */
    const struct weights_tensor *t = weights_tensor(w, "two");
    assert_non_null(t);
    assert_int_equal(t->file, 2);
    assert_int_equal(*(const uint8_t *)t->data, 2);
    assert_int_equal(*(const uint8_t *)weights_tensor(w, "one")->data, 1);
}

static void any_name_opens_all(void **state)
{
    (void)state;
    uint64_t hashes[N][2];
    make(right);
    for (int i = 0; i < N; i++) {
        struct error err = {0};
        struct weights *w = weights_open_files(files, N, names[i], &err);
        if (!w)
            fail_msg("%s", err.message);
        assert_whole(w);
        weights_fingerprint(w, hashes[i]);
        weights_close(w);
    }
    assert_memory_equal(hashes[0], hashes[2], sizeof *hashes);
    /* a byte of any part's tensors is in the fingerprint */
    bytes[2].data[bytes[2].len - 16] ^= 1;
    struct weights *w = weights_open_files(files, N, names[0], NULL);
    weights_fingerprint(w, hashes[0]);
    assert_memory_not_equal(hashes[0], hashes[2], sizeof *hashes);
    weights_close(w);
}

static void parts_on_disk_are_found_beside_each_other(void **state)
{
    (void)state;
    char path[4096];
    struct error err = {0};
    make(right);
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "%s/%s", temp_folder, names[i]);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes[i].data, 1, bytes[i].len, f), bytes[i].len);
        fclose(f);
    }
    snprintf(path, sizeof path, "%s/%s", temp_folder, names[1]);
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.message);
    assert_whole(w);
    weights_close(w);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/%s", temp_folder, names[0]);
    assert_null(weights_open(path, &err));
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, names[1]));
    free_parts(NULL);
}

static void assert_refused(const char *name, size_t n_files, enum error_code code, const char *says)
{
    struct error err = {0};
    struct weights *w = weights_open_files(files, n_files, name, &err);
    if (w)
        fail_msg("%s was opened instead of: %s", name, says);
    if (err.code != code || !strstr(err.message, says))
        fail_msg("%s instead of: %s", err.message, says);
}

static void wrong_parts_are_named(void **state)
{
    (void)state;
    static const struct {
        struct part parts[N];
        const char *says;
    } rows[] = {
        {{{0, N, 2, NULL}, {2, N, 2, "one"}, {1, N, 2, "two"}},
         "m-00002-of-00003.gguf: it says that it is part number 2 (from 0) of 3"},
        {{{0, 2, 2, NULL}, {1, 2, 2, "one"}, {2, N, 2, "two"}},
         "m-00001-of-00003.gguf: it says that it is part number 0 (from 0) of 2"},
        {{{0, N, 2, NULL}, {1, N, 2, "one"}, {2, N, 3, "two"}},
         "m-00003-of-00003.gguf: it says that all parts have 3 tensors, the first says 2"},
        {{{0, N, 5, NULL}, {1, N, 5, "one"}, {2, N, 5, "two"}},
         "all parts should have 5 tensors, they have 2"},
        {{{0, N, 2, NULL}, {1, N, 2, "one"}, {2, N, 2, "one"}},
         "m-00003-of-00003.gguf: tensor \"one\": byte 128: the name appears twice"},
        {{{0, N, -2, NULL}, {1, N, -2, "one"}, {2, N, -2, "two"}}, "says nothing of a split"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        make(rows[i].parts);
        assert_refused(names[0], N, ERROR_FORMAT, rows[i].says);
        free_parts(NULL);
    }
    make(right);
    assert_refused(names[2], 2, ERROR_NOT_FOUND, "m-00003-of-00003.gguf");
    files[1].size -= 16;
    assert_refused(names[0], N, ERROR_FORMAT,
                   "m-00002-of-00003.gguf: byte 208: the file is cut: tensor");
}

static void names_decide_what_belongs_together(void **state)
{
    (void)state;
    make(right);
    files[0].name = "model.gguf";
    assert_refused("model.gguf", N, ERROR_UNSUPPORTED, "split over 3 files");
    static const char *const wrong[] = {"m-00004-of-00003.gguf", "m-00000-of-00003.gguf",
                                        "m-00000-of-00000.gguf", "m-00001-of-99999.gguf"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        files[0].name = wrong[i];
        assert_refused(wrong[i], N, ERROR_FORMAT, "cannot be");
    }
    /* one of one is a file like any other, and so is one that says so */
    struct buf b;
    buf_init(&b, 1 << 10);
    gguf_header(&b, 3, 0, 0);
    gguf_pad(&b, 32);
    files[0] = (struct weights_file){"m-00001-of-00001.gguf", b.data, b.len};
    struct weights *w = weights_open_files(files, 1, files[0].name, NULL);
    assert_non_null(w);
    weights_close(w);
    /* the parts must say that they are */
    files[0].name = names[0];
    assert_refused(names[0], N, ERROR_FORMAT, "says nothing of a split");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_name_opens_all, free_parts),
        TEST_IN_TEMP_FOLDER(parts_on_disk_are_found_beside_each_other),
        cmocka_unit_test_teardown(wrong_parts_are_named, free_parts),
        cmocka_unit_test_teardown(names_decide_what_belongs_together, free_parts),
    };
    return cmocka_run_group_tests(tests, NULL, free_parts);
}
