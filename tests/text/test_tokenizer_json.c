/* tokenizer.json in many variants against Hugging Face's tokenizers: the same ids for texts of many
 * kinds and the same text back (scripts/golden/tokenizer_json.py writes the file). And by hand:
 * flags of added tokens beside data, what begins and ends a text, what is refused. */
#include "test_tokenizer_folder.h"

#include "support/cpu_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the variants ---- */

static json_t *golden, *golden_models;
static struct tokenizer_cases cases;

/* "left right" instead of ["left", "right"]. */
static json_t *merges_as_strings(json_t *merges)
{
    json_t *strings = json_array(), *pair;
    size_t i;
    json_array_foreach(merges, i, pair)
    {
        char text[512];
        snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(pair, 0)),
                 json_string_value(json_array_get(pair, 1)));
        json_array_append_new(strings, json_string(text));
    }
    return strings;
}

/* The tokenizer.json of a variant; free() it. */
static char *variant_text(json_t *variant)
{
    static const char *const members[] = {"added_tokens", "normalizer", "pre_tokenizer",
                                          "post_processor", "decoder"};
    json_t *root = json_object();
    json_t *model = json_copy(json_object_get(
        json_object_get(golden, "models"), json_string_value(json_object_get(variant, "model"))));
    json_object_update(model, json_object_get(variant, "change"));
    if (json_is_true(json_object_get(variant, "strings")))
        json_object_set_new(model, "merges", merges_as_strings(json_object_get(model, "merges")));
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_object_get(variant, members[i]))
            json_object_set(root, members[i], json_object_get(variant, members[i]));
    json_object_set_new(root, "model", model);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    assert_non_null(text);
    return text;
}

/* The CRC of the bytes that ids stand for. A decoder that strips the first space is right where a
 * text begins, which a token alone does not know. */
