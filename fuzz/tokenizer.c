/* Any text through small vocabularies: no crash, every byte back, no marker made of data. And any
 * bytes as a vocabulary: a model file that is opened or refused, then used. The first byte of the
 * input chooses, the second has the flags. */
#include "text/tokenizer.h"
#include "text/unicode.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_ARRAY = 9 };
enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };
enum { N_BPE = 5, SPM = N_BPE, FILE_MODE = SPM + 1 };
static const char *const pre_names[N_BPE] = {"qwen2", "smollm", "gpt-4o", "deepseek-v3",
                                             "llama-bpe"};
static struct tokenizer *tokenizers[FILE_MODE];
static const void *kept[2 * FILE_MODE]; /* their files: the tokenizers point into them */
static size_t n_kept;

static void put(struct buf *b, uint64_t value, size_t n_bytes)
{
    buf_append(b, &value, n_bytes);
}

static void put_string(struct buf *b, const char *text)
{
    put(b, strlen(text), 8);
    buf_puts(b, text);
}

static void put_text(struct buf *b, const char *key, const char *value)
{
    put_string(b, key);
    put(b, GGUF_STRING, 4);
    put_string(b, value);
}

static void put_array(struct buf *b, const char *key, uint32_t type, size_t n)
{
    put_string(b, key);
    put(b, GGUF_ARRAY, 4);
    put(b, type, 4);
    put(b, n, 8);
}

static void begin_file(struct buf *b, size_t n_entries)
{
    buf_init(b, 1 << 20);
    buf_puts(b, "GGUF");
    put(b, 3, 4);
    put(b, 0, 8);
    put(b, n_entries, 8);
}

static struct tokenizer *finish_file(struct buf *b)
{
    size_t n;
    struct error err;
    void *file = buf_steal(b, &n);
    struct weights *w = weights_open_bytes(file, n, &err);
    struct tokenizer *t = w ? tokenizer_create(w, &err) : NULL;
    if (!t) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    kept[n_kept++] = file;
    kept[n_kept++] = w;
    return t;
}

static struct tokenizer *make_bpe(const char *pre)
{
    static const char *const merges[] = {
        "a a",  "aa aa",      "aaaa aaaa", "\xc4\xa0 \xc4\xa0", "t h",
        "th e", "\xc4\xa0 a", "\xc3 \xa9", "\xc3\xa2 \xc4\xa2"};
    static const char *const special[] = {"<|a|>", "<|a|>>", "<|b", "\xc3\xa9!"};
    static const int types[] = {CONTROL, CONTROL, USER, USER};
    enum {
        N_MERGES = sizeof merges / sizeof *merges,
        N_SPECIAL = 4,
        N = 256 + N_MERGES + N_SPECIAL
    };
    struct buf b;
    begin_file(&b, 5);
    put_text(&b, "tokenizer.ggml.model", "gpt2");
    put_text(&b, "tokenizer.ggml.pre", pre);
    put_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, N);
    for (unsigned byte = 0; byte < 256; byte++) {
        char shown[3] = "";
        unicode_from_byte((uint8_t)byte, shown);
        put_string(&b, shown);
    }
    for (size_t i = 0; i < N_MERGES; i++) {
        const char *gap = strchr(merges[i], ' ');
        put(&b, strlen(merges[i]) - 1, 8);
        buf_append(&b, merges[i], (size_t)(gap - merges[i]));
        buf_puts(&b, gap + 1);
    }
    for (size_t i = 0; i < N_SPECIAL; i++)
        put_string(&b, special[i]);
    put_array(&b, "tokenizer.ggml.token_type", GGUF_I32, N);
    for (size_t i = 0; i < N; i++)
        put(&b, i < N - N_SPECIAL ? NORMAL : (unsigned)types[i - (N - N_SPECIAL)], 4);
    put_array(&b, "tokenizer.ggml.merges", GGUF_STRING, N_MERGES);
    for (size_t i = 0; i < N_MERGES; i++)
        put_string(&b, merges[i]);
    return finish_file(&b);
}

