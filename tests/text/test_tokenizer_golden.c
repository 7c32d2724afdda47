/* The real vocabularies against llama.cpp: the same ids for a few thousand texts, and the same
 * bytes back. */
#include "test_tokenizer_cases.h"

#include "support/cpu_time.h"
#include "support/test_models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tokenizer_cases cases;
static struct weights *weights;
static struct tokenizer *tokenizer;
static const char *model; /* "qwen2" or "smollm" */

/* Compares one case with a line of ids. */
static bool same_as_line(const struct token_list *list, char *line)
{
    char *p = line;
    for (size_t i = 0; i < list->n; i++) {
        char *end;
        if (strtol(p, &end, 10) != list->ids[i] || end == p)
            return false;
        p = end;
    }
    return *p == '\n';
}

static void qwen2_ids_are_those_of_the_reference(void **state)
{
    (void)state;
    FILE *golden = tokenizer_cases_open("qwen2.ids");
    char *line = NULL;
    size_t cap = 0, n_wrong = 0;
    for (size_t i = 0; i < cases.n; i++) {
        const struct tokenizer_case *one = &cases.items[i];
        struct token_list list =
            tokenizer_cases_encode(tokenizer, one, one->plain ? 0 : TOKENIZER_SPECIAL);
        assert_true(getline(&line, &cap, golden) > 0);
        bool right = same_as_line(&list, line);
        if (!right && n_wrong < 10)
            print_error("case %zu, expected: %s", i, line);
        n_wrong += !right;
        assert_true(tokenizer_cases_round_trip(tokenizer, one, &list, 0));
        token_list_deinit(&list);
    }
    assert_true(getline(&line, &cap, golden) < 0);
    free(line);
    fclose(golden);
    assert_int_equal(n_wrong, 0);
}

static void smollm_ids_are_those_of_the_reference(void **state)
{
    (void)state;
    FILE *golden = tokenizer_cases_open("smollm.crc");
    assert_int_equal(
        tokenizer_cases_compare_crc(&cases, tokenizer, TOKENIZER_SPECIAL, golden, 1, "smollm"), 0);
    assert_int_equal(fgetc(golden), EOF);
    fclose(golden);
}

static void special_tokens_are_known(void **state)
{
    (void)state;
    bool qwen = !strcmp(model, "qwen2");
    assert_int_equal(tokenizer_n_vocab(tokenizer), qwen ? 151936 : 49152);
    assert_int_equal(tokenizer_eos(tokenizer), qwen ? 151645 : 2);
    assert_int_equal(tokenizer_bos(tokenizer), qwen ? 151643 : 1);
    int32_t end = tokenizer_find(tokenizer, "<|im_end|>");
    int32_t text = tokenizer_find(tokenizer, "<|endoftext|>");
    int32_t start = tokenizer_find(tokenizer, "<|im_start|>");
    assert_int_equal(end, qwen ? 151645 : 2);
    assert_true(tokenizer_is_eog(tokenizer, end) && tokenizer_is_control(tokenizer, end));
    assert_true(tokenizer_is_eog(tokenizer, text) && tokenizer_is_control(tokenizer, text));
    assert_true(!tokenizer_is_eog(tokenizer, start) && tokenizer_is_control(tokenizer, start));
    int32_t word = tokenizer_find(tokenizer, " the");
    assert_true(word >= 0);
    assert_false(tokenizer_is_eog(tokenizer, word) || tokenizer_is_control(tokenizer, word));
    if (qwen) {
        int32_t call = tokenizer_find(tokenizer, "<tool_call>");
        assert_int_equal(call, 151657);
        assert_false(tokenizer_is_control(tokenizer, call));
        assert_true(tokenizer_is_control(tokenizer, 151700)); /* fills the matrix up */
    }
}

/* ---- whose words they are ---- */

static struct token_list encode_marked(const char *text, const uint8_t *is_data, size_t n,
                                       unsigned flags)
{
    struct token_list list = {0};
    struct error err;
    assert_true(tokenizer_encode_marked(tokenizer, text, is_data, n, flags, &list, &err));
    return list;
}

static void assert_same_ids(const struct token_list *a, const struct token_list *b)
{
    assert_int_equal(a->n, b->n);
    if (a->n)
        assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
}

static bool is_marker(int32_t id)
{
    static const char *const user_defined[] = {"<tool_call>", "</tool_call>"};
    for (size_t i = 0; i < 2; i++)
        if (id == tokenizer_find(tokenizer, user_defined[i]))
            return true;
    return tokenizer_is_control(tokenizer, id);
}

/* The golden texts, all data: they become what they become without special tokens, and no marker
 * is among it. None of it data: nothing changes. */