static uint32_t text_crc(const struct tokenizer *t, const struct token_list *list, bool strips)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < list->n; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, list->ids[i], &n);
        for (size_t k = 0; k < n; k++) {
            if (strips && !i && !k && piece[0] == ' ')
                continue;
            crc ^= (unsigned char)piece[k];
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

static bool crc_is(const char *crcs, size_t i, uint32_t crc)
{
    assert_true(9 * i < strlen(crcs));
    return crcs[9 * i] == 'x' || strtoul(crcs + 9 * i, NULL, 16) == crc;
}

static size_t count_wrong(const struct tokenizer *t, json_t *variant, size_t step, unsigned flags)
{
    const char *name = json_string_value(json_object_get(variant, "name"));
    const char *ids = json_string_value(json_object_get(variant, "ids"));
    const char *text = json_string_value(json_object_get(variant, "text"));
    const char *decoder =
        json_string_value(json_object_get(json_object_get(variant, "decoder"), "type"));
    bool strips = json_is_true(json_object_get(variant, "strips")) ||
                  (decoder && strcmp(decoder, "ByteLevel") != 0);
    size_t n_wrong = 0;
    for (size_t i = 0; i * step < cases.n; i++) {
        const struct tokenizer_case *one = &cases.items[i * step];
        struct token_list list = tokenizer_cases_encode(t, one, flags);
        bool right = crc_is(ids, i, tokenizer_cases_crc(&list));
        bool back = !text || crc_is(text, i, text_crc(t, &list, strips));
        if ((!right || !back) && n_wrong++ < 4) {
            print_error("%s: %s of \"%.*s\":", name, right ? "text" : "ids", (int)one->n_bytes,
                        one->text);
            for (size_t k = 0; k < list.n; k++)
                print_error(" %d", list.ids[k]);
            print_error("\n");
        }
        token_list_deinit(&list);
    }
    return n_wrong;
}

static struct tokenizer_folder make_variant(json_t *variant, char **text)
{
    *text = variant_text(variant);
    struct tokenizer_folder f = tokenizer_folder_make(*text, NULL, NULL);
    if (!f.t)
        fail_msg("%s: %s", json_string_value(json_object_get(variant, "name")), f.err.message);
    return f;
}

static void every_variant_is_as_the_reference(void **state)
{
    (void)state;
    json_t *variants = json_object_get(golden, "variants"), *variant;
    size_t step = (size_t)json_integer_value(json_object_get(golden, "step")), i, n_wrong = 0;
    assert_true(step > 0 && json_array_size(variants) >= 50);
    json_array_foreach(variants, i, variant)
    {
        char *text;
        struct tokenizer_folder f = make_variant(variant, &text);
        n_wrong += count_wrong(f.t, variant, step, TOKENIZER_SPECIAL);
        tokenizer_folder_unmake(&f);
        free(text);
    }
    assert_int_equal(n_wrong, 0);
}

/* ---- tokenizer.model ---- */

/* The bytes of a text in base64; free() them. */
static char *base64_bytes(const char *text, size_t *n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *bytes = malloc(strlen(text) + 1);
    uint32_t bits = 0;
    assert_non_null(bytes);
    *n = 0;
    for (size_t i = 0; text[i] && text[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(alphabet, text[i]) - alphabet);
        if (i % 4)
            bytes[(*n)++] = (char)(bits >> (6 - i % 4 * 2));
    }
    return bytes;
}

static struct tokenizer_folder make_model(json_t *variant, char **bytes)
{
    size_t n;
    *bytes = base64_bytes(json_string_value(json_object_get(variant, "model")), &n);
    struct weights_file files[] = {{"config.json", "{}", 2}, {"tokenizer.model", *bytes, n}};
    struct tokenizer_folder f = tokenizer_folder_open(files, 2);
    if (!f.t)
        fail_msg("%s: %s", json_string_value(json_object_get(variant, "name")), f.err.message);
    return f;
}

static void every_model_is_as_sentencepiece(void **state)
{
    (void)state;
    json_t *variants = json_object_get(golden_models, "variants"), *variant;
    size_t step = (size_t)json_integer_value(json_object_get(golden_models, "step")), i;
    size_t n_wrong = 0;
    assert_true(step > 0 && json_array_size(variants) == 5);
    json_array_foreach(variants, i, variant)
    {
        char *bytes;
        struct tokenizer_folder f = make_model(variant, &bytes);
        assert_true(tokenizer_bos(f.t) == 1 && tokenizer_eos(f.t) == 2);
        assert_true(tokenizer_is_eog(f.t, 2) && tokenizer_is_control(f.t, 1));
        n_wrong += count_wrong(f.t, variant, step, 0);
        tokenizer_folder_unmake(&f);
        free(bytes);
    }
    assert_int_equal(n_wrong, 0);
}

/* All variants of both files, one after the other. */
static void for_each_variant(void (*take)(const struct tokenizer *t, const char *name))
{
    json_t *variant, *lists[] = {json_object_get(golden, "variants"),
                                 json_object_get(golden_models, "variants")};
    for (size_t list = 0; list < 2; list++) {
        size_t i;
        json_array_foreach(lists[list], i, variant)
        {
            char *text;
            struct tokenizer_folder f =
                list ? make_model(variant, &text) : make_variant(variant, &text);
            take(f.t, json_string_value(json_object_get(variant, "name")));
            tokenizer_folder_unmake(&f);
            free(text);
        }
    }
}

/* ---- by hand ---- */

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,"  \
    "\"ab\":3,\"\\u2581\":4,\"<s>\":5,\"</s>\":6},\"merges\":[\"a b\"]}"
#define ADDED(more)                                                                                \
    "\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":5,\"content\":"   \
    "\"<s>\",\"special\":true},{\"id\":6,\"content\":\"</s>\",\"special\":true}" more "]"
#define TOKEN(id, content, special, flag)                                                          \
    ",{\"id\":" #id ",\"content\":\"" content "\",\"special\":" special ",\"" flag "\":true}"

static void assert_ids(const struct tokenizer *t, const char *text, const char *marks,
                       const int32_t *ids, size_t n)
{
    struct token_list list = {0};
    struct error err;
    uint8_t is_data[64];
    size_t n_bytes = strlen(text);
    assert_true(n_bytes <= sizeof is_data && (!marks || strlen(marks) == n_bytes));
    for (size_t i = 0; i < n_bytes; i++)
        is_data[i] = marks && marks[i] == 'd';
    assert_true(tokenizer_encode_marked(t, text, is_data, n_bytes, TOKENIZER_SPECIAL, &list, &err));
    assert_int_equal(list.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list.ids[i], ids[i]);
    token_list_deinit(&list);
}

#define ASSERT_IDS(t, text, marks, ...)                                                            \
    assert_ids((t), (text), (marks), (const int32_t[]){__VA_ARGS__},                               \
               sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* Pieces "a", "b", "ab"; a file cut at each byte is refused, or has fewer pieces. */
static void a_cut_model_is_refused_and_added_tokens_are_read(void **state)
{
    (void)state;
    static const char model[] = "\x0a\x09\x0a\x05<unk>\x18\x02"
                                "\x0a\x05\x0a\x01"
                                "a\x18\x01"
                                "\x0a\x05\x0a\x01"
                                "b\x18\x01"
                                "\x0a\x0b\x0a\x02"
                                "ab\x15\x00\x00\x80\x3f\x18\x01"
                                "\x12\x02\x18\x02"
                                "\x1a\x04\x18\x00\x20\x00";
    static const char config[] = "{\"added_tokens_decoder\":{\"4\":{\"content\":\"<|x|>\","
                                 "\"special\":true,\"rstrip\":true}},\"eos_token\":\"<|x|>\"}";
    const size_t n = sizeof model - 1;
    for (size_t i = 0; i <= n; i++) {
        char *copy = malloc(i + 1); /* of the exact size, so that a sanitizer sees a byte more */
        assert_non_null(copy);
        memcpy(copy, model, i);
        struct weights_file files[] = {{"config.json", "{}", 2},
                                       {"tokenizer.model", copy, i},
                                       {"tokenizer_config.json", config, sizeof config - 1}};
        struct tokenizer_folder f = tokenizer_folder_open(files, 3);
        if (!f.t && (f.err.code == ERROR_NONE || !strstr(f.err.message, "tokenizer.model")))
            fail_msg("cut at %zu: \"%s\"", i, f.err.message);
        if (i == n) {
            assert_non_null(f.t);
            ASSERT_IDS(f.t, "ab<|x|> b", NULL, 3, 4, 2);
            ASSERT_IDS(f.t, "a<|x|>", ".ddddd", 1, 0);
            assert_int_equal(tokenizer_eos(f.t), 4);
            assert_int_equal(tokenizer_n_vocab(f.t), 5);
        }
        tokenizer_folder_unmake(&f);
        free(copy);
    }
}

static void data_is_no_marker_before_and_after_normalizing(void **state)
{
    (void)state;
    struct tokenizer_folder f = tokenizer_folder_make(
        "{" MODEL "," ADDED(TOKEN(7, "<|u|>", "true", "rstrip") TOKEN(
            8, "<|N|>", "true", "normalized")) ","
                                               "\"normalizer\":{\"type\":\"Lowercase\"}}",
        NULL, NULL);
    if (!f.t)
        fail_msg("%s", f.err.message);
    ASSERT_IDS(f.t, "a<|u|> b", NULL, 1, 7, 2);
    ASSERT_IDS(f.t, "<|n|>b", "......", 8, 2); /* its text is normalized, too */
    ASSERT_IDS(f.t, "<|N|>b", "......", 8, 2);
    ASSERT_IDS(f.t, "<|N|>b", "d.....", 0, 0, 0, 0, 0, 2);
    ASSERT_IDS(f.t, "<|n|>b", "ddddd.", 0, 0, 0, 0, 0, 2);
    ASSERT_IDS(f.t, "<|u|>b", "ddddd.", 0, 0, 0, 0, 0, 2);
    ASSERT_IDS(f.t, "B<|N|>ab", "d.....dd", 2, 8, 3);
    assert_true(tokenizer_is_control(f.t, 7) && tokenizer_is_control(f.t, 8));
    tokenizer_folder_unmake(&f);
}

static void what_begins_and_ends_is_read_from_beside_it(void **state)
{
    (void)state;
    static const char json[] = "{" MODEL "," ADDED(TOKEN(7, "<|x|>", "true", "rstrip") TOKEN(
        9, "<t>", "false", "rstrip")) ",\"post_processor\":{\"type\":\"TemplateProcessing\","
                                      "\"single\":[{\"SpecialToken\":{"
                                      "\"id\":\"<s>\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":"
                                      "{\"id\":\"<s>\",\"ids\":[5],"
                                      "\"tokens\":[\"<s>\"]}}}}";
    struct tokenizer_folder f =
        tokenizer_folder_make(json, "{\"eos_token\":{\"content\":\"</s>\"},\"bos_token\":\"<s>\"}",
                              "{\"eos_token_id\":[7,99]}");
    if (!f.t)
        fail_msg("%s", f.err.message);
    struct token_list list = {0};
    assert_true(tokenizer_encode(f.t, "ab", 2, TOKENIZER_BOS, &list, &f.err));
    assert_true(list.n == 2 && list.ids[0] == 5 && list.ids[1] == 3);
    token_list_deinit(&list);
    assert_int_equal(tokenizer_n_vocab(f.t), 10);
    assert_int_equal(tokenizer_eos(f.t), 6);
    assert_int_equal(tokenizer_bos(f.t), 5);
    assert_true(tokenizer_is_eog(f.t, 6) && tokenizer_is_eog(f.t, 7) && !tokenizer_is_eog(f.t, 5));
    assert_true(tokenizer_is_control(f.t, 8)); /* an id without a token */
    assert_false(tokenizer_is_control(f.t, 9));
    assert_int_equal(tokenizer_find(f.t, "<t>"), 9);
    tokenizer_folder_unmake(&f);
    f = tokenizer_folder_make(json, "{\"add_bos_token\":false}", "{\"eos_token_id\":6}");
    assert_non_null(f.t);
    assert_true(tokenizer_encode(f.t, "ab", 2, TOKENIZER_BOS, &list, &f.err));
    assert_true(list.n == 1 && list.ids[0] == 3);
    assert_int_equal(tokenizer_eos(f.t), 6);
    token_list_deinit(&list);
    tokenizer_folder_unmake(&f);
}

static void what_is_not_known_or_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
        enum error_code code;
    } wrong[] = {
        {"{", "tokenizer.json", ERROR_FORMAT},
        {"[]", "no model", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "WordPiece", ERROR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1}}", "dropout", ERROR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"}}", "</w>",
         ERROR_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[]}}", "model.vocab", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "0 tokens", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}", "\"a\"", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000000}}}", "4000000000", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1}}}", "id 1", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1}}}", "model.merges", ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[\"a b c\"]}}", "item 0",
         ERROR_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1},\"merges\":[[\"a\"]]}}", "item 0",
         ERROR_FORMAT},
        {"{" MODEL ",\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]}", "id 1", ERROR_FORMAT},
        {"{" MODEL ",\"added_tokens\":[{\"id\":1}]}", "item 0", ERROR_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Nmt\"}}", "\"Nmt\"", ERROR_UNSUPPORTED},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Sequence\"}}", "normalizers", ERROR_FORMAT},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", "UnicodeScripts",
         ERROR_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}}}",
         "\"(\"", ERROR_FORMAT},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}}",
         "a class inside a class", ERROR_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{1,3}+\"}}}",
         "quantifier", ERROR_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},"
         "\"behavior\":\"?\"}}",
         "behavior", ERROR_FORMAT},
        {"{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", "\"CTC\"", ERROR_UNSUPPORTED},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\"}}", "BertProcessing",
         ERROR_UNSUPPORTED},
        {NULL, "no tokenizer.json", ERROR_NOT_FOUND},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "item 0", ERROR_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A?\"}}",
         "base64", ERROR_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}}",
         "replacements", ERROR_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\","
         "\"precompiled_charsmap\":\"BAAAAAAAAACAAA==\"}}",
         "not UTF-8", ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tokenizer_folder f = tokenizer_folder_make(wrong[i].json, NULL, NULL);
        if (f.t || f.err.code != wrong[i].code || !strstr(f.err.message, wrong[i].says))
            fail_msg("%s: %s \"%s\"", wrong[i].json ? wrong[i].json : "nothing",
                     error_code_name(f.err.code), f.err.message);
        tokenizer_folder_unmake(&f);
    }
}

