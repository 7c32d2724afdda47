/* Tokenizers over vocabularies small enough to check by hand, and over two small trained ones
 * against the references. What is promised: the right ids, every byte back, no text that hangs or
 * crashes. */
#include "test_tokenizer_cases.h"

#include "support/cpu_time.h"
#include "support/gguf_builder.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };

/* A tokenizer and the file that it was made from. */
struct made {
    void *data;
    struct weights *w;
    struct tokenizer *t;
    struct error err;
};

static struct made make(struct gguf_builder *g)
{
    struct made m = {.err = {0}};
    size_t n;
    m.data = gguf_builder_finish(g, &n);
    m.w = weights_open_bytes(m.data, n, &m.err);
    if (!m.w)
        fail_msg("%s", m.err.message);
    m.t = tokenizer_create(m.w, &m.err);
    return m;
}

static void unmake(struct made *m)
{
    tokenizer_destroy(m->t);
    weights_close(m->w);
    free(m->data);
}

/* The bytes in GPT-2's alphabet, said as Python's bytes_to_unicode does: printable ones as they
 * are, the others numbered on from 256. */
static void byte_name(unsigned byte, char out[4])
{
    unsigned shown = byte, next = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte && !printable)
            shown = next;
        next += !printable;
    }
    if (shown < 0x80)
        snprintf(out, 4, "%c", (int)shown);
    else
        snprintf(out, 4, "%c%c", (int)(0xc0 | shown >> 6), (int)(0x80 | (shown & 0x3f)));
}

/* 256 bytes but the one left out, then `more` with their types; merges. */
static struct made make_bpe(const char *pre, const char *const *more, const int32_t *types,
                            size_t n_more, const char *const *merges, size_t n_merges, int missing)
{
    static char names[256][4];
    const char *tokens[320];
    int32_t all_types[320];
    size_t n = 0;
    for (unsigned b = 0; b < 256; b++) {
        byte_name(b, names[b]);
        tokens[n] = (int)b == missing ? "<gone>" : names[b];
        all_types[n++] = NORMAL;
    }
    for (size_t i = 0; i < n_more; i++) {
        tokens[n] = more[i];
        all_types[n++] = types[i];
    }
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "tokenizer.ggml.model", "gpt2");
    if (pre)
        gguf_builder_string(&g, "tokenizer.ggml.pre", pre);
    gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, n);
    gguf_builder_i32s(&g, "tokenizer.ggml.token_type", all_types, n);
    gguf_builder_strings(&g, "tokenizer.ggml.merges", merges, n_merges);
    return make(&g);
}

/* Tokens 256…: he, ll, hell, hello, Ġhello, ab, bc, then the special ones. */
static const char *const small_tokens[] = {"he",    "ll",  "hell",    "hello",    "\xc4\xa0hello",
                                           "ab",    "bc",  "<|end|>", "<|end|>>", "<tool>",
                                           "[PAD]", "</s>"};
static const int32_t small_types[] = {NORMAL, NORMAL,  NORMAL,  NORMAL, NORMAL, NORMAL,
                                      NORMAL, CONTROL, CONTROL, USER,   UNUSED, NORMAL};
static const char *const small_merges[] = {"h e", "l l", "he ll",       "hell o", "\xc4\xa0 hello",
                                           "b c", "a b", "missing half"};
enum { HE = 256, LL, HELL, HELLO, _HELLO, AB, BC, END, ENDD, TOOL, PAD, S };

static struct made make_small(int missing)
{
    return make_bpe("qwen2", small_tokens, small_types, 12, small_merges, 8, missing);
}

static void assert_ids(const struct tokenizer *t, const char *text, size_t n_bytes, unsigned flags,
                       const int32_t *ids, size_t n)
{
    struct tokenizer_case c = {text, n_bytes, false};
    struct token_list list = tokenizer_cases_encode(t, &c, flags);
    assert_int_equal(list.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list.ids[i], ids[i]);
    token_list_deinit(&list);
}

