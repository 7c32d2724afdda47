/* Reads a folder's tokenizer.json (github.com/huggingface/tokenizers, tokenizer/serialization.rs),
 * and from config.json, generation_config.json and tokenizer_config.json which tokens begin and end
 * a text. Every number is the file's claim until it was checked. */
#include "text/tokenizer_json.h"

#include "text/tokenizer_vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_VALUES = 1 << 22, /* of the JSON; the largest known vocabularies have 2.1 million */
    MAX_HOLES = 1 << 16,  /* ids without a token, beside as many as there are tokens */
};

/* ---- tokens ---- */

/* The largest id of the vocabulary and of the added tokens, plus one. */
struct id_range {
    uint64_t n_ids, n_tokens;
};

static void range_add(struct id_range *r, uint64_t id)
{
    r->n_tokens++;
    if (id >= r->n_ids)
        r->n_ids = id < UINT32_MAX ? id + 1 : UINT32_MAX;
}

static bool measure_vocab(const struct json_tree_value *vocab, struct id_range *r,
                          struct error *err)
{
    const struct json_tree_value *name = json_tree_first(vocab);
    for (size_t i = 0; i < vocab->n_items; i++, name = json_tree_after(json_tree_after(name))) {
        uint64_t id;
        if (!json_tree_uint(json_tree_after(name), &id))
            return error_set(err, ERROR_FORMAT, "model.vocab: the id of \"%.*s\" is no number",
                             (int)(name->len < 64 ? name->len : 64), name->text);
        range_add(r, id);
    }
    return true;
}

static bool measure_added(const struct json_tree_value *added, struct id_range *r,
                          struct error *err)
{
    const struct json_tree_value *token = json_tree_first(added);
    for (size_t i = 0; i < added->n_items; i++, token = json_tree_after(token)) {
        uint64_t id;
        if (!json_tree_uint(json_tree_member(token, "id"), &id) ||
            !json_tree_is(json_tree_member(token, "content"), JSON_TREE_STRING))
            return error_set(err, ERROR_FORMAT, "added_tokens: item %zu has no id or no content",
                             i);
        range_add(r, id);
    }
    return true;
}

static bool put_token(struct tokenizer_file *f, uint64_t id, const struct json_tree_value *text,
                      const char *where, struct error *err)
{
    struct weights_string *token = &f->tokens[id];
    bool taken = f->types[id] != GGUF_TOKEN_UNUSED;
    if (taken && (token->len != text->len || memcmp(token->data, text->text, text->len) != 0))
        return error_set(err, ERROR_FORMAT, "%s: id %" PRIu64 " is \"%.*s\" and \"%.*s\"", where,
                         id, (int)(token->len < 64 ? token->len : 64), token->data,
                         (int)(text->len < 64 ? text->len : 64), text->text);
    *token = (struct weights_string){text->text, text->len};
    return true;
}

static bool is_byte_name(const struct json_tree_value *name)
{
    return name->len == 6 && !memcmp(name->text, "<0x", 3) && name->text[5] == '>';
}

static bool read_vocab(struct tokenizer_file *f, const struct json_tree_value *vocab,
                       struct error *err)
{
    const struct json_tree_value *name = json_tree_first(vocab);
    for (size_t i = 0; i < vocab->n_items; i++, name = json_tree_after(json_tree_after(name))) {
        uint64_t id = 0;
        json_tree_uint(json_tree_after(name), &id);
        if (!put_token(f, id, name, "model.vocab", err))
            return false;
        f->types[id] =
            f->has_fallback && is_byte_name(name) ? GGUF_TOKEN_BYTE : GGUF_TOKEN_NORMAL;
    }
    return true;
}

/* [["token", score], …] in the order of ids */
static bool read_scored(struct tokenizer_file *f, const struct json_tree_value *vocab,
                        struct error *err)
{
    f->scores = calloc(f->n, sizeof *f->scores);
    if (!f->scores)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu scores", f->n);
    const struct json_tree_value *pair = json_tree_first(vocab);
    for (size_t i = 0; i < vocab->n_items; i++, pair = json_tree_after(pair)) {
        const struct json_tree_value *name = json_tree_item(pair, 0);
        if (!json_tree_is(name, JSON_TREE_STRING) ||
            !json_tree_double(json_tree_item(pair, 1), &f->scores[i]) ||
            f->scores[i] != f->scores[i])
            return error_set(err, ERROR_FORMAT, "model.vocab: item %zu is no token with a score",
                             i);
        f->tokens[i] = (struct weights_string){name->text, name->len};
        f->types[i] =
            f->has_fallback && is_byte_name(name) ? GGUF_TOKEN_BYTE : GGUF_TOKEN_NORMAL;
    }
    return true;
}

