/* See show_facts.h. */
#include "cli/show_facts.h"

#include "cli/model_name.h"
#include "cli/recommended.h"
#include "weights/hyper.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KV_F16_BYTES = 2 };

struct weights_string show_facts_text(const struct weights *w, const char *key)
{
    struct weights_string s = {0};
    weights_string(w, key, &s);
    return s;
}

const char *show_facts_kind_name(enum weights_kind kind)
{
    static const char *const names[] = {
        [WEIGHTS_UINT] = "unsigned integers", [WEIGHTS_INT] = "integers",
        [WEIGHTS_FLOAT] = "floats",           [WEIGHTS_STRING] = "strings",
        [WEIGHTS_ARRAY] = "arrays",           [WEIGHTS_BOOL] = "bools",
    };
    return names[kind];
}

/* ---- types, and which tensors have them ---- */

/* "model.layers.0.self_attn.q_proj.weight" is "q_proj" of layer 0; -1: of none. */
static long kind_layer(const char *name)
{
    for (const char *at = name; (at = strchr(at, '.')); at++)
        if (isdigit((unsigned char)at[1])) {
            char *end;
            long layer = strtol(at + 1, &end, 10);
            return *end == '.' && layer < SHOW_MAX_LAYERS ? layer : -1;
        }
    return -1;
}

/* The last part of the name without ".weight"; a bias says so. */
static void kind_name(char *out, size_t size, const char *name)
{
    static const char *const ends[] = {".weight", ".bias"};
    size_t end = strlen(name);
    bool is_bias = false;
    for (size_t i = 0; i < 2; i++) {
        const size_t n = strlen(ends[i]);
        if (end > n && !memcmp(name + end - n, ends[i], n)) {
            end -= n;
            is_bias = i;
            break;
        }
    }
    size_t begin = end;
    while (begin && name[begin - 1] != '.')
        begin--;
    snprintf(out, size, "%.*s%s", (int)(end - begin), name + begin, is_bias ? " bias" : "");
}

static void kind_count(struct show_facts *f, size_t type, const char *name)
{
    char kind[sizeof f->kinds->name];
    const long layer = kind_layer(name);
    size_t i = 0;
    kind_name(kind, sizeof kind, name);
    while (i < f->n_kinds && (f->kinds[i].type != type || strcmp(f->kinds[i].name, kind) != 0))
        i++;
    if (i == SHOW_MAX_KINDS)
        return;
    if (i == f->n_kinds) {
        f->kinds[f->n_kinds] = (struct show_kind){.type = type};
        snprintf(f->kinds[f->n_kinds++].name, sizeof kind, "%s", kind);
    }
    if (layer >= 0) {
        const uint64_t bit = (uint64_t)1 << (layer % 64);
        f->kinds[i].n_layers += !(f->kinds[i].layers[layer / 64] & bit);
        f->kinds[i].layers[layer / 64] |= bit;
    }
}

static void show_count_type(struct show_facts *f, const struct weights_tensor *t)
{
    const char *name = t->type_name;
    size_t i = 0;
    while (i < f->n_types && (strcmp(f->types[i].name, name) || f->types[i].group != t->group))
        i++;
    if (i == SHOW_MAX_TYPES)
        return;
    if (i == f->n_types)
        f->types[f->n_types++] = (struct show_type){.name = name, .group = t->group};
    f->types[i].n_tensors++;
    f->types[i].n_bytes += t->n_bytes;
    f->types[i].n_missing += !t->data && t->n_bytes;
    kind_count(f, i, t->name);
}

uint64_t show_facts_missing(const struct show_facts *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n_types; i++)
        n += f->types[i].n_missing;
    return n;
}