#define ASSERT_IDS(t, text, flags, ...)                                                            \
    assert_ids((t), (text), sizeof(text) - 1, (flags), (const int32_t[]){__VA_ARGS__},             \
               sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void bpe_merges_in_the_order_of_ranks(void **state)
{
    (void)state;
    struct made m = make_small(-1);
    ASSERT_IDS(m.t, "hello", 0, HELLO);
    ASSERT_IDS(m.t, "hello hello", 0, HELLO, _HELLO);
    ASSERT_IDS(m.t, "hell", 0, HELL);
    ASSERT_IDS(m.t, "help", 0, HE, 'l', 'p');
    ASSERT_IDS(m.t, "abc", 0, 'a', BC); /* "b c" comes before "a b" */
    ASSERT_IDS(m.t, "abab", 0, AB, AB);
    ASSERT_IDS(m.t, "lll", 0, LL, 'l'); /* of equal ranks the leftmost */
    ASSERT_IDS(m.t, "\n", 0, '\n');
    ASSERT_IDS(m.t, "\0", 0, 0);
    assert_ids(m.t, "", 0, 0, NULL, 0);
    unmake(&m);
}

static void long_pieces_merge_as_short_ones(void **state)
{
    (void)state;
    struct made m = make_small(-1);
    /* One piece of 200 letters: the same as its parts, which meet at letters that never merge. */
    char text[201] = "";
    int32_t ids[200];
    size_t n = 0;
    for (int i = 0; i < 20; i++) {
        strcat(text, "zhellozabc");
        memcpy(&ids[n], (int32_t[]){'z', HELLO, 'z', 'a', BC}, 5 * sizeof *ids);
        n += 5;
    }
    assert_ids(m.t, text, 200, 0, ids, n);
    unmake(&m);
}

static void special_tokens_are_taken_whole(void **state)
{
    (void)state;
    struct made m = make_small(-1);
    ASSERT_IDS(m.t, "a<|end|>b", TOKENIZER_SPECIAL, 'a', END, 'b');
    ASSERT_IDS(m.t, "<|end|>>", TOKENIZER_SPECIAL, ENDD); /* the longest */
    ASSERT_IDS(m.t, "<|end|><|end|>>", TOKENIZER_SPECIAL, END, ENDD);
    ASSERT_IDS(m.t, "<|end|", TOKENIZER_SPECIAL, '<', '|', 'e', 'n', 'd', '|');
    ASSERT_IDS(m.t, "<|end|>", 0, '<', '|', 'e', 'n', 'd', '|', '>');
    ASSERT_IDS(m.t, "<tool>", 0, TOOL); /* user-defined ones always */
    ASSERT_IDS(m.t, "<<tool>", TOKENIZER_SPECIAL, '<', TOOL);
    ASSERT_IDS(m.t, "[PAD]", TOKENIZER_SPECIAL, '[', 'P', 'A', 'D', ']');
    ASSERT_IDS(m.t, "</s>", TOKENIZER_SPECIAL, '<', '/', 's', '>');
    unmake(&m);
}

/* Encodes text whose bytes are data where `marks` has a 'd'. */
static void assert_marked(const struct tokenizer *t, const char *text, const char *marks,
                          const int32_t *ids, size_t n)
{
    struct token_list list = {0};
    struct error err;
    uint8_t is_data[64];
    size_t n_bytes = strlen(text);
    assert_true(n_bytes == strlen(marks) && n_bytes <= sizeof is_data);
    for (size_t i = 0; i < n_bytes; i++)
        is_data[i] = marks[i] == 'd';
    assert_true(tokenizer_encode_marked(t, text, is_data, n_bytes, TOKENIZER_SPECIAL, &list, &err));
    assert_int_equal(list.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list.ids[i], ids[i]);
    token_list_deinit(&list);
}

#define ASSERT_MARKED(t, text, marks, ...)                                                         \
    assert_marked((t), (text), (marks), (const int32_t[]){__VA_ARGS__},                            \
                  sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void data_never_becomes_a_marker(void **state)
{
    (void)state;
    static const char *const more[] = {"<|end|>", "<|end|>>", "<tool>", "\t\t", "<table>",
                                       "[X]",     "[ ]",      "de",     "ex"};
    static const int32_t types[] = {CONTROL, CONTROL, USER, USER, USER, USER, USER, NORMAL, NORMAL};
    static const char *const merges[] = {"d e", "e x"};
    enum { E = 256, EE, CALL, TABS, TABLE, X, BOX, DE, EX };
    struct made m = make_bpe("qwen2", more, types, 9, merges, 2, -1);
    ASSERT_MARKED(m.t, "<|end|>", ".......", E);
    ASSERT_MARKED(m.t, "<|end|>", "ddddddd", '<', '|', 'e', 'n', 'd', '|', '>');
    ASSERT_MARKED(m.t, "<|end|>", "d......", '<', '|', 'e', 'n', 'd', '|', '>');
    ASSERT_MARKED(m.t, "<|end|>", "......d", '<', '|', 'e', 'n', 'd', '|', '>');
    ASSERT_MARKED(m.t, "<|end|>", ".ddddd.", '<', '|', 'e', 'n', 'd', '|', '>');
    ASSERT_MARKED(m.t, "<|end|>", "..ddd..", E);        /* a template composes it */
    ASSERT_MARKED(m.t, "<|end|>>", ".......d", E, '>'); /* the longest that counts */
    ASSERT_MARKED(m.t, "<|end|><|end|>>", "d..............", '<', '|', 'e', 'n', 'd', '|', '>', EE);
    ASSERT_MARKED(m.t, "<tool>", "dddddd", '<', 't', 'o', 'o', 'l', '>');
    ASSERT_MARKED(m.t, "<tool>", "......", CALL);
    ASSERT_MARKED(m.t, "[X]", "...", X);
    ASSERT_MARKED(m.t, "[X]", ".d.", '[', 'X', ']');
    ASSERT_MARKED(m.t, "\t\t<table>[ ]", "dddddddddddd", TABS, TABLE, BOX); /* ordinary text */
    /* No boundary where data begins: "de" and "ex" are cut as in any text. */
    ASSERT_MARKED(m.t, "adex", ".d.d", 'a', DE, 'x');
    ASSERT_MARKED(m.t, "<|end|>dex", "dddddddd..", '<', '|', 'e', 'n', 'd', '|', '>', DE, 'x');
    unmake(&m);
}

static void tokens_know_what_they_are(void **state)
{
    (void)state;
    struct made m = make_small(-1);
    size_t n;
    assert_int_equal(tokenizer_n_vocab(m.t), 268);
    assert_memory_equal(tokenizer_piece(m.t, _HELLO, &n), " hello", 6);
    assert_int_equal(n, 6);
    assert_memory_equal(tokenizer_piece(m.t, END, &n), "<|end|>", 7);
    assert_int_equal(n, 7);
    assert_string_equal(tokenizer_piece(m.t, 268, &n), "");
    assert_int_equal(n, 0);
    assert_string_equal(tokenizer_piece(m.t, -1, &n), "");
    assert_int_equal(tokenizer_find(m.t, " hello"), _HELLO);
    assert_int_equal(tokenizer_find(m.t, "<|end|>"), END);
    assert_int_equal(tokenizer_find(m.t, "\n"), '\n');
    assert_int_equal(tokenizer_find(m.t, "\xff"), 0xff);
    assert_int_equal(tokenizer_find(m.t, "nothing"), -1);
    assert_int_equal(tokenizer_find(m.t, ""), -1);
    assert_int_equal(tokenizer_find(m.t, "\xc4\xa0hello"), -1); /* that is how it is written */
    assert_true(tokenizer_is_control(m.t, END) && tokenizer_is_control(m.t, PAD));
    assert_false(tokenizer_is_control(m.t, TOOL) || tokenizer_is_control(m.t, HELLO));
    assert_false(tokenizer_is_control(m.t, -1) || tokenizer_is_control(m.t, 268));
    assert_true(tokenizer_is_eog(m.t, END));
    assert_false(tokenizer_is_eog(m.t, ENDD) || tokenizer_is_eog(m.t, TOOL));
    assert_false(tokenizer_is_eog(m.t, S)); /* ordinary: HTML has it */
    assert_false(tokenizer_is_eog(m.t, -1));
    assert_int_equal(tokenizer_bos(m.t), -1);
    assert_int_equal(tokenizer_eos(m.t), -1);
    unmake(&m);
}

static void every_byte_of_invalid_text_comes_back(void **state)
{
    (void)state;
    struct made m = make_small(-1);
    ASSERT_IDS(m.t, "a\xff\xfe hello", 0, 'a', 0xff, 0xfe, _HELLO);
    ASSERT_IDS(m.t, "\xc3", 0, 0xc3);                     /* cut */
    ASSERT_IDS(m.t, "\xed\xa0\x80", 0, 0xed, 0xa0, 0x80); /* a surrogate */
    ASSERT_IDS(m.t, "\xc0\xaf", 0, 0xc0, 0xaf);           /* overlong */
    ASSERT_IDS(m.t, "\xf5\x80\x80\x80", 0, 0xf5, 0x80, 0x80, 0x80);
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t n = 0, most = (size_t)round % sizeof text;
        while (n < most) {
            random = random * 1664525 + 1013904223;
            /* Mostly bytes that could belong together. */
            text[n++] = (char)(random >> 31 ? random >> 23 : 0x80 | random >> 24);
        }
        struct tokenizer_case c = {text, n, false};
        struct token_list list = tokenizer_cases_encode(m.t, &c, TOKENIZER_SPECIAL);
        assert_true(tokenizer_cases_round_trip(m.t, &c, &list, 0));
        token_list_deinit(&list);
    }
    unmake(&m);
}

/* SmolLM2 has no token for 21 of the bytes. */
static void a_byte_that_the_vocabulary_lacks_is_left_out_or_replaced(void **state)
{
    (void)state;
    struct made m = make_small('b');
    ASSERT_IDS(m.t, "xbx", 0, 'x', 'x');
    ASSERT_IDS(m.t, "hebll", 0, HE, LL); /* and nothing merges across it */
    unmake(&m);
    m = make_small(0xff);
    ASSERT_IDS(m.t, "a\xff", 0, 'a', 0xef, 0xbf, 0xbd); /* invalid text: U+FFFD */
    ASSERT_IDS(m.t, "\xfe\xff\xfe", 0, 0xfe, 0xef, 0xbf, 0xbd, 0xfe);
    unmake(&m);
}

static void bos_is_put_where_the_model_wants_it(void **state)
{
    (void)state;
    static const char *const more[] = {"<s>"};
    static const int32_t types[] = {CONTROL};
    static const char *const merges[] = {"a b"};
    /* llama-bpe wants one unless the file says otherwise, and has none without an id for it. */
    struct made m = make_bpe("llama-bpe", more, types, 1, merges, 1, -1);
    ASSERT_IDS(m.t, "x", TOKENIZER_BOS, 'x');
    unmake(&m);
    for (unsigned how = 0; how < 4; how++) {
        struct gguf_builder g;
        const char *tokens[] = {"x", "y", "xy", "<s>"};
        const int32_t kinds[] = {NORMAL, NORMAL, NORMAL, CONTROL};
        const char *merge = "x y";
        gguf_builder_init(&g);
        gguf_builder_string(&g, "tokenizer.ggml.model", "gpt2");
        gguf_builder_string(&g, "tokenizer.ggml.pre", how & 1 ? "llama-bpe" : "gpt-2");
        gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, 4);
        gguf_builder_i32s(&g, "tokenizer.ggml.token_type", kinds, 4);
        gguf_builder_strings(&g, "tokenizer.ggml.merges", &merge, 1);
        gguf_builder_u32(&g, "tokenizer.ggml.bos_token_id", how & 2 ? 77 : 3);
        m = make(&g);
        assert_non_null(m.t);
        if (how == 1)
            ASSERT_IDS(m.t, "xy", TOKENIZER_BOS, 3, 2);
        else
            ASSERT_IDS(m.t, "xy", TOKENIZER_BOS, 2);
        ASSERT_IDS(m.t, "xy", 0, 2);
        assert_int_equal(tokenizer_bos(m.t), how & 2 ? -1 : 3);
        unmake(&m);
    }
}