static uint8_t added_flags(const struct json_tree_value *token)
{
    static const struct {
        const char *name;
        enum tokenizer_flag flag;
    } known[] = {{"single_word", TOKENIZER_SINGLE_WORD},
                 {"lstrip", TOKENIZER_LSTRIP},
                 {"rstrip", TOKENIZER_RSTRIP},
                 {"normalized", TOKENIZER_NORMALIZED}};
    uint8_t flags = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct json_tree_value *v = json_tree_member(token, known[i].name);
        if (json_tree_is(v, JSON_TREE_BOOL) && v->is_true)
            flags |= (uint8_t)known[i].flag;
    }
    return flags;
}

bool tokenizer_json_added(struct tokenizer_file *f, uint64_t id,
                          const struct json_tree_value *token, const char *where, struct error *err)
{
    const struct json_tree_value *special = json_tree_member(token, "special");
    if (!put_token(f, id, json_tree_member(token, "content"), where, err))
        return false;
    f->types[id] = json_tree_is(special, JSON_TREE_BOOL) && special->is_true
                       ? GGUF_TOKEN_CONTROL
                       : GGUF_TOKEN_USER_DEFINED;
    f->flags[id] = added_flags(token);
    return true;
}

/* A text that the model's vocabulary has keeps the id that it has there. */
static bool read_added_token(struct tokenizer_file *f, const struct tokenizer_vocab *model,
                             const struct json_tree_value *token, struct error *err)
{
    const struct json_tree_value *content = json_tree_member(token, "content");
    int32_t known = tokenizer_vocab_find(model, content->text, content->len);
    uint64_t id = 0;
    json_tree_uint(json_tree_member(token, "id"), &id);
    return tokenizer_json_added(f, known >= 0 ? (uint64_t)known : id, token, "added_tokens", err);
}

static bool read_added(struct tokenizer_file *f, const struct json_tree_value *added,
                       struct error *err)
{
    struct tokenizer_vocab model;
    bool ok = tokenizer_vocab_init(&model, f, err);
    const struct json_tree_value *token = json_tree_first(added);
    for (size_t i = 0; ok && i < added->n_items; i++, token = json_tree_after(token))
        ok = read_added_token(f, &model, token, err);
    tokenizer_vocab_deinit(&model);
    return ok;
}

/* The tokens' texts in one piece of memory of their own, so that nothing keeps the JSON alive. */
static bool keep_texts(struct tokenizer_file *f, struct error *err)
{
    size_t total = 1;
    for (size_t i = 0; i < f->n; i++)
        total += f->tokens[i].len;
    char *to = arena_alloc(&f->strings, total);
    if (!to)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %zu tokens", f->n);
    for (size_t i = 0; i < f->n; i++) {
        if (f->tokens[i].len)
            memcpy(to, f->tokens[i].data, f->tokens[i].len);
        f->tokens[i].data = to;
        to += f->tokens[i].len;
    }
    return true;
}

/* The model's vocabulary, an object of ids or a list of pairs with scores, and what was added. */
static bool read_tokens(struct tokenizer_file *f, const struct json_tree_value *root,
                        const struct json_tree_value *vocab, struct error *err)
{
    const struct json_tree_value *added = json_tree_member(root, "added_tokens");
    struct id_range r = {0};
    bool is_list = f->kind == TOKENIZER_UNIGRAM;
    if (!json_tree_is(vocab, is_list ? JSON_TREE_ARRAY : JSON_TREE_OBJECT))
        return error_set(err, ERROR_FORMAT, "model.vocab is no %s", is_list ? "array" : "object");
    if (added && !json_tree_is(added, JSON_TREE_ARRAY))
        return error_set(err, ERROR_FORMAT, "added_tokens is no array");
    if (is_list)
        r.n_ids = r.n_tokens = vocab->n_items;
    if ((!is_list && !measure_vocab(vocab, &r, err)) || (added && !measure_added(added, &r, err)))
        return false;
    if (r.n_ids > 2 * r.n_tokens + MAX_HOLES)
        return error_set(err, ERROR_FORMAT, "%" PRIu64 " tokens have ids up to %" PRIu64,
                         r.n_tokens, r.n_ids - 1);
    f->has_types = true;
    return tokenizer_file_reserve(f, (size_t)r.n_ids, err) &&
           (is_list ? read_scored(f, vocab, err) : read_vocab(f, vocab, err)) &&
           (!added || read_added(f, added, err)) && keep_texts(f, err);
}

