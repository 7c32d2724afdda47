/* What `pensieve show --json` tells: see show_facts.h. */
#include "cli/show_facts.h"

#include "quant/quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum { SHOW_JSON_MAX_KEY = 65536 };

/* Text of the file as a JSON string (bytes that are no UTF-8 become '?'), or null when it is empty.
 */
static json_t *show_json_text(struct weights_string s)
{
    if (!s.len)
        return json_null();
    json_t *text = json_stringn(s.data, s.len);
    if (text)
        return text;
    char *ascii = malloc(s.len);
    if (!ascii)
        return NULL;
    for (size_t i = 0; i < s.len; i++)
        ascii[i] = s.data[i] & 0x80 ? '?' : s.data[i];
    text = json_stringn(ascii, s.len);
    free(ascii);
    return text;
}

static json_t *show_json_uint(uint64_t n)
{
    return n <= INT64_MAX ? json_integer((json_int_t)n) : json_real((double)n);
}

static json_t *show_json_scalar(const struct weights *w, const char *key, enum weights_kind kind)
{
    uint64_t u = 0;
    int64_t i = 0;
    float x = 0;
    bool yes = false;
    switch (kind) {
    case WEIGHTS_UINT:
        weights_uint(w, key, &u);
        return show_json_uint(u);
    case WEIGHTS_INT:
        weights_int(w, key, &i);
        return json_integer(i);
    case WEIGHTS_FLOAT:
        weights_float(w, key, &x);
        return x - x == 0 ? json_real((double)x) : json_null(); /* JSON has no infinity */
    case WEIGHTS_BOOL:
        weights_bool(w, key, &yes);
        return json_boolean(yes);
    default:
        return show_json_text(show_facts_text(w, key));
    }
}

/* Sets a member; what could not be made or kept clears *ok. */
static void show_set(json_t *object, const char *key, json_t *value, bool *ok)
{
    if (json_object_set_new(object, key, value))
        *ok = false;
}

/* An array's length and kind stand for it: a vocabulary is no reading. */
static json_t *show_json_metadata(const struct weights *w)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    struct buf key;
    buf_init(&key, SHOW_JSON_MAX_KEY);
    for (size_t i = 0; i < weights_n_meta(w); i++) {
        struct weights_meta m = weights_meta_at(w, i);
        buf_clear(&key);
        if (!buf_append(&key, m.key.data, m.key.len)) {
            ok = false;
            break;
        }
        json_t *value;
        if (m.kind == WEIGHTS_ARRAY)
            value = json_pack("{s:s, s:o}", "array_of", show_facts_kind_name(m.item_kind), "items",
                              show_json_uint(m.n_items));
        else
            value = show_json_scalar(w, key.data, m.kind);
        show_set(object, key.data, value, &ok);
    }
    buf_deinit(&key);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

/* Text that may be no UTF-8. */
static json_t *show_json_cut(const char *text)
{
    return show_json_text((struct weights_string){text, strlen(text)});
}

static json_t *show_json_types(const struct show_facts *f)
{
    json_t *list = json_array();
    struct buf kinds;
    buf_init(&kinds, 1 << 16);
    for (size_t i = 0; i < f->n_types; i++) {
        buf_clear(&kinds);
        show_facts_kinds(f, i, &kinds);
        json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:o, s:o}", "type", f->types[i].name,
                                              "group", (int)f->types[i].group, "tensors",
                                              show_json_uint(f->types[i].n_tensors), "bytes",
                                              show_json_uint(f->types[i].n_bytes), "kinds",
                                              show_json_cut(kinds.data ? kinds.data : "")));
    }
    buf_deinit(&kinds);
    return list;
}

static json_t *show_json_files(const struct show_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < weights_n_files(f->w); i++) {
        struct weights_file file = weights_file_at(f->w, i);
        json_array_append_new(list, json_pack("{s:o, s:o}", "name", show_json_cut(file.name),
                                              "bytes", show_json_uint(file.size)));
    }
    return list;
}

