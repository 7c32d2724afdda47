/* See vocabulary.h. The forms of tokenizer.json are those of github.com/huggingface/tokenizers. */
#include "convert/vocabulary.h"

#include "base/json_tree.h"
#include "convert/pre_tokenizers.h"
#include "weights/gguf_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCABULARY_MAX_TOKENS = 1 << 22, VOCABULARY_MAX_VALUES = 1 << 24 };

struct numbered_text {
    struct weights_string text;
    uint32_t id;
};

struct vocabulary {
    struct gguf_writer *g;
    const struct weights *w;
    struct json_tree tree;
    const struct json_tree_value *model;
    struct weights_string *tokens; /* [n] */
    int32_t *types;                /* [n] */
    float *scores;                 /* [n] */
    struct numbered_text *sorted;  /* [n_sorted] by text */
    size_t n, n_sorted;
    struct arena names; /* of tokens that only fill */
    bool is_spm;
    struct error *err;
};

static bool vocabulary_no_memory(struct vocabulary *v)
{
    return error_set(v->err, ERROR_NO_MEMORY, "out of memory for the vocabulary");
}

/* ---- tokens ---- */

static int sorted_order(const void *a, const void *b)
{
    const struct numbered_text *x = a, *y = b;
    const size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    const int order = n ? memcmp(x->text.data, y->text.data, n) : 0;
    return order ? order : (x->text.len > y->text.len) - (x->text.len < y->text.len);
}

/* The number of a token by its text, or -1. */
static int64_t token_of(const struct vocabulary *v, const char *text, size_t len)
{
    const struct numbered_text key = {{text, len}, 0};
    const struct numbered_text *found =
        bsearch(&key, v->sorted, v->n_sorted, sizeof *v->sorted, sorted_order);
    return found ? (int64_t)found->id : -1;
}

static bool set_token(struct vocabulary *v, uint64_t id, const struct json_tree_value *text,
                      int32_t type)
{
    if (id >= v->n)
        return error_set(v->err, ERROR_FORMAT,
                         "tokenizer.json: token %" PRIu64 " is beyond the model's %zu", id, v->n);
    v->tokens[id] = (struct weights_string){text->text, text->len};
    v->types[id] = type;
    return true;
}

static bool is_byte(const struct json_tree_value *text)
{
    return text->len == 6 && !memcmp(text->text, "<0x", 3) && text->text[5] == '>';
}

static bool read_vocabulary(struct vocabulary *v)
{
    const struct json_tree_value *all = json_tree_member(v->model, "vocab");
    if (!json_tree_is(all, JSON_TREE_OBJECT))
        return error_set(v->err, ERROR_FORMAT, "tokenizer.json: model.vocab is no object");
    const struct json_tree_value *text = json_tree_first(all);
    for (uint32_t i = 0; i < all->n_items; i++) {
        const struct json_tree_value *id = json_tree_after(text);
        uint64_t number;
        if (!json_tree_uint(id, &number))
            return error_set(v->err, ERROR_FORMAT, "tokenizer.json: a token's number is none");
        const int32_t type =
            v->is_spm && is_byte(text) ? GGUF_TOKEN_BYTE : GGUF_TOKEN_NORMAL;
        if (!set_token(v, number, text, type))
            return false;
        text = json_tree_after(id);
    }
    return true;
}

static bool read_added(struct vocabulary *v)
{
    const struct json_tree_value *all = json_tree_member(v->tree.values, "added_tokens");
    const uint32_t n = json_tree_is(all, JSON_TREE_ARRAY) ? all->n_items : 0;
    const struct json_tree_value *item = n ? json_tree_first(all) : NULL;
    for (uint32_t i = 0; i < n; i++, item = json_tree_after(item)) {
        const struct json_tree_value *text = json_tree_member(item, "content");
        const struct json_tree_value *special = json_tree_member(item, "special");
        const struct json_tree_value *unknown = json_tree_member(v->model, "unk_token");
        uint64_t id;
        if (!json_tree_uint(json_tree_member(item, "id"), &id) ||
            !json_tree_is(text, JSON_TREE_STRING))
            return error_set(v->err, ERROR_FORMAT, "tokenizer.json: added token %u is none", i);
        const bool is_special = json_tree_is(special, JSON_TREE_BOOL) && special->is_true;
        const bool is_unknown = v->is_spm && json_tree_is(unknown, JSON_TREE_STRING) &&
                                unknown->len == text->len &&
                                !memcmp(unknown->text, text->text, text->len);
        if (!set_token(v, id, text,
                       is_unknown   ? GGUF_TOKEN_UNKNOWN
                       : is_special ? GGUF_TOKEN_CONTROL
                                    : GGUF_TOKEN_USER_DEFINED))
            return false;
    }
    return true;
}