static void a_piece_that_is_a_token_needs_no_merges(void **state)
{
    (void)state;
    static const char *const more[] = {"xyz"};
    static const int32_t types[] = {NORMAL};
    static const char *const merges[] = {"a b"};
    struct made m = make_bpe("llama-bpe", more, types, 1, merges, 1, -1);
    ASSERT_IDS(m.t, "xyz", 0, 256);
    unmake(&m);
    m = make_bpe("qwen2", more, types, 1, merges, 1, -1);
    ASSERT_IDS(m.t, "xyz", 0, 'x', 'y', 'z');
    unmake(&m);
}

/* What the file gets wrong is said in one sentence that names it. */
static void wrong_files_are_refused(void **state)
{
    (void)state;
    static const char *const merges[] = {"a b"};
    struct made m = make_bpe("klingon", NULL, NULL, 0, merges, 1, -1);
    assert_null(m.t);
    assert_int_equal(m.err.code, ERROR_UNSUPPORTED);
    assert_non_null(strstr(m.err.message, "klingon"));
    unmake(&m);
    static const char *const no_pair[] = {"a b", "ab"};
    m = make_bpe("qwen2", NULL, NULL, 0, no_pair, 2, -1);
    assert_null(m.t);
    assert_int_equal(m.err.code, ERROR_FORMAT);
    assert_non_null(strstr(m.err.message, "item 1"));
    unmake(&m);
    m = make_bpe("qwen2", NULL, NULL, 0, merges, 0, -1);
    assert_null(m.t);
    assert_int_equal(m.err.code, ERROR_FORMAT);
    unmake(&m);
    static const struct {
        const char *model;
        uint64_t n_tokens, n_types, n_scores;
        enum error_code code;
    } wrong[] = {
        {NULL, 2, 2, 0, ERROR_FORMAT},    {"bert", 2, 2, 0, ERROR_UNSUPPORTED},
        {"llama", 0, 0, 0, ERROR_FORMAT}, {"llama", 2, 1, 2, ERROR_FORMAT},
        {"llama", 2, 2, 1, ERROR_FORMAT}, {"llama", 2, 2, 2, ERROR_NONE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct gguf_builder g;
        const char *tokens[] = {"a", "b"};
        gguf_builder_init(&g);
        if (wrong[i].model)
            gguf_builder_string(&g, "tokenizer.ggml.model", wrong[i].model);
        gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, wrong[i].n_tokens);
        gguf_builder_i32s(&g, "tokenizer.ggml.token_type", (int32_t[]){1, 1}, wrong[i].n_types);
        gguf_builder_i32s(&g, "tokenizer.ggml.scores", (int32_t[]){0, -1}, wrong[i].n_scores);
        m = make(&g);
        assert_int_equal(m.err.code, wrong[i].code);
        assert_true(!m.t == (wrong[i].code != ERROR_NONE));
        unmake(&m);
    }
}

