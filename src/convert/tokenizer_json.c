/* See tokenizer_json.h. Every token stands in the model's vocabulary, those that are added, too: so
 * each keeps its number. */
#include "convert/tokenizer_json.h"

#include "convert/json_writer.h"
#include "convert/pre_tokenizers.h"
#include "convert/spm_merges.h"
#include "weights/gguf_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENIZER_MAX_BYTES = 256 << 20, TOKENIZER_MAX_TOKENS = 1 << 22 };

struct vocabulary {
    const struct weights *w;
    struct weights_string *tokens; /* [n] */
    int64_t *types;                /* [n], or NULL */
    size_t n;
    struct buf json;
    struct error *err;
};

static const struct pre_tokenizer *find_pre_tokenizer(const struct vocabulary *v)
{
    struct weights_string name;
    if (!weights_string(v->w, "tokenizer.ggml.pre", &name)) {
        error_set(v->err, ERROR_UNSUPPORTED, "the file does not name its pre-tokenizer");
        return NULL;
    }
    const struct pre_tokenizer *found = pre_tokenizers_find(name.data, name.len);
    if (!found)
        error_set(v->err, ERROR_UNSUPPORTED,
                  "the pre-tokenizer %.*s cannot be written into a tokenizer.json by this build",
                  (int)(name.len < 40 ? name.len : 40), name.data);
    return found;
}

/* ---- parts of both kinds ---- */

static void put_token(struct vocabulary *v, uint64_t id)
{
    static const struct weights_string none = {"", 0};
    const struct weights_string *t = id < v->n ? &v->tokens[id] : &none;
    json_writer_string(&v->json, t->data, t->len);
}

/* Text that is found before all else. */
static void put_added(struct vocabulary *v)
{
    const char *comma = "";
    buf_puts(&v->json, "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n "
                       "\"added_tokens\": [");
    for (size_t i = 0; v->types && i < v->n; i++) {
        if (v->types[i] != GGUF_TOKEN_CONTROL && v->types[i] != GGUF_TOKEN_USER_DEFINED)
            continue;
        buf_printf(&v->json, "%s\n  {\"id\": %zu, \"content\": ", comma, i);
        put_token(v, i);
        buf_printf(&v->json,
                   ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                   "\"normalized\": false, \"special\": %s}",
                   v->types[i] == GGUF_TOKEN_CONTROL ? "true" : "false");
        comma = ",";
    }
    buf_puts(&v->json, "\n ]");
}

static void put_vocabulary(struct vocabulary *v)
{
    buf_puts(&v->json, "\"vocab\": {");
    for (size_t i = 0; i < v->n; i++) {
        buf_puts(&v->json, i ? ",\n  " : "\n  ");
        put_token(v, i);
        buf_printf(&v->json, ": %zu", i);
    }
    buf_puts(&v->json, "\n },\n \"merges\": [");
}

static bool adds(const struct vocabulary *v, const char *key, bool standard)
{
    bool does = standard;
    weights_bool(v->w, key, &does);
    return does;
}

