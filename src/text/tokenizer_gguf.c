/* Reads the tokenizer of a GGUF file: tokenizer.ggml.*, as github.com/ggml-org/ggml, docs/gguf.md,
 * names the keys and llama.cpp (src/llama-vocab.cpp) understands them. */
#include "text/tokenizer_file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY(name) "tokenizer.ggml." name

static bool string_is(const struct weights_string *s, const char *text)
{
    return s->len == strlen(text) && !memcmp(s->data, text, s->len);
}

static bool gguf_read_kind(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct weights_string model;
    if (!weights_string(w, KEY("model"), &model))
        return error_set(err, ERROR_FORMAT, "the model has no tokenizer: %s is missing",
                         KEY("model"));
    if (string_is(&model, "gpt2"))
        f->kind = TOKENIZER_BYTE_BPE;
    else if (string_is(&model, "llama"))
        f->kind = TOKENIZER_SPM;
    else if (string_is(&model, "t5"))
        f->kind = TOKENIZER_UNIGRAM;
    else if (string_is(&model, "gemma4"))
        f->kind = TOKENIZER_CHAR_BPE;
    else
        return error_set(err, ERROR_UNSUPPORTED, "unknown kind of tokenizer \"%.*s\" (%s)",
                         (int)(model.len < 64 ? model.len : 64), model.data, KEY("model"));
    f->spaces_are_marks = f->kind != TOKENIZER_BYTE_BPE;
    return true;
}

static bool gguf_read_types(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const char *key = KEY("token_type");
    size_t n = weights_array_len(w, key);
    memset(f->types, GGUF_TOKEN_NORMAL, f->n);
    if (!n)
        return true;
    if (n != f->n)
        return error_set(err, ERROR_FORMAT, "%s has %zu items for %zu tokens", key, n, f->n);
    int64_t *types = malloc(n * sizeof *types);
    if (!types)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", n);
    f->has_types = weights_array_ints(w, key, types, n);
    for (size_t i = 0; f->has_types && i < n; i++) {
        bool known = types[i] >= GGUF_TOKEN_NORMAL && types[i] <= GGUF_TOKEN_BYTE;
        f->types[i] = known ? (uint8_t)types[i] : GGUF_TOKEN_UNUSED;
    }
    free(types);
    return f->has_types || error_set(err, ERROR_FORMAT, "%s is not an array of integers", key);
}

static bool gguf_read_tokens(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const char *key = KEY("tokens");
    size_t n = weights_array_len(w, key);
    if (!n)
        return error_set(err, ERROR_FORMAT, "the model has no vocabulary: %s is missing", key);
    if (!tokenizer_file_reserve(f, n, err))
        return false;
    if (!weights_array_strings(w, key, f->tokens, n))
        return error_set(err, ERROR_FORMAT, "%s is not an array of strings", key);
    return gguf_read_types(f, w, err);
}

static bool gguf_read_scores(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const char *key = KEY("scores");
    size_t n = weights_array_len(w, key);
    if (!n)
        return true;
    if (n != f->n)
        return error_set(err, ERROR_FORMAT, "%s has %zu items for %zu tokens", key, n, f->n);
    f->scores = malloc(n * sizeof *f->scores);
    if (!f->scores)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu scores", n);
    for (size_t i = 0; i < n; i++) {
        float score;
        if (!weights_array_float(w, key, i, &score))
            return error_set(err, ERROR_FORMAT, "%s is not an array of numbers", key);
        if (score != score)
            return error_set(err, ERROR_FORMAT, "%s: item %zu is no number", key, i);
        f->scores[i] = (double)score;
    }
    return true;
}

/* "left right"; a half may itself begin with a space. */
static bool gguf_split_merge(const struct weights_string *merge, struct tokenizer_merge *out)
{
    const char *gap = merge->len > 2 ? memchr(merge->data + 1, ' ', merge->len - 1) : NULL;
    if (!gap || gap + 1 == merge->data + merge->len)
        return false;
    size_t n_left = (size_t)(gap - merge->data);
    out->left = (struct weights_string){merge->data, n_left};
    out->right = (struct weights_string){gap + 1, merge->len - n_left - 1};
    return true;
}

static bool gguf_read_merges(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const char *key = KEY("merges");
    size_t n = weights_array_len(w, key);
    if (!n)
        return error_set(err, ERROR_FORMAT, "%s is missing", key);
    if (n > TOKENIZER_MAX_TOKENS)
        return error_set(err, ERROR_FORMAT, "%s has %zu items", key, n);
    struct weights_string *merges = malloc(n * sizeof *merges);
    f->merges = malloc(n * sizeof *f->merges);
    bool ok = merges && f->merges;
    if (!ok)
        error_set(err, ERROR_NO_MEMORY, "out of memory for %zu merges", n);
    else if (!(ok = weights_array_strings(w, key, merges, n)))
        error_set(err, ERROR_FORMAT, "%s is not an array of strings", key);
    for (; ok && f->n_merges < n; f->n_merges++) {
        ok = gguf_split_merge(&merges[f->n_merges], &f->merges[f->n_merges]);
        if (!ok)
            error_set(err, ERROR_FORMAT, "%s: item %zu is no pair", key, f->n_merges);
    }
    free(merges);
    return ok;
}

static bool gguf_read_pre(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct weights_string pre;
    struct pre_tokenizer_traits traits;
    if (!weights_string(w, KEY("pre"), &pre))
        pre = (struct weights_string){"default", 7};
    f->pre = pre_tokenizer_create_named(pre.data, pre.len, &traits, err);
    if (!f->pre)
        return false;
    f->ignores_merges = traits.ignores_merges;
    f->add_bos = traits.adds_bos;
    return true;
}