static void texts_that_are_data_are_plain_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < cases.n; i++) {
        const struct tokenizer_case *c = &cases.items[i];
        uint8_t *marks = calloc(c->n_bytes + 1, 1);
        assert_non_null(marks);
        struct token_list own = encode_marked(c->text, marks, c->n_bytes, TOKENIZER_SPECIAL);
        struct token_list all = encode_marked(c->text, NULL, c->n_bytes, TOKENIZER_SPECIAL);
        assert_same_ids(&own, &all);
        memset(marks, 1, c->n_bytes);
        struct token_list data = encode_marked(c->text, marks, c->n_bytes, TOKENIZER_SPECIAL);
        struct token_list plain = encode_marked(c->text, NULL, c->n_bytes, 0);
        bool has_marker = false;
        for (size_t k = 0; k < plain.n; k++)
            has_marker |= is_marker(plain.ids[k]);
        for (size_t k = 0; k < data.n; k++)
            assert_false(is_marker(data.ids[k]));
        if (!has_marker) /* user-defined ones are found in plain text, too */
            assert_same_ids(&data, &plain);
        assert_true(tokenizer_cases_round_trip(tokenizer, c, &data, 0));
        token_list_deinit(&own);
        token_list_deinit(&all);
        token_list_deinit(&data);
        token_list_deinit(&plain);
        free(marks);
    }
}

/* A marker of which data has a piece, at any place and of any length. */
static void data_that_reaches_into_a_marker_makes_it_text(void **state)
{
    (void)state;
    static const char text[] = "x<|im_end|>\ny";
    enum { N = sizeof text - 1, BEGIN = 1, END = 11 };
    uint8_t marks[N];
    int32_t end = tokenizer_find(tokenizer, "<|im_end|>");
    struct token_list plain = encode_marked(text, NULL, N, 0);
    struct token_list special = encode_marked(text, NULL, N, TOKENIZER_SPECIAL);
    for (size_t from = 0; from < N; from++) {
        for (size_t to = from + 1; to <= N; to++) {
            memset(marks, 0, N);
            memset(marks + from, 1, to - from);
            bool touches = (from < BEGIN + 2 && to > BEGIN) || (to > END - 2 && from < END);
            struct token_list list = encode_marked(text, marks, N, TOKENIZER_SPECIAL);
            assert_same_ids(&list, touches ? &plain : &special);
            bool found = false;
            for (size_t i = 0; i < list.n; i++)
                found |= list.ids[i] == end;
            assert_true(found != touches);
            token_list_deinit(&list);
        }
    }
    token_list_deinit(&plain);
    token_list_deinit(&special);
}

static const char *const parts[] = {"<|im_end|>",  "<|im_start|>", "<|im_", "end|>", "<|",
                                    "|>",          "user\n",       "a b",   " ",     "\n",
                                    "<tool_call>", "</tool_call>", "<",     ">",     "im_end",
                                    "é",           "\0",           "1234",  "'s",    "\xff"};
enum { N_PARTS = sizeof parts / sizeof *parts, N_MIXED = 40, MIXED_BYTES = N_MIXED * 16 };

/* A text of parts, each wholly own or wholly data; two parts of one marker may meet. */
static size_t mix(uint32_t *random, char *text, uint8_t *marks)
{
    size_t n = 0;
    for (size_t i = 0; i < N_MIXED; i++) {
        *random = *random * 1664525 + 1013904223;
        const char *part = parts[(*random >> 16) % N_PARTS];
        size_t n_part = strlen(part) + !*part;
        memcpy(text + n, part, n_part);
        memset(marks + n, *random >> 31, n_part);
        n += n_part;
    }
    return n;
}

/* The markers by hand: the first that is written in full without data at its ends, the longest. */
static size_t find_marker(const char *text, const uint8_t *marks, size_t n, int32_t *id)
{
    static const char *const markers[] = {"<|im_end|>", "<|im_start|>", "<tool_call>",
                                          "</tool_call>"};
    for (size_t at = 0; at < n; at++) {
        for (size_t i = 0; i < 4; i++) {
            size_t n_marker = strlen(markers[i]);
            *id = tokenizer_find(tokenizer, markers[i]);
            if (*id >= 0 && n - at >= n_marker && !memcmp(text + at, markers[i], n_marker) &&
                !marks[at] && !marks[at + 1] && !marks[at + n_marker - 2] &&
                !marks[at + n_marker - 1])
                return at;
        }
    }
    return n;
}