static json_t *show_json_texts(const struct show_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; weights_text_name(f->w, i); i++)
        json_array_append_new(list, json_string(weights_text_name(f->w, i)));
    return list;
}

static json_t *show_json_catalogue(const struct store_model *known)
{
    if (!known)
        return json_null();
    const struct store_advice *advice = &known->advice;
    if (!known->has_advice)
        return json_pack("{s:s, s:s, s:s}", "name", known->name, "title", known->title, "licence",
                         known->licence);
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i}", "name", known->name, "title",
                     known->title, "licence", known->licence, "temperature",
                     (double)advice->temperature, "top_p", (double)advice->top_p, "top_k",
                     (int)advice->top_k, "repeat_guard", (int)advice->repeat_guard);
}

static json_t *show_json_network(const struct show_facts *f)
{
    const struct model_info *info = &f->info;
    if (!f->runs)
        return json_null();
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "layers", (int)info->n_layers, "width",
                     (int)info->n_embd, "feed_forward", (int)info->n_ff, "heads",
                     (int)info->n_heads, "kv_heads", (int)info->n_kv_heads, "head_dim",
                     (int)info->head_dim);
}

/* A number that is said, else null. */
static json_t *show_json_said(double x, bool is_said)
{
    return is_said ? json_real(x) : json_null();
}

static json_t *show_json_positions(const struct show_facts *f)
{
    const struct show_positions *p = &f->positions;
    return json_pack("{s:o, s:o, s:o, s:o}", "base", show_json_said((double)p->base, p->base > 0),
                     "scaling", show_json_text(p->scaling), "factor",
                     show_json_said((double)p->factor, p->factor > 0), "original_context",
                     show_json_uint(p->n_original));
}

static json_t *show_json_memory(const struct show_facts *f)
{
    const uint64_t n_weights = weights_file_bytes(f->w) + weights_made_bytes(f->w);
    return json_pack("{s:o, s:o, s:o}", "weights", show_json_uint(n_weights), "kv_per_token",
                     show_json_uint(f->kv_token_bytes), "with_whole_context",
                     show_json_uint(n_weights + f->info.n_ctx_train * f->kv_token_bytes));
}

static json_t *show_json_tokens(const struct tokenizer *t)
{
    json_t *ends = json_array();
    for (size_t i = 0; t && i < tokenizer_n_vocab(t); i++)
        if (tokenizer_is_eog(t, (int32_t)i))
            json_array_append_new(ends, json_integer((json_int_t)i));
    return ends;
}

static json_t *show_json_vocabulary(const struct show_facts *f)
{
    const struct tokenizer *t = f->tokenizer;
    return json_pack("{s:o, s:o, s:o, s:s?, s:s?, s:i, s:o}", "tokens", show_json_uint(f->n_vocab),
                     "model", show_json_text(f->vocabulary), "pre_tokenizer",
                     show_json_text(f->pre_tokenizer), "file", f->vocabulary_file, "why_not",
                     t ? NULL : f->no_tokenizer.message, "begins_with", t ? tokenizer_bos(t) : -1,
                     "ends_with", show_json_tokens(t));
}

/* What the template can do; null where that is not known. */
static json_t *show_json_abilities(const struct show_facts *f)
{
    const struct dialog_format *format = show_facts_format(f);
    struct buf repairs;
    if (!format)
        return json_null();
    json_t *variables = json_array();
    for (size_t i = 0; show_facts_variable(i); i++)
        if (chat_template_mentions(f->chat_template, show_facts_variable(i)))
            json_array_append_new(variables, json_string(show_facts_variable(i)));
    buf_init(&repairs, 4096);
    prompt_repairs_note(&f->prompt, &repairs);
    json_t *object = json_pack("{s:b, s:b, s:b, s:b, s:s, s:o, s:s, s:s}", "tools", format->tools,
                               "system", format->system, "system_anywhere", format->mid_system,
                               "thinking", show_facts_thinks(f), "from", f->source_from,
                               "variables", variables, "repairs", repairs.data ? repairs.data : "",
                               "history_breaks", prompt_history_note(&f->prompt));
    buf_deinit(&repairs);
    return object;
}