/* Rows of the embedding that no token has, and the list by text. */
static bool fill_and_sort(struct vocabulary *v)
{
    for (size_t i = 0; i < v->n; i++) {
        char name[32];
        if (v->tokens[i].data)
            continue;
        const int n = snprintf(name, sizeof name, "[PAD%zu]", i);
        const char *copy = arena_copy(&v->names, name, (size_t)n);
        if (!copy)
            return vocabulary_no_memory(v);
        v->tokens[i] = (struct weights_string){copy, (size_t)n};
        v->types[i] = GGUF_TOKEN_UNUSED;
    }
    for (size_t i = 0; i < v->n; i++)
        v->sorted[i] = (struct numbered_text){v->tokens[i], (uint32_t)i};
    v->n_sorted = v->n;
    qsort(v->sorted, v->n_sorted, sizeof *v->sorted, sorted_order);
    return true;
}

/* ---- merges ---- */

/* The two halves of a merge, as ["a", "b"] or as "a b". */
static bool merge_halves(const struct json_tree_value *merge, struct weights_string half[2])
{
    if (json_tree_is(merge, JSON_TREE_ARRAY) && merge->n_items == 2) {
        const struct json_tree_value *a = json_tree_item(merge, 0), *b = json_tree_item(merge, 1);
        half[0] = (struct weights_string){a->text, a->len};
        half[1] = (struct weights_string){b->text, b->len};
        return a->kind == JSON_TREE_STRING && b->kind == JSON_TREE_STRING;
    }
    if (!json_tree_is(merge, JSON_TREE_STRING))
        return false;
    const char *blank = memchr(merge->text, ' ', merge->len);
    if (!blank || blank == merge->text)
        return false;
    const size_t n = (size_t)(blank - merge->text);
    half[0] = (struct weights_string){merge->text, n};
    half[1] = (struct weights_string){blank + 1, merge->len - n - 1};
    return true;
}

/* GGUF's list of merges, "a b" each. */
static bool put_merges(struct vocabulary *v, const struct json_tree_value *merges)
{
    struct weights_string *all = calloc(merges->n_items + 1, sizeof *all), half[2];
    const struct json_tree_value *item = merges->n_items ? json_tree_first(merges) : NULL;
    bool ok = all ? true : vocabulary_no_memory(v);
    for (uint32_t i = 0; ok && i < merges->n_items; i++, item = json_tree_after(item)) {
        if (!merge_halves(item, half)) {
            ok = error_set(v->err, ERROR_FORMAT, "tokenizer.json: merge %u is none", i);
            break;
        }
        const size_t n = half[0].len + 1 + half[1].len;
        char *text = arena_alloc(&v->names, n + 1);
        if (!text) {
            ok = vocabulary_no_memory(v);
            break;
        }
        memcpy(text, half[0].data, half[0].len);
        text[half[0].len] = ' ';
        memcpy(text + half[0].len + 1, half[1].data, half[1].len);
        all[i] = (struct weights_string){text, n};
    }
    if (ok)
        gguf_writer_strings(v->g, "tokenizer.ggml.merges", all, merges->n_items);
    free(all);
    return ok;
}