/* Gemma 4: characters, spaces as U+2581, words not cut apart but at line ends. */
static bool gguf_set_gemma4(struct tokenizer_file *f, struct error *err)
{
    static const char lines[] = "[^\\n]+|[\\n]+";
    f->has_fallback = f->takes_line_ends = f->add_bos = true;
    f->pre = pre_tokenizer_create(err);
    f->normalizer = f->pre ? normalizer_create(err) : NULL;
    struct regex *r = f->normalizer ? regex_create(lines, sizeof lines - 1, err) : NULL;
    if (!r || !pre_tokenizer_add_regex(f->pre, r, PRE_TOKENIZER_ISOLATED, false, err))
        return false;
    r = regex_create_literal(" ", 1, err);
    return r && normalizer_add_replace(f->normalizer, r, "\xe2\x96\x81", 3, err);
}

/* The bytes of an array; *c is NULL where there is none. */
static bool gguf_read_charsmap(const struct weights *w, struct charsmap **c, struct error *err)
{
    const char *key = KEY("precompiled_charsmap");
    size_t n = weights_array_len(w, key);
    *c = NULL;
    if (!n)
        return true;
    int64_t *items = malloc(n * sizeof *items);
    uint8_t *bytes = malloc(n);
    bool ok = items && bytes && weights_array_ints(w, key, items, n);
    if (!items || !bytes)
        error_set(err, ERROR_NO_MEMORY, "out of memory for %zu bytes", n);
    else if (!ok)
        error_set(err, ERROR_FORMAT, "%s is not an array of integers", key);
    for (size_t i = 0; ok && i < n; i++)
        bytes[i] = (uint8_t)items[i];
    *c = ok ? charsmap_create(bytes, n, err) : NULL;
    free(items);
    free(bytes);
    return *c != NULL;
}

static bool gguf_set_unigram(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct charsmap *c;
    bool trims = true, prefix = true;
    weights_bool(w, KEY("remove_extra_whitespaces"), &trims);
    weights_bool(w, KEY("add_space_prefix"), &prefix);
    return gguf_read_charsmap(w, &c, err) &&
           tokenizer_file_add_sentencepiece(f, c, trims, prefix, err);
}

/* What is of each kind alone. */
static bool gguf_read_model(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    switch (f->kind) {
    case TOKENIZER_BYTE_BPE:
        return gguf_read_pre(f, w, err) && gguf_read_merges(f, w, err);
    case TOKENIZER_CHAR_BPE:
        return gguf_set_gemma4(f, err) && gguf_read_merges(f, w, err);
    case TOKENIZER_UNIGRAM:
        return gguf_read_scores(f, w, err) && gguf_set_unigram(f, w, err);
    default:
        return gguf_read_scores(f, w, err);
    }
}

/* The token id under a key, `otherwise` if it is missing, -1 if there is no such token. */
static int32_t gguf_id(const struct tokenizer_file *f, const struct weights *w, const char *key,
                       int32_t otherwise)
{
    uint64_t id;
    if (!weights_uint(w, key, &id))
        return otherwise >= 0 && (size_t)otherwise < f->n ? otherwise : -1;
    return id < f->n ? (int32_t)id : -1;
}

/* The defaults are those of the first files of each kind, which left the keys out. */
static void gguf_read_settings(struct tokenizer_file *f, const struct weights *w)
{
    static const char *const ends[] = {
        KEY("eot_token_id"),     KEY("eom_token_id"),     KEY("fim_pad_token_id"),
        KEY("fim_rep_token_id"), KEY("fim_sep_token_id"),
    };
    bool spm = f->kind == TOKENIZER_SPM, is_bytes = f->kind == TOKENIZER_BYTE_BPE;
    f->bos = gguf_id(f, w, KEY("bos_token_id"), spm ? 1 : -1);
    f->eos = gguf_id(f, w, KEY("eos_token_id"), spm ? 2 : -1);
    f->unknown = is_bytes ? -1 : gguf_id(f, w, KEY("unknown_token_id"), spm ? 0 : -1);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        tokenizer_file_add_end(f, gguf_id(f, w, ends[i], -1));
    f->add_bos |= spm;
    if (f->kind != TOKENIZER_CHAR_BPE) /* Gemma 4 needs one whatever its first files said */
        weights_bool(w, KEY("add_bos_token"), &f->add_bos);
    f->add_space_prefix = spm;
    weights_bool(w, KEY("add_space_prefix"), &f->add_space_prefix);
}

static bool name_has(const struct weights_string *name, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= name->len; i++)
        if (!strncasecmp(name->data + i, word, n))
            return true;
    return false;
}

/* GGUF has no word for flags. Phi-3's tokens take the white space behind them; the model's name
 * says that it is one. */
static void gguf_flag_phi3(struct tokenizer_file *f, const struct weights *w)
{
    static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct weights_string name;
    if (!weights_string(w, "general.name", &name) ||
        !(name_has(&name, "phi-3") || name_has(&name, "phi3")))
        return;
    for (size_t i = 0; i < f->n; i++) {
        bool rstrip = f->types[i] == GGUF_TOKEN_CONTROL ||
                      f->types[i] == GGUF_TOKEN_USER_DEFINED ||
                      f->types[i] == GGUF_TOKEN_UNKNOWN || string_is(&f->tokens[i], "</s>");
        for (size_t k = 0; k < sizeof plain / sizeof *plain; k++)
            rstrip &= !string_is(&f->tokens[i], plain[k]);
        f->flags[i] = rstrip ? TOKENIZER_RSTRIP : 0;
    }
}

bool tokenizer_file_read_gguf(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    if (!gguf_read_kind(f, w, err) || !gguf_read_tokens(f, w, err) || !gguf_read_model(f, w, err))
        return false;
    gguf_read_settings(f, w);
    gguf_flag_phi3(f, w);
    return true;
}
