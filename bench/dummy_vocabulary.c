/* See dummy_vocabulary.h. Pieces are a word mark or a letter, then one to three letters, in one
 * fixed order; each is a merge of two earlier ones. */
#include "dummy_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6 };
enum { N_LETTERS = 26, N_STARTS = N_LETTERS + 1, N_PAIRS = N_STARTS * N_LETTERS };

static const char chat_ml[] =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char chat_phi3[] =
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

/* The control tokens at the vocabulary's end, unused ones after them. */
static const char *const spm_specials[] = {"<|endoftext|>", "<|assistant|>", "<|end|>",
                                           "<|system|>", "<|user|>"};
static const char *const bpe_specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

static void put(struct dummy_vocabulary *v, const char *token, int32_t type)
{
    v->tokens[v->n] = token;
    v->types[v->n] = type;
    v->scores[v->n] = -(float)v->n;
    v->n++;
}

/* Letter i of the alphabet; the last one is the mark of a word's start. */
static const char *letter(const struct dummy_vocabulary *v, uint32_t i, char out[8])
{
    const char *mark = v->kind == MODEL_SHAPE_BPE ? "\xc4\xa0" : "\xe2\x96\x81"; /* U+0120, U+2581 */
    if (i == N_LETTERS)
        return mark;
    snprintf(out, 8, "%c", (int)('a' + i));
    return out;
}

/* Pair i: any of N_STARTS and a letter. */
static void pair(const struct dummy_vocabulary *v, uint32_t i, char out[16])
{
    char a[8], b[8];
    snprintf(out, 16, "%s%s", letter(v, i / N_LETTERS, a), letter(v, i % N_LETTERS, b));
}

/* The text piece left + right, and how BPE comes to it. */
static bool put_merge(struct dummy_vocabulary *v, const char *left, const char *right)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%s%s", left, right);
    const char *token = arena_copy(&v->arena, text, (size_t)n);
    if (!token)
        return false;
    put(v, token, NORMAL);
    n = snprintf(text, sizeof text, "%s %s", left, right);
    v->merges[v->n_merges] = arena_copy(&v->arena, text, (size_t)n);
    return v->merges[v->n_merges++];
}

/* Pairs, then pair + letter, then pair + pair, until there are n_tokens. */
static bool put_pieces(struct dummy_vocabulary *v, uint32_t n_tokens)
{
    char a[16], b[16];
    for (uint32_t i = 0; i < N_PAIRS && v->n < n_tokens; i++)
        if (!put_merge(v, letter(v, i / N_LETTERS, a), letter(v, i % N_LETTERS, b)))
            return false;
    for (uint32_t i = 0; i < N_PAIRS * N_LETTERS && v->n < n_tokens; i++) {
        pair(v, i / N_LETTERS, a);
        if (!put_merge(v, a, letter(v, i % N_LETTERS, b)))
            return false;
    }
    enum { N_LETTER_PAIRS = N_LETTERS * N_LETTERS };
    for (uint32_t i = 0; i < N_PAIRS * N_LETTER_PAIRS && v->n < n_tokens; i++) {
        pair(v, i / N_LETTER_PAIRS, a);
        pair(v, i % N_LETTER_PAIRS, b);
        if (!put_merge(v, a, b))
            return false;
    }
    return v->n == n_tokens;
}

static bool put_text(struct dummy_vocabulary *v, int32_t type, const char *format, uint32_t value)
{
    char text[40];
    int n = snprintf(text, sizeof text, format, value); /* the formats are below */
    const char *token = arena_copy(&v->arena, text, (size_t)n);
    if (token)
        put(v, token, type);
    return token;
}

static bool put_specials(struct dummy_vocabulary *v, const char *const *names, size_t n_names,
                         uint32_t n_tokens)
{
    for (size_t i = 0; i < n_names; i++)
        put(v, names[i], CONTROL);
    while (v->n < n_tokens)
        if (!put_text(v, UNUSED, "<|unused_%u|>", v->n))
            return false;
    return true;
}

static bool put_spm(struct dummy_vocabulary *v, uint32_t n_tokens)
{
    enum { N_SPECIALS = 64 };
    char text[8];
    put(v, "<unk>", UNKNOWN);
    put(v, "<s>", CONTROL);
    put(v, "</s>", CONTROL);
    v->bos = 1;
    for (uint32_t i = 0; i < 256; i++)
        if (!put_text(v, BYTE, "<0x%02X>", i))
            return false;
    for (uint32_t i = '!'; i <= '~'; i++)
        if (!put_text(v, NORMAL, "%c", i))
            return false;
    put(v, letter(v, N_LETTERS, text), NORMAL);
    if (!put_pieces(v, n_tokens - N_SPECIALS))
        return false;
    v->eos = v->padding = (int32_t)v->n;
    v->eot = (int32_t)v->n + 2;
    v->chat_template = chat_phi3;
    return put_specials(v, spm_specials, sizeof spm_specials / sizeof *spm_specials, n_tokens);
}

/* Bytes that print stand for themselves, the others for U+0100 and on (GPT-2's alphabet). */
static bool put_byte_letters(struct dummy_vocabulary *v)
{
    for (uint32_t byte = 0, n_shifted = 0; byte < 256; byte++) {
        bool prints = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        uint32_t shown = prints ? byte : 256 + n_shifted++;
        char text[4] = {(char)shown};
        if (shown >= 128) {
            text[0] = (char)(0xc0 | shown >> 6);
            text[1] = (char)(0x80 | (shown & 63));
        }
        const char *token = arena_copy(&v->arena, text, strlen(text));
        if (!token)
            return false;
        put(v, token, NORMAL);
    }
    return true;
}

static bool put_bpe(struct dummy_vocabulary *v, uint32_t n_tokens)
{
    const uint32_t n_specials = n_tokens > 100000 ? 293 : 17;
    if (!put_byte_letters(v) || !put_pieces(v, n_tokens - n_specials))
        return false;
    v->bos = v->padding = (int32_t)v->n;
    v->eos = v->eot = (int32_t)v->n + 2;
    v->chat_template = chat_ml;
    return put_specials(v, bpe_specials, sizeof bpe_specials / sizeof *bpe_specials, n_tokens);
}

bool dummy_vocabulary_init(struct dummy_vocabulary *v, enum model_shape_vocabulary kind,
                           uint32_t n_tokens)
{
    enum { LEAST = 1024 };
    *v = (struct dummy_vocabulary){.kind = kind};
    arena_init(&v->arena, (size_t)256 << 20);
    v->tokens = calloc(n_tokens, sizeof *v->tokens);
    v->types = calloc(n_tokens, sizeof *v->types);
    v->scores = calloc(n_tokens, sizeof *v->scores);
    v->merges = calloc(n_tokens, sizeof *v->merges);
    if (n_tokens < LEAST || !v->tokens || !v->types || !v->scores || !v->merges)
        return false;
    return kind == MODEL_SHAPE_SPM ? put_spm(v, n_tokens) : put_bpe(v, n_tokens);
}

void dummy_vocabulary_deinit(struct dummy_vocabulary *v)
{
    free(v->tokens);
    free(v->types);
    free(v->scores);
    free(v->merges);
    arena_deinit(&v->arena);
    *v = (struct dummy_vocabulary){0};
}