/* Tokens of a SentencePiece-style vocabulary by hand: scores decide, bytes fall back. */
/* In SentencePiece's way any two neighbours that are a token together become it: no marker. */
static void merging_makes_no_marker_of_data(void **state)
{
    (void)state;
    const char *tokens[] = {"<unk>", "<", "x", ">", "<x", "<x>", "</s>", "▁"};
    const int32_t types[] = {UNKNOWN, NORMAL, NORMAL, NORMAL, NORMAL, USER, CONTROL, NORMAL};
    const int32_t scores[] = {0, -10, -10, -10, -1, 0, 0, -10};
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "tokenizer.ggml.model", "llama");
    gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, 8);
    gguf_builder_i32s(&g, "tokenizer.ggml.token_type", types, 8);
    gguf_builder_i32s(&g, "tokenizer.ggml.scores", scores, 8);
    struct made m = make(&g);
    assert_non_null(m.t);
    enum { SPACE = 7 /* the dummy prefix */ };
    ASSERT_MARKED(m.t, "<x>", "...", 5);
    ASSERT_MARKED(m.t, "<x>", "ddd", SPACE, 4, 3);
    ASSERT_MARKED(m.t, "<x></s>", "ddd....", SPACE, 4, 3, 6);
    ASSERT_MARKED(m.t, "<x></s>", "...dddd", 5, SPACE, 1, 0, 0, 3);
    unmake(&m);
}