/* A token by its text, or -1; for the few that are named. */
static int32_t find_token(const struct tokenizer_file *f, const struct json_tree_value *text)
{
    for (size_t i = 0; json_tree_is(text, JSON_TREE_STRING) && i < f->n; i++)
        if (f->types[i] != GGUF_TOKEN_UNUSED && f->tokens[i].len == text->len &&
            !memcmp(f->tokens[i].data, text->text, text->len))
            return (int32_t)i;
    return -1;
}

/* ---- BPE ---- */

/* A pair is ["left", "right"], or in older files "left right". */
static bool read_merge(const struct json_tree_value *v, struct tokenizer_merge *out)
{
    if (json_tree_is(v, JSON_TREE_STRING)) {
        const char *gap = v->len ? memchr(v->text, ' ', v->len) : NULL;
        size_t n_left = gap ? (size_t)(gap - v->text) : 0;
        if (!n_left || n_left + 1 == v->len || memchr(gap + 1, ' ', v->len - n_left - 1))
            return false;
        out->left = (struct weights_string){v->text, n_left};
        out->right = (struct weights_string){gap + 1, v->len - n_left - 1};
        return true;
    }
    if (!json_tree_is(v, JSON_TREE_ARRAY) || v->n_items != 2)
        return false;
    const struct json_tree_value *left = json_tree_first(v), *right = json_tree_after(left);
    if (left->kind != JSON_TREE_STRING || right->kind != JSON_TREE_STRING)
        return false;
    out->left = (struct weights_string){left->text, left->len};
    out->right = (struct weights_string){right->text, right->len};
    return left->len && right->len;
}

static bool read_merges(struct tokenizer_file *f, const struct json_tree_value *merges,
                        struct error *err)
{
    if (!json_tree_is(merges, JSON_TREE_ARRAY))
        return error_set(err, ERROR_FORMAT, "model.merges is no array");
    f->merges = malloc((merges->n_items + 1) * sizeof *f->merges);
    if (!f->merges)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for %u merges", merges->n_items);
    const struct json_tree_value *merge = json_tree_first(merges);
    for (; f->n_merges < merges->n_items; f->n_merges++, merge = json_tree_after(merge))
        if (!read_merge(merge, &f->merges[f->n_merges]))
            return error_set(err, ERROR_FORMAT, "model.merges: item %zu is no pair", f->n_merges);
    return true;
}

static bool is_true(const struct json_tree_value *v)
{
    return json_tree_is(v, JSON_TREE_BOOL) && v->is_true;
}

/* What would change the tokens and is not built is refused by its name. */
static bool check_bpe(const struct json_tree_value *model, struct error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout;
    if (json_tree_double(json_tree_member(model, "dropout"), &dropout) && dropout != 0)
        return error_set(err, ERROR_UNSUPPORTED, "model.dropout: merging by chance");
    for (size_t i = 0; i < 2; i++) {
        const struct json_tree_value *v = json_tree_member(model, affixes[i]);
        if (json_tree_is(v, JSON_TREE_STRING) && v->len)
            return error_set(err, ERROR_UNSUPPORTED, "model.%s \"%.*s\"", affixes[i],
                             (int)(v->len < 64 ? v->len : 64), v->text);
    }
    return true;
}

static bool read_bpe(struct tokenizer_file *f, const struct json_tree_value *root,
                     const struct json_tree_value *model, struct error *err)
{
    if (!check_bpe(model, err))
        return false;
    f->has_fallback = is_true(json_tree_member(model, "byte_fallback"));
    f->fuses_unknown = is_true(json_tree_member(model, "fuse_unk"));
    f->ignores_merges = is_true(json_tree_member(model, "ignore_merges"));
    f->closes_gaps = true;
    if (!read_tokens(f, root, json_tree_member(model, "vocab"), err) ||
        !read_merges(f, json_tree_member(model, "merges"), err))
        return false;
    f->unknown = find_token(f, json_tree_member(model, "unk_token"));
    return true;
}

/* ---- Unigram ---- */