static struct tokenizer *make_spm(void)
{
    static const char *const words[] = {"<unk>", "<s>", "</s>", "a",  "b",    "ab",
                                        "▁",     "é",   "▁a",   "aa", "aaaa", "▁▁"};
    enum { N_WORDS = sizeof words / sizeof *words, N = N_WORDS + 256 };
    struct buf b;
    begin_file(&b, 4);
    put_text(&b, "tokenizer.ggml.model", "llama");
    put_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, N);
    for (size_t i = 0; i < N_WORDS; i++)
        put_string(&b, words[i]);
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        put_string(&b, name);
    }
    put_array(&b, "tokenizer.ggml.token_type", GGUF_I32, N);
    for (size_t i = 0; i < N; i++)
        put(&b, i == 0 ? UNKNOWN : i < 3 ? CONTROL : i < N_WORDS ? NORMAL : BYTE, 4);
    put_array(&b, "tokenizer.ggml.scores", GGUF_F32, N);
    for (size_t i = 0; i < N; i++) {
        float score = -(float)(i * 7 % 11);
        buf_append(&b, &score, sizeof score);
    }
    return finish_file(&b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < N_BPE; i++)
        tokenizers[i] = make_bpe(pre_names[i]);
    tokenizers[SPM] = make_spm();
    return 0;
}

/* The pieces must be the text again; a SentencePiece vocabulary puts a space before each run of
 * text, so there only a text without special tokens is compared. */
static void check_round_trip(const struct tokenizer *t, const struct token_list *list,
                             const char *text, size_t n_bytes, bool prefix)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    for (size_t i = 0; i < list->n; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, list->ids[i], &n);
        buf_append(&b, piece, n);
    }
    if (prefix && b.len)
        buf_consume(&b, 1);
    if (b.len != n_bytes || (n_bytes && memcmp(b.data, text, n_bytes)))
        abort();
    buf_deinit(&b);
}

/* Marks that follow from the text, in runs. A special token's ends must not be data. */
static void fuzz_marked(const struct tokenizer *t, bool spm, const char *text, size_t n_bytes)
{
    struct error err;
    struct token_list list = {0};
    uint8_t *marks = malloc(n_bytes + 1);
    if (!marks)
        return;
    for (size_t i = 0, data = 0; i < n_bytes; i++) {
        data ^= (text[i] & 7) == 7;
        marks[i] = (uint8_t)data;
    }
    if (!tokenizer_encode_marked(t, text, marks, n_bytes, TOKENIZER_SPECIAL, &list, &err))
        abort();
    if (!spm) {
        check_round_trip(t, &list, text, n_bytes, false);
        for (size_t i = 0, at = 0, n; i < list.n; at += n, i++) {
            tokenizer_piece(t, list.ids[i], &n);
            if (tokenizer_is_control(t, list.ids[i]) && (marks[at] || marks[at + n - 1]))
                abort();
        }
    }
    token_list_deinit(&list);
    free(marks);
}

static void fuzz_text(const struct tokenizer *t, bool spm, unsigned flags, const char *text,
                      size_t n_bytes)
{
    struct error err;
    struct token_list list = {0};
    flags &= spm ? 0 : TOKENIZER_SPECIAL;
    if (!tokenizer_encode(t, text, n_bytes, flags, &list, &err))
        abort();
    if (!spm || !n_bytes || !memmem(text, n_bytes, "\xe2\x96\x81", 3))
        check_round_trip(t, &list, text, n_bytes, spm);
    token_list_deinit(&list);
    fuzz_marked(t, spm, text, n_bytes);
}

static void fuzz_file(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello <|im_end|> </s> aaaa  \n\xc3\xa9\xff 123's <0x0A>";
    struct error err = {0};
    struct weights *w = weights_open_bytes(data, size, &err);
    if (!w)
        return;
    struct tokenizer *t = tokenizer_create(w, &err);
    if (!t && (err.code == ERROR_NONE || !err.message[0]))
        abort();
    for (unsigned flags = 0; t && flags < 4; flags++) {
        struct token_list list = {0};
        if (!tokenizer_encode(t, text, sizeof text - 1, flags, &list, &err))
            abort();
        for (size_t i = 0; i < list.n; i++)
            if (list.ids[i] < 0 || (size_t)list.ids[i] >= tokenizer_n_vocab(t))
                abort();
        token_list_deinit(&list);
    }
    for (size_t i = 0; t && i < tokenizer_n_vocab(t) && i < 1000; i++) {
        size_t n;
        const char *piece = tokenizer_piece(t, (int32_t)i, &n);
        char copy[64];
        if (!n || n >= sizeof copy)
            continue;
        memcpy(copy, piece, n);
        copy[n] = 0;
        tokenizer_find(t, copy);
    }
    tokenizer_destroy(t);
    weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned mode = data[0] % (FILE_MODE + 1);
    if (mode == FILE_MODE)
        fuzz_file(data + 2, size - 2);
    else
        fuzz_text(tokenizers[mode], mode == SPM, data[1], (const char *)data + 2, size - 2);
    return 0;
}