static struct made make_spm(bool no_prefix)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0x0A>", "<0xE4>", "a",     "b",
                                         "c",     "▁",   "ab",   "bc",     "▁a",     "<turn>"};
    static const int32_t types[] = {UNKNOWN, CONTROL, CONTROL, BYTE,   BYTE,   NORMAL, NORMAL,
                                    NORMAL,  NORMAL,  NORMAL,  NORMAL, NORMAL, USER};
    static const int32_t scores[] = {0, 0, 0, 0, 0, -10, -11, -12, -13, -2, -1, -3, 0};
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "tokenizer.ggml.model", "llama");
    gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, 13);
    gguf_builder_i32s(&g, "tokenizer.ggml.token_type", types, 13);
    gguf_builder_i32s(&g, "tokenizer.ggml.scores", scores, 13);
    if (no_prefix) { /* a bool, which the builder has no word for */
        buf_append(&g.meta, "\x1f\0\0\0\0\0\0\0tokenizer.ggml.add_space_prefix\x07\0\0\0\0", 44);
        g.n_meta++;
    }
    return make(&g);
}

static void spm_merges_by_score_and_falls_back_to_bytes(void **state)
{
    (void)state;
    struct made m = make_spm(true);
    ASSERT_IDS(m.t, "abc", 0, 5, 10); /* bc has the higher score */
    ASSERT_IDS(m.t, "ab", 0, 9);
    ASSERT_IDS(m.t, " a", 0, 11);
    ASSERT_IDS(m.t, "\n", 0, 3);
    ASSERT_IDS(m.t, "\xe4", 0, 4); /* cut */
    ASSERT_IDS(m.t,
               "\xe4"
               "ab",
               0, 4, 9);        /* what follows is text again */
    ASSERT_IDS(m.t, "z", 0, 0); /* neither token nor byte */
    ASSERT_IDS(m.t, "a<turn>b", 0, 5, 12, 6);
    ASSERT_IDS(m.t, "a</s>", TOKENIZER_SPECIAL, 5, 2);
    ASSERT_IDS(m.t, "<0x0A>", TOKENIZER_SPECIAL, 0, 0, 0, 0, 0, 0); /* text, not a line end */
    size_t n;
    assert_memory_equal(tokenizer_piece(m.t, 11, &n), " a", 2);
    assert_int_equal(n, 2);
    assert_memory_equal(tokenizer_piece(m.t, 3, &n), "\n", 1);
    assert_int_equal(n, 1);
    assert_int_equal(tokenizer_find(m.t, " a"), 11);
    assert_int_equal(tokenizer_find(m.t, " "), 8);
    assert_int_equal(tokenizer_find(m.t, "\n"), 3);
    assert_int_equal(tokenizer_find(m.t, "</s>"), 2);
    assert_int_equal(tokenizer_bos(m.t), 1);
    assert_int_equal(tokenizer_eos(m.t), 2);
    assert_true(tokenizer_is_eog(m.t, 2) && !tokenizer_is_eog(m.t, 1));
    unmake(&m);
}