static json_t *show_json_sampling(const struct engine_sampling *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "temperature",
                     show_json_said((double)s->temperature, s->temperature >= 0), "top_p",
                     show_json_said((double)s->top_p, s->top_p >= 0), "top_k",
                     s->top_k == UINT32_MAX ? json_null() : show_json_uint(s->top_k), "min_p",
                     show_json_said((double)s->min_p, s->min_p >= 0), "repeat_penalty",
                     show_json_said((double)s->repeat_penalty, s->repeat_penalty >= 0));
}

/* null where Python's JSON says more than the standard's (an Infinity). */
static json_t *show_json_config(const struct weights *w)
{
    struct weights_string text = {0};
    weights_text(w, "config.json", &text);
    json_t *config = json_loadb(text.data, text.len, 0, NULL);
    return config ? config : json_null();
}

static void show_json_file(json_t *object, const struct show_facts *f, bool *ok)
{
    const struct weights_string path = {f->path, strlen(f->path)};
    show_set(object, "name", show_json_text(f->name), ok);
    show_set(object, "file", show_json_text(path), ok);
    show_set(object, "file_bytes", show_json_uint(weights_file_bytes(f->w)), ok);
    show_set(object, "format", json_string(f->is_folder ? "safetensors" : "gguf"), ok);
    show_set(object, "files", show_json_files(f), ok);
    show_set(object, "made_bytes", show_json_uint(weights_made_bytes(f->w)), ok);
    if (f->is_folder)
        show_set(object, "beside", show_json_texts(f), ok);
    else
        show_set(object, "gguf_version", show_json_uint(weights_version(f->w)), ok);
    show_set(object, "is_whole", json_boolean(f->cut.code == ERROR_NONE), ok);
    if (f->cut.code != ERROR_NONE) {
        show_set(object, "cut", show_json_cut(f->cut.message), ok);
        show_set(object, "missing_tensors", show_json_uint(show_facts_missing(f)), ok);
    }
}

static void show_json_model(json_t *object, const struct show_facts *f, bool *ok)
{
    show_set(object, "architecture", show_json_text(f->architecture), ok);
    show_set(object, "runs", json_boolean(f->runs), ok);
    if (!f->runs)
        show_set(object, "why_not", show_json_cut(f->why_not.message), ok);
    show_set(object, "parameters", show_json_uint(f->info.n_params), ok);
    show_set(object, "network", show_json_network(f), ok);
    show_set(object, "experts", show_json_uint(f->n_experts), ok);
    show_set(object, "experts_used", show_json_uint(f->n_experts_used), ok);
    show_set(object, "context_length", show_json_uint(f->info.n_ctx_train), ok);
    show_set(object, "window", show_json_uint(f->window), ok);
    show_set(object, "positions", show_json_positions(f), ok);
    show_set(object, "memory", show_json_memory(f), ok);
    show_set(object, "quantization", show_json_types(f), ok);
    show_set(object, "vocabulary", show_json_vocabulary(f), ok);
    show_set(object, "chat_template",
             show_json_text((struct weights_string){f->source.data, f->source.len}), ok);
    show_set(object, "template", show_json_abilities(f), ok);
    show_set(object, "sampling", show_json_sampling(&f->sampling), ok);
    show_set(object, "catalogue", show_json_catalogue(f->known), ok);
}

bool show_json(const struct show_facts *f, bool all)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    show_json_file(object, f, &ok);
    show_json_model(object, f, &ok);
    if (all)
        show_set(object, "metadata",
                 f->is_folder ? show_json_config(f->w) : show_json_metadata(f->w), &ok);
    char *text = ok ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(7) |
                                             (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0))
                    : NULL;
    json_decref(object);
    if (!text)
        return false;
    puts(text);
    free(text);
    return true;
}