/* ---- time ---- */

enum {
    MOST_BYTES = 1 << 20,
    SHORT_MS = 200, /* what takes less than this on any machine is not quadratic */
    MOST_RATIO = 3, /* of twice the text: 2 is linear, 4 quadratic */
    MOST_TRIES = 3, /* a machine may be busy */
};

static int64_t encode_ms(const struct tokenizer *t, const char *text, size_t n)
{
    struct token_list list = {0};
    struct error err;
    int64_t begin = cpu_time_ms();
    assert_true(tokenizer_encode(t, text, n, TOKENIZER_SPECIAL, &list, &err));
    int64_t ms = cpu_time_ms() - begin;
    token_list_deinit(&list);
    return ms;
}

/* n bytes of `fill` again and again: twice as much as half of it takes at most thrice the time. */
static void assert_linear(const struct tokenizer *t, const char *name, const char *fill, size_t n)
{
    static char text[MOST_BYTES];
    for (size_t i = 0, n_fill = strlen(fill); i < n; i++)
        text[i] = fill[i % n_fill];
    for (int i = 0; i < MOST_TRIES; i++) {
        int64_t whole = encode_ms(t, text, n);
        if (whole < SHORT_MS || whole <= MOST_RATIO * encode_ms(t, text, n / 2))
            return;
    }
    fail_msg("%s: the time for %zu bytes of \"%s\" grows faster than the text", name, n, fill);
}