static void spm_begins_with_a_space_and_bos(void **state)
{
    (void)state;
    struct made m = make_spm(false);
    ASSERT_IDS(m.t, "ab", TOKENIZER_BOS, 1, 8, 9);
    ASSERT_IDS(m.t, "a", 0, 11);
    ASSERT_IDS(m.t, "a<turn>a", 0, 11, 12, 11); /* after a special token, too */
    assert_ids(m.t, "", 0, 0, NULL, 0);
    unmake(&m);
}

static struct made make_marks(const char *model, const int32_t *scores, const char *const *merges,
                              size_t n_merges)
{
    static const char *const tokens[] = {"<unk>", "<bos>", "a",      "b",      "ab", "▁",
                                         "▁a",    "\n\n",  "\n\n\n", "<0x0A>", "▁▁"};
    static const int32_t types[] = {UNKNOWN, CONTROL, NORMAL, NORMAL, NORMAL, NORMAL,
                                    NORMAL,  NORMAL,  NORMAL, BYTE,   NORMAL};
    struct gguf_builder g;
    gguf_builder_init(&g);
    gguf_builder_string(&g, "tokenizer.ggml.model", model);
    gguf_builder_strings(&g, "tokenizer.ggml.tokens", tokens, 11);
    gguf_builder_i32s(&g, "tokenizer.ggml.token_type", types, 11);
    if (scores)
        gguf_builder_i32s(&g, "tokenizer.ggml.scores", scores, 11);
    if (merges)
        gguf_builder_strings(&g, "tokenizer.ggml.merges", merges, n_merges);
    gguf_builder_u32(&g, "tokenizer.ggml.bos_token_id", 1);
    gguf_builder_u32(&g, "tokenizer.ggml.unknown_token_id", 0);
    struct made m = make(&g);
    if (!m.t)
        fail_msg("%s", m.err.message);
    return m;
}