/* SentencePiece's scores: the earlier a piece is merged, the better. */
static bool score_merges(struct vocabulary *v, const struct json_tree_value *merges)
{
    const struct json_tree_value *item = merges->n_items ? json_tree_first(merges) : NULL;
    struct weights_string half[2];
    for (size_t i = 0; i < v->n; i++)
        v->scores[i] = v->types[i] == GGUF_TOKEN_NORMAL ? -(float)merges->n_items - 1 : 0;
    for (uint32_t i = 0; i < merges->n_items; i++, item = json_tree_after(item)) {
        char text[512];
        if (!merge_halves(item, half))
            return error_set(v->err, ERROR_FORMAT, "tokenizer.json: merge %u is none", i);
        const size_t n = half[0].len + half[1].len;
        if (n > sizeof text)
            continue;
        memcpy(text, half[0].data, half[0].len);
        memcpy(text + half[0].len, half[1].data, half[1].len);
        const int64_t id = token_of(v, text, n);
        if (id >= 0 && v->scores[id] < -(float)i)
            v->scores[id] = -(float)i;
    }
    gguf_writer_floats(v->g, "tokenizer.ggml.scores", v->scores, v->n);
    return true;
}

/* ---- tokens with a meaning ---- */

/* A token of tokenizer_config.json: a text, or an object with "content". */
static int64_t named_token(const struct vocabulary *v, const char *path)
{
    const struct json_tree_value *value = weights_config(v->w, path);
    if (json_tree_is(value, JSON_TREE_OBJECT))
        value = json_tree_member(value, "content");
    return json_tree_is(value, JSON_TREE_STRING) ? token_of(v, value->text, value->len) : -1;
}

static void put_id(struct vocabulary *v, const char *key, int64_t id)
{
    if (id >= 0)
        gguf_writer_uint(v->g, key, (uint32_t)id);
}

/* An end of an answer that is not the end of a text. */
static int64_t other_end(const struct vocabulary *v, int64_t eos)
{
    uint64_t id;
    for (size_t i = 0; weights_config_array_uint(v->w, "generation.eos_token_id", i, &id); i++)
        if ((int64_t)id != eos && id < v->n)
            return (int64_t)id;
    return -1;
}

/* Whether texts begin with a token: as tokenizer_config.json says, or as the template does that
 * is applied last. */
static bool adds_bos(const struct vocabulary *v)
{
    bool does = false;
    if (weights_config_bool(v->w, "tokenizer.add_bos_token", &does))
        return does;
    const struct json_tree_value *last = json_tree_member(v->tree.values, "post_processor");
    const struct json_tree_value *single = json_tree_member(last, "single");
    return json_tree_is(single, JSON_TREE_ARRAY) && single->n_items &&
           json_tree_member(json_tree_item(single, 0), "SpecialToken");
}

static void put_meanings(struct vocabulary *v)
{
    struct weights_string chat;
    uint64_t id;
    int64_t bos = named_token(v, "tokenizer.bos_token");
    int64_t eos = named_token(v, "tokenizer.eos_token");
    if (bos < 0 && weights_config_uint(v->w, "bos_token_id", &id) && id < v->n)
        bos = (int64_t)id;
    if (eos < 0 && weights_config_uint(v->w, "eos_token_id", &id) && id < v->n)
        eos = (int64_t)id;
    put_id(v, "tokenizer.ggml.bos_token_id", bos);
    put_id(v, "tokenizer.ggml.eos_token_id", eos);
    put_id(v, "tokenizer.ggml.eot_token_id", other_end(v, eos));
    put_id(v, "tokenizer.ggml.unknown_token_id", named_token(v, "tokenizer.unk_token"));
    put_id(v, "tokenizer.ggml.padding_token_id", named_token(v, "tokenizer.pad_token"));
    gguf_writer_bool(v->g, "tokenizer.ggml.add_bos_token", bos >= 0 && adds_bos(v));
    if (weights_text(v->w, "chat_template.jinja", &chat) ||
        weights_config_string(v->w, "tokenizer.chat_template", &chat))
        gguf_writer_string(v->g, "tokenizer.chat_template", chat.data, chat.len);
}

/* ---- all ---- */