/* Each variant a while, some a million bytes long. */
static void time_variant(const struct tokenizer *t, const char *name)
{
    static const char *const fills[] = {"a",
                                        " ",
                                        "\n",
                                        "ab ",
                                        "The quick brown fox, isn't it? 1234\n",
                                        "'",
                                        "9",
                                        "\t ",
                                        "<|im_",
                                        "\xcc\x81\xcc\xa3", /* marks out of order */
                                        "\xff",
                                        "\xe4\xbd\xa0",
                                        "\xe2\x96\x81",
                                        "\xf0\x9f\x98\x80",
                                        "e\xcc\x81"};
    static const char *const whole[] = {"qwen2", "o200k", "deepseek", "llama2",
                                        "gemma", "llama", "t5",       "unigram of the whole text"};
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++)
        assert_linear(t, name, fills[i], 1 << 16);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        for (size_t k = 0; k < 2 && !strcmp(name, whole[i]); k++)
            assert_linear(t, name, fills[k], MOST_BYTES);
}

static void time_grows_with_the_text(void **state)
{
    (void)state;
    for_each_variant(time_variant);
}

static json_t *load_golden(const char *name)
{
    json_error_t error;
    FILE *file = tokenizer_cases_open(name);
    json_t *root = json_loadf(file, 0, &error);
    fclose(file);
    if (!root) {
        fprintf(stderr, "%s: %s\n", name, error.text);
        abort();
    }
    return root;
}

/* With the argument "time", how long it takes instead. */
int main(int argc, char **argv)
{
    golden = load_golden("json.json");
    golden_models = load_golden("sentencepiece.json");
    tokenizer_cases_init(&cases);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_is_as_the_reference),
        cmocka_unit_test(every_model_is_as_sentencepiece),
        cmocka_unit_test(a_cut_model_is_refused_and_added_tokens_are_read),
        cmocka_unit_test(data_is_no_marker_before_and_after_normalizing),
        cmocka_unit_test(what_begins_and_ends_is_read_from_beside_it),
        cmocka_unit_test(what_is_not_known_or_wrong_is_named),
    };
    const struct CMUnitTest timed[] = {cmocka_unit_test(time_grows_with_the_text)};
    int failed = argc > 1 && !strcmp(argv[1], "time") ? cmocka_run_group_tests(timed, NULL, NULL)
                                                      : cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_cases_deinit(&cases);
    json_decref(golden);
    json_decref(golden_models);
    return failed;
}