static bool read_unigram(struct tokenizer_file *f, const struct json_tree_value *root,
                         const struct json_tree_value *model, struct error *err)
{
    uint64_t unknown;
    if (f->kind == TOKENIZER_BYTE_BPE)
        return error_set(err, ERROR_UNSUPPORTED, "the model \"Unigram\" over \"ByteLevel\"");
    f->kind = TOKENIZER_UNIGRAM;
    f->has_fallback = is_true(json_tree_member(model, "byte_fallback"));
    if (!read_tokens(f, root, json_tree_member(model, "vocab"), err))
        return false;
    if (json_tree_uint(json_tree_member(model, "unk_id"), &unknown) && unknown < f->n)
        f->unknown = (int32_t)unknown;
    return true;
}

static bool read_model(struct tokenizer_file *f, const struct json_tree_value *root,
                       struct error *err)
{
    const struct json_tree_value *model = json_tree_member(root, "model");
    const struct json_tree_value *type = json_tree_member(model, "type");
    if (!json_tree_is(model, JSON_TREE_OBJECT))
        return error_set(err, ERROR_FORMAT, "it has no model");
    if (json_tree_equals(type, "BPE") || (!type && json_tree_member(model, "merges")))
        return read_bpe(f, root, model, err);
    if (json_tree_equals(type, "Unigram"))
        return read_unigram(f, root, model, err);
    bool named = json_tree_is(type, JSON_TREE_STRING);
    return error_set(err, ERROR_UNSUPPORTED, "the model \"%.*s\" is not known here",
                     named ? (int)(type->len < 64 ? type->len : 64) : 1, named ? type->text : "?");
}

/* ---- how texts begin and end ---- */

/* "eos_token": a string, or an object with its "content". */
static int32_t find_named(const struct tokenizer_file *f, const struct weights *w, const char *path)
{
    const struct json_tree_value *v = weights_config(w, path);
    if (json_tree_is(v, JSON_TREE_OBJECT))
        v = json_tree_member(v, "content");
    return find_token(f, v);
}

/* An id, or a list of them. Returns the first, or -1. */
static int32_t read_ids(struct tokenizer_file *f, const struct weights *w, const char *path,
                        bool are_ends)
{
    const struct json_tree_value *v = weights_config(w, path);
    bool is_list = json_tree_is(v, JSON_TREE_ARRAY);
    size_t n = is_list ? v->n_items : v != NULL;
    int32_t first = -1;
    for (size_t i = 0; i < n && i < TOKENIZER_MAX_ENDS; i++) {
        uint64_t id;
        if (!json_tree_uint(is_list ? json_tree_item(v, i) : v, &id) || id >= f->n)
            continue;
        first = first < 0 ? (int32_t)id : first;
        if (are_ends)
            tokenizer_file_add_end(f, (int32_t)id);
    }
    return first;
}

void tokenizer_json_ends(struct tokenizer_file *f, const struct weights *w)
{
    static const char *const eos[] = {"generation.eos_token_id", "eos_token_id",
                                      "text_config.eos_token_id"};
    static const char *const bos[] = {"generation.bos_token_id", "bos_token_id",
                                      "text_config.bos_token_id"};
    struct weights_string config;
    bool has_names = weights_text(w, "tokenizer_config.json", &config);
    f->eos = find_named(f, w, "tokenizer.eos_token");
    f->bos = find_named(f, w, "tokenizer.bos_token");
    for (size_t i = 0; i < sizeof eos / sizeof *eos; i++) {
        int32_t end = read_ids(f, w, eos[i], true), begin = read_ids(f, w, bos[i], false);
        f->eos = f->eos < 0 ? end : f->eos;
        f->bos = f->bos < 0 && !has_names ? begin : f->bos;
    }
}

static bool read_parts(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    const struct json_tree_value *root = f->json.values;
    if (!tokenizer_json_normalizer(f, json_tree_member(root, "normalizer"), err) ||
        !tokenizer_json_pre_tokenizer(f, json_tree_member(root, "pre_tokenizer"), err) ||
        !tokenizer_json_decoder(f, json_tree_member(root, "decoder"), err) ||
        !read_model(f, root, err))
        return false;
    tokenizer_json_ends(f, w);
    if (!tokenizer_json_post_processor(f, json_tree_member(root, "post_processor"), err))
        return false;
    weights_config_bool(w, "tokenizer.add_bos_token", &f->add_bos);
    return true;
}

bool tokenizer_file_read_json(struct tokenizer_file *f, const struct weights *w, struct error *err)
{
    struct weights_string text;
    arena_init(&f->strings, SIZE_MAX / 4);
    f->unknown = -1;
    if (weights_text(w, "tokenizer.json", &text) &&
        json_tree_read(&f->json, text.data, text.len, MAX_VALUES, err) && read_parts(f, w, err))
        return true;
    return error_prefix(err, "tokenizer.json");
}
