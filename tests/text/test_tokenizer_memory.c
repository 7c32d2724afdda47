/* Creation and encoding with the k-th allocation failing, for every k: one error, no crash, nothing
 * leaked. */
#include "support/failing_alloc.h"
#include "test_tokenizer_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char file[1 << 16];
static char text[600]; /* short pieces, then one that needs the heap */

/* One life of a tokenizer. False with err if something was refused. */
static bool live(const struct weights *w, struct error *err)
{
    struct tokenizer *t = tokenizer_create(w, err);
    struct token_list list = {0};
    bool ok =
        t && tokenizer_encode(t, text, sizeof text, TOKENIZER_SPECIAL | TOKENIZER_BOS, &list, err);
    token_list_deinit(&list);
    tokenizer_destroy(t);
    return ok;
}

static void the_kth_failing_allocation_is_an_error(void **state)
{
    FILE *f = tokenizer_cases_open(*state);
    size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    memset(text, 'a', sizeof text);
    memcpy(text, "one two <|im_end|> \xff\n", 21);
    struct error err = {0};
    struct weights *w = weights_open_bytes(file, n, &err);
    assert_non_null(w);
    long before = failing_alloc_n_alive, k = 0;
    for (;; k++) {
        err = (struct error){0};
        failing_alloc_countdown = k;
        bool ok = live(w, &err);
        bool all_succeeded = failing_alloc_countdown >= 0;
        failing_alloc_countdown = -1;
        assert_int_equal(failing_alloc_n_alive, before);
        if (all_succeeded) {
            assert_true(ok);
            break;
        }
        assert_false(ok);
        assert_int_equal(err.code, ERROR_NO_MEMORY);
    }
    assert_true(k >= 10);
    weights_close(w);
}

/* The same of folders: a tokenizer.json with all kinds of parts, one of each kind of model. */
#define ADDED                                                                                      \
    "\"added_tokens\":[{\"id\":5,\"content\":\"<|im_end|>\",\"special\":true},"                    \
    "{\"id\":6,\"content\":\"One\",\"normalized\":true}]"
#define PARTS                                                                                      \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":"        \
    "\"Lowercase\"},{\"type\":\"Prepend\",\"prepend\":\"x\"},{\"type\":\"Replace\",\"pattern\":"   \
    "{\"Regex\":\" +\"},\"content\":\" \"}]},\"pre_tokenizer\":{\"type\":\"Metaspace\","           \
    "\"replacement\":\"_\"}"
static const char *const jsons[] = {
    "{" ADDED "," PARTS ",\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,"
    "\"a\":1,\"aa\":2,\"\\u005f\":3},\"merges\":[\"a a\"]}}",
    "{" ADDED "," PARTS ",\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"u\",0],"
    "[\"a\",-1],[\"aa\",-2]]}}",
};

static void a_folder_lives_with_a_failing_allocation(void **state)
{
    struct tokenizer_folder f = tokenizer_folder_make(*state, NULL, NULL);
    if (!f.t)
        fail_msg("%s", f.err.message);
    struct error err = {0};
    tokenizer_destroy(f.t);
    f.t = NULL;
    memset(text, 'a', sizeof text);
    memcpy(text, "one two <|im_end|> \xff\xc3\xa9\n", 24);
    long before = failing_alloc_n_alive, k = 0;
    for (;; k++) {
        err = (struct error){0};
        failing_alloc_countdown = k;
        bool ok = live(f.w, &err);
        bool all_succeeded = failing_alloc_countdown >= 0;
        failing_alloc_countdown = -1;
        assert_int_equal(failing_alloc_n_alive, before);
        if (all_succeeded) {
            assert_true(ok);
            break;
        }
        if (!ok)
            assert_int_equal(err.code, ERROR_NO_MEMORY);
    }
    assert_true(k >= 20);
    tokenizer_folder_unmake(&f);
}

int main(void)
{
    static char bpe[] = "tiny-bpe.gguf", spm[] = "tiny-spm.gguf";
    const struct CMUnitTest tests[] = {
        {"bpe", the_kth_failing_allocation_is_an_error, NULL, NULL, bpe},
        {"bpe of a folder", a_folder_lives_with_a_failing_allocation, NULL, NULL, (void *)jsons[0]},
        {"unigram of a folder", a_folder_lives_with_a_failing_allocation, NULL, NULL,
         (void *)jsons[1]},
        {"spm", the_kth_failing_allocation_is_an_error, NULL, NULL, spm},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