/* Words are not cut apart, line ends are; those that are a token together are taken as such. */
static void gemma4_merges_characters_between_line_ends(void **state)
{
    (void)state;
    static const char *const merges[] = {"a b", "▁ a", "▁ ▁"};
    struct made m = make_marks("gemma4", NULL, merges, 3);
    ASSERT_IDS(m.t, "ab a", 0, 4, 6);
    ASSERT_IDS(m.t, " ab", 0, 5, 4); /* the earlier merge first */
    ASSERT_IDS(m.t, "a\n\nb", 0, 2, 7, 3);
    ASSERT_IDS(m.t, "\n\n\n", 0, 8);
    ASSERT_IDS(m.t, "\n\n\n\n", 0, 9, 9, 9, 9); /* no token, no merges: bytes */
    ASSERT_IDS(m.t, "z", 0, 0);
    ASSERT_IDS(m.t, "a  ", TOKENIZER_BOS, 1, 2, 10);
    size_t n;
    assert_memory_equal(tokenizer_piece(m.t, 6, &n), " a", 2);
    assert_int_equal(n, 2);
    unmake(&m);
}

/* The best sum, not the first token: a + b is better than ab; unknown ones side by side are one. */
static void unigram_takes_the_best_sum(void **state)
{
    (void)state;
    static const int32_t scores[] = {0, 0, -1, -1, -3, -2, -9, -9, -9, 0, -9};
    struct made m = make_marks("t5", scores, NULL, 0);
    ASSERT_IDS(m.t, "ab", 0, 5, 2, 3); /* a space is put before */
    ASSERT_IDS(m.t, "  a  b ", 0, 5, 2, 5, 3);
    ASSERT_IDS(m.t, "azzb", 0, 5, 2, 0, 3);
    assert_ids(m.t, "   ", 3, 0, NULL, 0);
    unmake(&m);
}

/* Reads a golden GGUF file with another name for the pre-tokenizer (NULL: as it is). */
static struct made open_golden(const char *file, const char *pre)
{
    FILE *f = tokenizer_cases_open(file);
    struct made m = {.err = {0}};
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_putc(&b, (char)c);
    fclose(f);
    if (pre) {
        static const char key[] = "tokenizer.ggml.pre";
        struct buf changed;
        char *at = memmem(b.data, b.len, key, sizeof key - 1);
        assert_non_null(at);
        at += sizeof key - 1 + 4; /* the value's type */
        uint64_t n_old, n_new = strlen(pre);
        memcpy(&n_old, at, 8);
        buf_init(&changed, 1 << 20);
        buf_append(&changed, b.data, (size_t)(at - b.data));
        buf_append(&changed, &n_new, 8);
        buf_puts(&changed, pre);
        buf_append(&changed, at + 8 + n_old, b.len - (size_t)(at + 8 + n_old - b.data));
        buf_deinit(&b);
        b = changed;
    }
    size_t n;
    m.data = buf_steal(&b, &n);
    m.w = weights_open_bytes(m.data, n, &m.err);
    m.t = m.w ? tokenizer_create(m.w, &m.err) : NULL;
    if (!m.t)
        fail_msg("%s %s: %s", file, pre ? pre : "", m.err.message);
    return m;
}

static void every_pre_tokenizer_cuts_as_the_reference(void **state)
{
    struct tokenizer_cases *cases = *state;
    FILE *golden = tokenizer_cases_open("tiny-bpe.crc");
    char name[64];
    size_t n_names = 0, n_wrong = 0;
    while (fscanf(golden, "= %63s\n", name) == 1) {
        struct made m = open_golden("tiny-bpe.gguf", name);
        n_wrong += tokenizer_cases_compare_crc(cases, m.t, TOKENIZER_SPECIAL, golden, 3, name);
        unmake(&m);
        n_names++;
    }
    assert_true(feof(golden));
    fclose(golden);
    assert_int_equal(n_names, 13);
    assert_int_equal(n_wrong, 0);
}

static void spm_ids_are_those_of_sentencepiece(void **state)
{
    struct tokenizer_cases *cases = *state;
    struct made m = open_golden("tiny-spm.gguf", NULL);
    FILE *golden = tokenizer_cases_open("tiny-spm.crc");
    char line[64];
    size_t n_wrong = 0;
    for (size_t i = 0; i < cases->n; i++) {
        const struct tokenizer_case *one = &cases->items[i];
        struct token_list list = tokenizer_cases_encode(m.t, one, 0);
        assert_non_null(fgets(line, sizeof line, golden));
        bool right = strtoul(line, NULL, 16) == tokenizer_cases_crc(&list);
        if (!right && n_wrong < 5)
            print_error("case %zu differs\n", i);
        n_wrong += !right;
        /* U+2581 in a text comes back as the space that it stands for. */
        if (!memmem(one->text, one->n_bytes, "\xe2\x96\x81", 3))
            assert_true(tokenizer_cases_round_trip(m.t, one, &list, one->n_bytes > 0));
        token_list_deinit(&list);
    }
    fclose(golden);
    unmake(&m);
    assert_int_equal(n_wrong, 0);
}