/* Most bytes first; kinds follow their types. */
static void show_sort_types(struct show_facts *f)
{
    size_t order[SHOW_MAX_TYPES], place[SHOW_MAX_TYPES];
    struct show_type sorted[SHOW_MAX_TYPES];
    for (size_t i = 0; i < f->n_types; i++) {
        size_t k = i;
        for (; k && f->types[order[k - 1]].n_bytes < f->types[i].n_bytes; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < f->n_types; i++) {
        sorted[i] = f->types[order[i]];
        place[order[i]] = i;
    }
    memcpy(f->types, sorted, f->n_types * sizeof *sorted);
    for (size_t i = 0; i < f->n_kinds; i++)
        f->kinds[i].type = place[f->kinds[i].type];
}

/* "0-3, 8 and 28-31". */
static void kind_layers(const struct show_kind *kind, struct buf *out)
{
    bool is_first = true;
    for (size_t i = 0; i < SHOW_MAX_LAYERS;) {
        size_t end = i;
        while (end < SHOW_MAX_LAYERS && kind->layers[end / 64] >> (end % 64) & 1)
            end++;
        if (end == i) {
            i++;
            continue;
        }
        buf_printf(out, end - i > 1 ? "%s%zu-%zu" : "%s%zu", is_first ? "" : ",", i, end - 1);
        is_first = false;
        i = end;
    }
}

void show_facts_kinds(const struct show_facts *f, size_t type, struct buf *out)
{
    for (size_t i = 0; i < f->n_kinds; i++) {
        const struct show_kind *kind = &f->kinds[i];
        size_t n_all = 0; /* layers that have such a tensor, of any type */
        if (kind->type != type)
            continue;
        for (size_t k = 0; k < f->n_kinds; k++)
            if (!strcmp(f->kinds[k].name, kind->name))
                n_all += f->kinds[k].n_layers;
        buf_printf(out, "%s%s", out->len ? ", " : "", kind->name);
        if (kind->n_layers < n_all) {
            buf_printf(out, " of layer%s ", kind->n_layers == 1 ? "" : "s");
            kind_layers(kind, out);
        }
    }
}

/* ---- the network ---- */

/* What can be said of an architecture that this build does not compute. */
static void show_foreign(struct show_facts *f)
{
    f->info = (struct model_info){0};
    for (size_t i = 0; i < weights_n_tensors(f->w); i++) {
        const uint64_t *shape = weights_tensor_at(f->w, i)->shape;
        f->info.n_params += shape[0] * shape[1] * shape[2] * shape[3];
    }
}

/* Hyper-parameters that a file may have, whatever its architecture. */
static void show_gather_hyper(struct show_facts *f)
{
    char architecture[64];
    uint64_t n_ctx = 0;
    snprintf(architecture, sizeof architecture, "%.*s",
             (int)(f->architecture.len < 63 ? f->architecture.len : 63),
             f->architecture.len ? f->architecture.data : "");
    const struct hyper h = {f->w, architecture};
    hyper_uint(&h, HYPER_WINDOW, &f->window);
    hyper_uint(&h, HYPER_N_EXPERTS, &f->n_experts);
    hyper_uint(&h, HYPER_N_EXPERTS_USED, &f->n_experts_used);
    hyper_uint(&h, HYPER_ROPE_DIMS, &f->positions.n_dims);
    hyper_uint(&h, HYPER_ROPE_N_CTX, &f->positions.n_original);
    hyper_float(&h, HYPER_ROPE_BASE, &f->positions.base);
    hyper_float(&h, HYPER_ROPE_FACTOR, &f->positions.factor);
    hyper_string(&h, HYPER_ROPE_SCALING, &f->positions.scaling);
    if (f->runs)
        return;
    if (!hyper_uint(&h, HYPER_N_CTX, &n_ctx) &&
        !weights_config_uint(f->w, "max_position_embeddings", &n_ctx))
        weights_config_uint(f->w, "text_config.max_position_embeddings", &n_ctx);
    f->info.n_ctx_train = n_ctx <= UINT32_MAX ? (uint32_t)n_ctx : 0;
}

static void show_gather_network(struct show_facts *f)
{
    f->runs = model_read_info(f->w, &f->info, &f->why_not);
    if (!f->runs)
        show_foreign(f);
    show_gather_hyper(f);
    if (f->runs)
        f->kv_token_bytes =
            (uint64_t)f->info.n_layers * f->info.n_kv_heads * f->info.head_dim * 2 * KV_F16_BYTES;
}

/* ---- words ---- */

const struct dialog_format *show_facts_format(const struct show_facts *f)
{
    return f->has_prompt ? &f->prompt.setup.format : NULL;
}

bool show_facts_thinks(const struct show_facts *f)
{
    static const char *const words[] = {"reasoning_content", "<think", "thinking", "[THINK]",
                                        "<|channel"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (f->source.len && memmem(f->source.data, f->source.len, words[i], strlen(words[i])))
            return true;
    return false;
}

const char *show_facts_variable(size_t i)
{
    static const char *const names[] = {"enable_thinking",
                                        "thinking",
                                        "thinking_mode",
                                        "thinking_budget",
                                        "reasoning_effort",
                                        "reasoning_mode",
                                        "clear_thinking",
                                        "preserve_thinking",
                                        "builtin_tools",
                                        "model_identity",
                                        "truncate_history_thinking",
                                        "keep_past_thinking"};
    return i < sizeof names / sizeof *names ? names[i] : NULL;
}

static void show_gather_tokenizer(struct show_facts *f)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
    uint64_t n = 0;
    struct weights_string text;
    f->vocabulary = show_facts_text(f->w, "tokenizer.ggml.model");
    f->pre_tokenizer = show_facts_text(f->w, "tokenizer.ggml.pre");
    f->n_vocab = weights_array_len(f->w, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < sizeof files / sizeof *files && !f->vocabulary_file; i++)
        f->vocabulary_file = weights_text(f->w, files[i], &text) ? files[i] : NULL;
    f->tokenizer = tokenizer_create(f->w, &f->no_tokenizer);
    if (f->tokenizer)
        f->n_vocab = tokenizer_n_vocab(f->tokenizer);
    else if (weights_config_uint(f->w, "vocab_size", &n) ||
             weights_config_uint(f->w, "text_config.vocab_size", &n))
        f->n_vocab = (size_t)n;
}

static bool show_gather_template(struct show_facts *f)
{
    struct error err;
    if (!recommended_template(f->w, &f->source, &f->source_from, &f->no_template)) {
        buf_clear(&f->source);
        return f->no_template.code != ERROR_NO_MEMORY;
    }
    if (!f->source.len)
        return true;
    f->chat_template = chat_template_create(f->source.data, f->source.len, &f->no_template);
    f->has_prompt = f->chat_template && f->tokenizer &&
                    prompt_init(&f->prompt, f->tokenizer, f->chat_template, &dialects_known, &err);
    return true;
}

bool show_facts_gather(struct show_facts *f, const char *path, const struct weights *w,
                       const struct error *cut, struct error *err)
{
    *f = (struct show_facts){.path = path, .w = w, .cut = *cut};
    buf_init(&f->source, RECOMMENDED_MAX_TEMPLATE);
    f->kinds = calloc(SHOW_MAX_KINDS, sizeof *f->kinds);
    if (!f->kinds)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    f->is_folder = weights_format(w) == WEIGHTS_SAFETENSORS;
    f->name = show_facts_text(w, "general.name");
    if (f->is_folder) {
        model_name(f->folder_name, sizeof f->folder_name, path, w);
        f->name = (struct weights_string){f->folder_name, strlen(f->folder_name)};
    }
    f->architecture = show_facts_text(w, "general.architecture");
    if (f->is_folder)
        weights_config_string(w, "model_type", &f->architecture);
    f->known = store_model_of_file(path, weights_file_bytes(w));
    show_gather_network(f);
    for (size_t i = 0; i < weights_n_tensors(w); i++)
        show_count_type(f, weights_tensor_at(w, i));
    show_sort_types(f);
    show_gather_tokenizer(f);
    f->sampling = (struct engine_sampling){
        .temperature = -1, .top_p = -1, .min_p = -1, .repeat_penalty = -1, .top_k = UINT32_MAX};
    recommended_sampling(w, &f->sampling);
    return show_gather_template(f) || error_set(err, ERROR_NO_MEMORY, "out of memory");
}

void show_facts_deinit(struct show_facts *f)
{
    if (f->has_prompt)
        prompt_deinit(&f->prompt);
    chat_template_destroy(f->chat_template);
    tokenizer_destroy(f->tokenizer);
    buf_deinit(&f->source);
    free(f->kinds);
}