/* Whether a blank is put before each text. */
static bool has_prefix(const struct vocabulary *v)
{
    const struct json_tree_value *n = json_tree_member(v->tree.values, "normalizer");
    const struct json_tree_value *list = json_tree_member(n, "normalizers");
    if (json_tree_equals(json_tree_member(n, "type"), "Prepend"))
        return true;
    for (uint32_t i = 0; json_tree_is(list, JSON_TREE_ARRAY) && i < list->n_items; i++)
        if (json_tree_equals(json_tree_member(json_tree_item(list, i), "type"), "Prepend"))
            return true;
    const struct json_tree_value *pre = json_tree_member(v->tree.values, "pre_tokenizer");
    return json_tree_equals(json_tree_member(pre, "type"), "Metaspace") &&
           !json_tree_equals(json_tree_member(pre, "prepend_scheme"), "never");
}

static bool put_kind(struct vocabulary *v, const struct json_tree_value *merges)
{
    const struct pre_tokenizer *pre = NULL;
    if (!v->is_spm &&
        !(pre = pre_tokenizers_match(json_tree_member(v->tree.values, "pre_tokenizer"))))
        return error_set(v->err, ERROR_UNSUPPORTED,
                         "tokenizer.json: GGUF has no name for this pre-tokenizer that the build "
                         "knows");
    const char *model = v->is_spm ? "llama" : "gpt2", *name = v->is_spm ? "default" : pre->name;
    gguf_writer_string(v->g, "tokenizer.ggml.model", model, strlen(model));
    gguf_writer_string(v->g, "tokenizer.ggml.pre", name, strlen(name));
    gguf_writer_strings(v->g, "tokenizer.ggml.tokens", v->tokens, v->n);
    gguf_writer_ints(v->g, "tokenizer.ggml.token_type", v->types, v->n);
    if (v->is_spm)
        gguf_writer_bool(v->g, "tokenizer.ggml.add_space_prefix", has_prefix(v));
    return v->is_spm ? score_merges(v, merges) : put_merges(v, merges);
}

static bool put_all(struct vocabulary *v)
{
    v->model = json_tree_member(v->tree.values, "model");
    const struct json_tree_value *merges = json_tree_member(v->model, "merges");
    const struct json_tree_value *fallback = json_tree_member(v->model, "byte_fallback");
    if (!json_tree_is(merges, JSON_TREE_ARRAY))
        return error_set(v->err, ERROR_UNSUPPORTED,
                         "tokenizer.json: only BPE can be said in GGUF by this build");
    v->is_spm = json_tree_is(fallback, JSON_TREE_BOOL) && fallback->is_true;
    v->tokens = calloc(v->n, sizeof *v->tokens);
    v->types = calloc(v->n, sizeof *v->types);
    v->scores = calloc(v->n, sizeof *v->scores);
    v->sorted = calloc(v->n, sizeof *v->sorted);
    if (!v->tokens || !v->types || !v->scores || !v->sorted)
        return vocabulary_no_memory(v);
    if (!read_vocabulary(v) || !read_added(v) || !fill_and_sort(v) || !put_kind(v, merges))
        return false;
    put_meanings(v);
    return true;
}

bool vocabulary_put(struct gguf_writer *g, const struct weights *w, size_t n_rows,
                    struct error *err)
{
    struct vocabulary v = {.g = g, .w = w, .n = n_rows, .err = err};
    struct weights_string text;
    if (!weights_text(w, "tokenizer.json", &text))
        return error_set(err, ERROR_NOT_FOUND, "the folder has no tokenizer.json");
    if (!n_rows || n_rows > VOCABULARY_MAX_TOKENS)
        return error_set(err, ERROR_FORMAT, "the embedding has %zu rows", n_rows);
    arena_init(&v.names, SIZE_MAX / 4);
    bool ok = json_tree_read(&v.tree, text.data, text.len, VOCABULARY_MAX_VALUES, err);
    if (!ok)
        error_prefix(err, "tokenizer.json");
    ok = ok && put_all(&v);
    json_tree_deinit(&v.tree);
    arena_deinit(&v.names);
    free(v.tokens);
    free(v.types);
    free(v.scores);
    free(v.sorted);
    return ok;
}