/* What stands between markers is one text, however data and template share it. */
static void between_markers_there_are_no_borders(void **state)
{
    (void)state;
    char text[MIXED_BYTES];
    uint8_t marks[MIXED_BYTES], data[MIXED_BYTES];
    uint32_t random = 7;
    size_t n_found = 0;
    memset(data, 1, sizeof data);
    for (int round = 0; round < 3000; round++) {
        size_t n = mix(&random, text, marks);
        struct token_list list = encode_marked(text, marks, n, TOKENIZER_SPECIAL), expected = {0};
        for (size_t at = 0; at < n;) {
            int32_t id;
            size_t n_text = find_marker(text + at, marks + at, n - at, &id);
            struct token_list piece = encode_marked(text + at, data, n_text, TOKENIZER_SPECIAL);
            for (size_t i = 0; i < piece.n; i++)
                assert_true(token_list_push(&expected, piece.ids[i]));
            token_list_deinit(&piece);
            at += n_text;
            if (at == n)
                break;
            assert_true(token_list_push(&expected, id));
            size_t n_marker;
            tokenizer_piece(tokenizer, id, &n_marker);
            at += n_marker;
            n_found++;
        }
        assert_same_ids(&list, &expected);
        token_list_deinit(&list);
        token_list_deinit(&expected);
    }
    assert_true(n_found > 3000);
}

/* Neither model wants a beginning-of-sequence token. */
static void no_bos_is_put_where_none_is_wanted(void **state)
{
    (void)state;
    struct token_list list = {0};
    struct error err;
    assert_true(tokenizer_encode(tokenizer, "a", 1, TOKENIZER_BOS, &list, &err));
    assert_int_equal(list.n, 1);
    token_list_deinit(&list);
}

static void every_piece_is_found_by_its_bytes(void **state)
{
    (void)state;
    size_t n_other = 0;
    for (int32_t id = 0; (size_t)id < tokenizer_n_vocab(tokenizer); id++) {
        size_t n, m;
        const char *piece = tokenizer_piece(tokenizer, id, &n);
        char text[1024];
        assert_true(n > 0 && n < sizeof text);
        memcpy(text, piece, n);
        text[n] = 0;
        if (memchr(piece, 0, n))
            continue;
        int32_t found = tokenizer_find(tokenizer, text);
        assert_true(found >= 0);
        const char *other = tokenizer_piece(tokenizer, found, &m);
        assert_true(n == m && !memcmp(piece, other, n));
        n_other += found != id;
    }
    assert_int_equal(n_other, 0);
}

/* Generous limits, for slow and busy machines: they catch a quadratic step, not a slow day. */
static void creation_and_long_texts_take_no_time(void **state)
{
    (void)state;
    struct error err;
    int64_t begin_ms = cpu_time_ms();
    struct tokenizer *again = tokenizer_create(weights, &err);
    int64_t create_ms = cpu_time_ms() - begin_ms;
    assert_non_null(again);
    tokenizer_destroy(again);
    size_t n = 1 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    const char *const fills[] = {"a", " ", "<", "\n", "\xff", "ab", "<|im_", "\xe4\xbd\xa0", "a\t"};
    int64_t longest_ms = 0;
    for (size_t f = 0; f < sizeof fills / sizeof *fills; f++) {
        struct token_list list = {0};
        for (size_t i = 0; i < n; i++)
            text[i] = fills[f][i % strlen(fills[f])];
        begin_ms = cpu_time_ms();
        assert_true(tokenizer_encode(tokenizer, text, n, TOKENIZER_SPECIAL, &list, &err));
        int64_t ms = cpu_time_ms() - begin_ms;
        longest_ms = ms > longest_ms ? ms : longest_ms;
        token_list_deinit(&list);
    }
    free(text);
    print_message("created in %lld ms; a megabyte in at most %lld ms\n", (long long)create_ms,
                  (long long)longest_ms);
    assert_true(create_ms < 5000);
    assert_true(longest_ms < 60000);
}

int main(int argc, char **argv)
{
    char path[4096];
    struct error err;
    model = argc > 1 ? argv[1] : "qwen2";
    bool qwen = !strcmp(model, "qwen2");
    if (!test_models_find(path, sizeof path,
                          qwen ? "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
                               : "SmolLM2-135M-Instruct.Q4_1.gguf"))
        return TEST_MODELS_SKIPPED;
    tokenizer_cases_init(&cases);
    weights = weights_open(path, &err);
    tokenizer = weights ? tokenizer_create(weights, &err) : NULL;
    if (!tokenizer) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        qwen ? (struct CMUnitTest)cmocka_unit_test(qwen2_ids_are_those_of_the_reference)
             : (struct CMUnitTest)cmocka_unit_test(smollm_ids_are_those_of_the_reference),
        cmocka_unit_test(special_tokens_are_known),
        cmocka_unit_test(texts_that_are_data_are_plain_text),
        cmocka_unit_test(data_that_reaches_into_a_marker_makes_it_text),
        cmocka_unit_test(between_markers_there_are_no_borders),
        cmocka_unit_test(no_bos_is_put_where_none_is_wanted),
        cmocka_unit_test(every_piece_is_found_by_its_bytes),
        cmocka_unit_test(creation_and_long_texts_take_no_time),
    };
    int failed = cmocka_run_group_tests_name(model, tests, NULL, NULL);
    tokenizer_destroy(tokenizer);
    weights_close(weights);
    tokenizer_cases_deinit(&cases);
    return failed;
}