/* The token that begins each text, where the file says that one does. */
static void put_post_processor(struct vocabulary *v, bool standard, const char *otherwise)
{
    uint64_t bos;
    if (!adds(v, "tokenizer.ggml.add_bos_token", standard) ||
        !weights_uint(v->w, "tokenizer.ggml.bos_token_id", &bos) || bos >= v->n) {
        buf_printf(&v->json, ",\n \"post_processor\": %s", otherwise);
        return;
    }
    buf_puts(&v->json, ",\n \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
                       "[{\"SpecialToken\": {\"id\": ");
    put_token(v, bos);
    buf_puts(&v->json, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
                       "\"pair\": [{\"SpecialToken\": {\"id\": ");
    put_token(v, bos);
    buf_puts(&v->json, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
                       "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": {");
    put_token(v, bos);
    buf_puts(&v->json, ": {\"id\": ");
    put_token(v, bos);
    buf_printf(&v->json, ", \"ids\": [%" PRIu64 "], \"tokens\": [", bos);
    put_token(v, bos);
    buf_puts(&v->json, "]}}}");
}

/* ---- byte-level BPE ---- */

static bool put_bpe(struct vocabulary *v)
{
    const struct pre_tokenizer *pre = find_pre_tokenizer(v);
    const size_t n_merges = weights_array_len(v->w, "tokenizer.ggml.merges");
    struct weights_string merge;
    if (!pre)
        return false;
    put_added(v);
    buf_printf(&v->json, ",\n \"normalizer\": %s", pre->is_nfc ? "{\"type\": \"NFC\"}" : "null");
    buf_printf(&v->json, ",\n \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [%s]}",
               pre->json);
    put_post_processor(v, pre->ignores_merges, PRE_TOKENIZERS_BYTES("false"));
    buf_puts(&v->json, ",\n \"decoder\": " PRE_TOKENIZERS_BYTES("false"));
    buf_puts(&v->json, ",\n \"model\": {\"type\": \"BPE\", \"dropout\": null, "
                       "\"unk_token\": null, \"continuing_subword_prefix\": null, "
                       "\"end_of_word_suffix\": null, \"fuse_unk\": false, "
                       "\"byte_fallback\": false, ");
    buf_printf(&v->json, "\"ignore_merges\": %s, ", pre->ignores_merges ? "true" : "false");
    put_vocabulary(v);
    for (size_t i = 0; i < n_merges; i++) {
        if (!weights_array_string(v->w, "tokenizer.ggml.merges", i, &merge))
            return error_set(v->err, ERROR_FORMAT, "tokenizer.ggml.merges are no texts");
        buf_puts(&v->json, i ? ",\n  " : "\n  ");
        json_writer_string(&v->json, merge.data, merge.len);
    }
    buf_puts(&v->json, "\n ]}\n}\n");
    return true;
}

/* ---- SentencePiece's BPE ---- */

static bool put_spm_merges(struct vocabulary *v)
{
    float *scores = malloc(v->n * sizeof *scores);
    size_t n = 0;
    if (!scores)
        return error_set(v->err, ERROR_NO_MEMORY, "out of memory");
    bool ok = true;
    for (size_t i = 0; ok && i < v->n; i++)
        ok = weights_array_float(v->w, "tokenizer.ggml.scores", i, &scores[i]);
    if (!ok) {
        free(scores);
        return error_set(v->err, ERROR_FORMAT, "the file lacks tokenizer.ggml.scores");
    }
    struct spm_merge *merges = spm_merges_make(v->tokens, scores, v->n, &n, v->err);
    for (size_t i = 0; merges && i < n; i++) {
        buf_puts(&v->json, i ? ",\n  [" : "\n  [");
        put_token(v, merges[i].left);
        buf_puts(&v->json, ", ");
        put_token(v, merges[i].right);
        buf_putc(&v->json, ']');
    }
    free(scores);
    free(merges);
    return merges != NULL;
}

/* Blanks are U+2581, one of them before the text unless the file says no; bytes that no piece has
 * are pieces of their own. */
static bool put_spm(struct vocabulary *v)
{
    static const char replace[] =
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xe2\x96\x81\"}";
    const bool has_prefix = adds(v, "tokenizer.ggml.add_space_prefix", true);
    uint64_t unknown = 0;
    weights_uint(v->w, "tokenizer.ggml.unknown_token_id", &unknown);
    put_added(v);
    buf_printf(&v->json, ",\n \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s%s]}",
               has_prefix ? "{\"type\": \"Prepend\", \"prepend\": \"\xe2\x96\x81\"}, " : "",
               replace);
    buf_puts(&v->json, ",\n \"pre_tokenizer\": null");
    put_post_processor(v, true, "null");
    buf_printf(&v->json,
               ",\n \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
               "\"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, {\"type\": "
               "\"ByteFallback\"}, {\"type\": \"Fuse\"}%s]}",
               has_prefix ? ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}"
                          : "");
    buf_puts(&v->json, ",\n \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    put_token(v, unknown);
    buf_puts(&v->json, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
                       "\"fuse_unk\": true, \"byte_fallback\": true, \"ignore_merges\": false, ");
    put_vocabulary(v);
    if (!put_spm_merges(v))
        return false;
    buf_puts(&v->json, "\n ]}\n}\n");
    return true;
}

/* ---- the other files ---- */

static void put_named_token(struct vocabulary *v, const char *member, const char *key)
{
    uint64_t id;
    if (!weights_uint(v->w, key, &id) || id >= v->n)
        return;
    buf_printf(&v->json, ",\n \"%s\": ", member);
    put_token(v, id);
}

static void put_tokenizer_config(struct vocabulary *v)
{
    struct weights_string chat;
    buf_puts(&v->json, "{\n \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n "
                       "\"clean_up_tokenization_spaces\": false");
    put_named_token(v, "bos_token", "tokenizer.ggml.bos_token_id");
    put_named_token(v, "eos_token", "tokenizer.ggml.eos_token_id");
    put_named_token(v, "pad_token", "tokenizer.ggml.padding_token_id");
    put_named_token(v, "unk_token", "tokenizer.ggml.unknown_token_id");
    if (weights_string(v->w, "tokenizer.chat_template", &chat)) {
        buf_puts(&v->json, ",\n \"chat_template\": ");
        json_writer_string(&v->json, chat.data, chat.len);
    }
    buf_puts(&v->json, "\n}\n");
}

static bool add_file(struct vocabulary *v, struct plan *p, const char *name)
{
    bool ok = plan_add_file(p, name, &v->json, v->err) != NULL;
    buf_deinit(&v->json);
    return ok;
}

static bool add_files(struct vocabulary *v, struct plan *p)
{
    struct weights_string model, chat;
    if (!weights_string(v->w, "tokenizer.ggml.model", &model))
        return error_set(v->err, ERROR_FORMAT, "the file lacks tokenizer.ggml.model");
    const bool is_bpe = model.len == 4 && !memcmp(model.data, "gpt2", 4);
    if (!is_bpe && !(model.len == 5 && !memcmp(model.data, "llama", 5)))
        return error_set(v->err, ERROR_UNSUPPORTED,
                         "a vocabulary of the kind %.*s cannot be written into a tokenizer.json "
                         "by this build",
                         (int)(model.len < 40 ? model.len : 40), model.data);
    if (!(is_bpe ? put_bpe(v) : put_spm(v)) || !add_file(v, p, "tokenizer.json"))
        return false;
    put_tokenizer_config(v);
    if (!add_file(v, p, "tokenizer_config.json"))
        return false;
    if (!weights_string(v->w, "tokenizer.chat_template", &chat))
        return true;
    buf_append(&v->json, chat.data, chat.len);
    return add_file(v, p, "chat_template.jinja");
}

static bool read_vocabulary(struct vocabulary *v)
{
    if (v->n > TOKENIZER_MAX_TOKENS)
        return error_set(v->err, ERROR_TOO_LARGE, "more than %d tokens", TOKENIZER_MAX_TOKENS);
    v->tokens = calloc(v->n, sizeof *v->tokens);
    if (weights_array_len(v->w, "tokenizer.ggml.token_type") == v->n)
        v->types = calloc(v->n, sizeof *v->types);
    if (!v->tokens)
        return error_set(v->err, ERROR_NO_MEMORY, "out of memory for the vocabulary");
    if (!weights_array_strings(v->w, "tokenizer.ggml.tokens", v->tokens, v->n))
        return error_set(v->err, ERROR_FORMAT, "tokenizer.ggml.tokens are no texts");
    if (v->types && !weights_array_ints(v->w, "tokenizer.ggml.token_type", v->types, v->n))
        return error_set(v->err, ERROR_FORMAT, "tokenizer.ggml.token_type are no whole numbers");
    return true;
}

bool tokenizer_json_add(struct plan *p, struct error *err)
{
    struct vocabulary v = {.w = p->w, .err = err};
    v.n = weights_array_len(p->w, "tokenizer.ggml.tokens");
    if (!v.n)
        return true;
    buf_init(&v.json, TOKENIZER_MAX_BYTES);
    bool ok = read_vocabulary(&v) && add_files(&v, p);
    buf_deinit(&v.json);
    free(v.tokens);
    free(v.types);
    return ok;
}