static void hard_texts_take_no_time(void **state)
{
    (void)state;
    const size_t n = 1 << 20;
    static const char *const fills[] = {"a", " ",     "\n",   "\t ", "\xff",        "\xcc\x81",
                                        "9", "<|im_", "a\n ", "'",   "\xe3\x80\x80"};
    static const char *const files[] = {"tiny-bpe.gguf", "tiny-bpe.gguf", "tiny-bpe.gguf",
                                        "tiny-bpe.gguf", "tiny-spm.gguf"};
    static const char *const pres[] = {"qwen2", "smollm", "gpt-4o", "deepseek-v3", NULL};
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t p = 0; p < sizeof files / sizeof *files; p++) {
        struct made m = open_golden(files[p], pres[p]);
        for (size_t f = 0; f < sizeof fills / sizeof *fills; f++) {
            struct error err;
            struct token_list list = {0};
            for (size_t i = 0; i < n; i++)
                text[i] = fills[f][i % strlen(fills[f])];
            int64_t begin_ms = cpu_time_ms();
            assert_true(tokenizer_encode(m.t, text, n, TOKENIZER_SPECIAL, &list, &err));
            int64_t ms = cpu_time_ms() - begin_ms;
            struct tokenizer_case c = {text, n, false};
            assert_true(tokenizer_cases_round_trip(m.t, &c, &list, pres[p] ? 0 : 1));
            token_list_deinit(&list);
            if (ms > 60000) /* quadratic would be hours */
                fail_msg("a megabyte of \"%s\" took %lld ms", fills[f], (long long)ms);
        }
        unmake(&m);
    }
    free(text);
}

struct worker {
    const struct tokenizer *t;
    const struct tokenizer_cases *cases;
    uint32_t crc;
};

static void *encode_all(void *argument)
{
    struct worker *w = argument;
    for (size_t i = 0; i < w->cases->n; i++) {
        struct token_list list = tokenizer_cases_encode(w->t, &w->cases->items[i], 0);
        w->crc = w->crc * 31 + tokenizer_cases_crc(&list);
        token_list_deinit(&list);
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    struct made m = open_golden("tiny-bpe.gguf", "qwen2");
    pthread_t threads[4];
    struct worker workers[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){m.t, *state, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_all, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < 4; i++)
        assert_int_equal(workers[i].crc, workers[0].crc);
    unmake(&m);
}

int main(void)
{
    struct tokenizer_cases cases;
    tokenizer_cases_init(&cases);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merges_in_the_order_of_ranks),
        cmocka_unit_test(long_pieces_merge_as_short_ones),
        cmocka_unit_test(special_tokens_are_taken_whole),
        cmocka_unit_test(data_never_becomes_a_marker),
        cmocka_unit_test(merging_makes_no_marker_of_data),
        cmocka_unit_test(tokens_know_what_they_are),
        cmocka_unit_test(every_byte_of_invalid_text_comes_back),
        cmocka_unit_test(a_byte_that_the_vocabulary_lacks_is_left_out_or_replaced),
        cmocka_unit_test(bos_is_put_where_the_model_wants_it),
        cmocka_unit_test(a_piece_that_is_a_token_needs_no_merges),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(spm_merges_by_score_and_falls_back_to_bytes),
        cmocka_unit_test(spm_begins_with_a_space_and_bos),
        cmocka_unit_test(gemma4_merges_characters_between_line_ends),
        cmocka_unit_test(unigram_takes_the_best_sum),
        cmocka_unit_test_prestate(every_pre_tokenizer_cuts_as_the_reference, &cases),
        cmocka_unit_test_prestate(spm_ids_are_those_of_sentencepiece, &cases),
        cmocka_unit_test(hard_texts_take_no_time),
        cmocka_unit_test_prestate(threads_share_a_tokenizer, &cases),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_cases_deinit(&cases);
    return failed;
}
