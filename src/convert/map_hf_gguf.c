/* A folder to GGUF: names and rows as llama.cpp has them (github.com/ggml-org/llama.cpp,
 * conversion/), config.json as keys, the tokenizer as metadata. */
#include "convert/facts.h"
#include "convert/gguf_writer.h"
#include "convert/map.h"
#include "convert/names.h"
#include "convert/vocabulary.h"
#include "weights/llama3_rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct hf {
    struct plan *p;
    const struct weights *w;
    const struct names_architecture *a;
    struct hyper hyper;
    struct gguf_writer g;
    struct error *err;
};

/* ---- metadata ---- */

struct hf_key {
    char text[96];
};

static struct hf_key hf_key(const struct hf *h, const char *key)
{
    struct hf_key out;
    snprintf(out.text, sizeof out.text, "%s.%s", h->a->gguf, key);
    return out;
}

static void put_uint(struct hf *h, const char *key, uint64_t value)
{
    gguf_writer_uint(&h->g, hf_key(h, key).text, (uint32_t)value);
}

static void put_float(struct hf *h, const char *key, float value)
{
    gguf_writer_float(&h->g, hf_key(h, key).text, value);
}

static void put_known(struct hf *h)
{
    for (size_t i = 0; i < FACTS_N_ROWS; i++) {
        const enum hyper_key key = facts_rows[i].key;
        uint64_t n;
        float x;
        if (facts_rows[i].is_float && hyper_float(&h->hyper, key, &x))
            put_float(h, hyper_gguf_key(key), x);
        else if (!facts_rows[i].is_float && hyper_uint(&h->hyper, key, &n) && n <= UINT32_MAX)
            put_uint(h, hyper_gguf_key(key), n);
    }
}

static bool put_heads(struct hf *h)
{
    const struct target_model *m = &h->p->model;
    const uint32_t n_embd = facts_number(&h->hyper, HYPER_N_EMBD);
    const uint32_t own_dim = facts_number(&h->hyper, HYPER_HEAD_DIM);
    const uint32_t window = facts_number(&h->hyper, HYPER_WINDOW);
    bool uses_window = true;
    float share = 1;
    if (!n_embd || !m->n_heads || !m->n_layers)
        return error_set(h->err, ERROR_FORMAT,
                         "config.json lacks hidden_size, num_attention_heads or "
                         "num_hidden_layers");
    put_uint(h, "attention.head_count_kv", m->n_kv_heads ? m->n_kv_heads : m->n_heads);
    if (own_dim) {
        put_uint(h, "attention.key_length", own_dim);
        put_uint(h, "attention.value_length", own_dim);
    }
    hyper_float(&h->hyper, HYPER_ROPE_SHARE, &share);
    put_uint(h, "rope.dimension_count",
             (uint64_t)(share * (float)(own_dim ? own_dim : n_embd / m->n_heads)));
    hyper_bool(&h->hyper, HYPER_WINDOW_USED, &uses_window);
    if (uses_window && window)
        put_uint(h, "attention.sliding_window", window);
    return true;
}

/* ---- RoPE ---- */

/* A tensor of values that config.json has as a list. */
static bool add_factors(struct hf *h, enum hyper_key list, const char *tensor)
{
    const struct hyper_name name = hyper_name(&h->hyper, list);
    const size_t n = hyper_n_items(&h->hyper, list);
    float *values = arena_array(&h->p->arena, n + 1, sizeof *values);
    struct plan_tensor *t = plan_add(h->p, tensor, tensor, h->err);
    if (!t || !values)
        return t ? error_set(h->err, ERROR_NO_MEMORY, "out of memory") : false;
    for (size_t i = 0; i < n; i++)
        if (!hyper_item_float(&h->hyper, list, i, &values[i]))
            return error_set(h->err, ERROR_FORMAT, "config.json: %s is no list of numbers",
                             name.text);
    t->type = QUANT_F32;
    return n ? plan_take_values(h->p, t, values, n, h->err)
             : error_set(h->err, ERROR_FORMAT, "config.json lacks %s", name.text);
}

static bool put_long_rope(struct hf *h)
{
    const uint32_t n_ctx = facts_number(&h->hyper, HYPER_N_CTX);
    const uint32_t n_original = facts_number(&h->hyper, HYPER_ROPE_N_CTX);
    float factor = 0;
    if (!n_ctx || n_original < 2)
        return error_set(h->err, ERROR_FORMAT,
                         "config.json lacks original_max_position_embeddings");
    put_uint(h, "rope.scaling.original_context_length", n_original);
    if (!hyper_float(&h->hyper, HYPER_ROPE_MAGNITUDE, &factor)) {
        const float scale = (float)n_ctx / (float)n_original;
        factor = scale <= 1 ? 1 : sqrtf(1 + logf(scale) / logf((float)n_original));
    }
    put_float(h, "rope.scaling.attn_factor", factor);
    return add_factors(h, HYPER_ROPE_SHORT, "rope_factors_short.weight") &&
           add_factors(h, HYPER_ROPE_LONG, "rope_factors_long.weight");
}

static bool add_llama3(struct hf *h, float base)
{
    struct llama3_rope rope = {.factor = 8, .low = 1, .high = 4, .n_original = 8192};
    hyper_float(&h->hyper, HYPER_ROPE_FACTOR, &rope.factor);
    hyper_float(&h->hyper, HYPER_ROPE_LOW, &rope.low);
    hyper_float(&h->hyper, HYPER_ROPE_HIGH, &rope.high);
    hyper_float(&h->hyper, HYPER_ROPE_N_CTX, &rope.n_original);
    uint32_t head_dim = facts_number(&h->hyper, HYPER_HEAD_DIM);
    if (!head_dim)
        head_dim = facts_number(&h->hyper, HYPER_N_EMBD) / h->p->model.n_heads;
    const unsigned n = head_dim / 2;
    float *values = arena_array(&h->p->arena, (size_t)n + 1, sizeof *values);
    struct plan_tensor *t = plan_add(h->p, "rope_freqs.weight", "rope_freqs.weight", h->err);
    if (!t || !values || !llama3_rope_is_sound(&rope))
        return t && values ? error_set(h->err, ERROR_FORMAT, "config.json: RoPE's factors")
                           : error_set(h->err, ERROR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < n; i++)
        values[i] = llama3_rope_divisor(&rope, base, i, n);
    t->type = QUANT_F32;
    return plan_take_values(h->p, t, values, n, h->err);
}

/* Linear scaling and YaRN. */
static bool put_scaling(struct hf *h, const char *type)
{
    float factor = 1;
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return error_set(h->err, ERROR_UNSUPPORTED,
                         "config.json: RoPE of type %s cannot be said in GGUF by this build",
                         type);
    gguf_writer_string(&h->g, hf_key(h, "rope.scaling.type").text, type, strlen(type));
    hyper_float(&h->hyper, HYPER_ROPE_FACTOR, &factor);
    put_float(h, "rope.scaling.factor", factor);
    if (hyper_float(&h->hyper, HYPER_ROPE_N_CTX, &factor))
        put_uint(h, "rope.scaling.original_context_length", (uint64_t)factor);
    return true;
}

static bool put_rope(struct hf *h)
{
    struct weights_string way = {"", 0};
    char type[33];
    float base = 10000;
    hyper_string(&h->hyper, HYPER_ROPE_SCALING, &way);
    hyper_float(&h->hyper, HYPER_ROPE_BASE, &base);
    put_float(h, "rope.freq_base", base);
    snprintf(type, sizeof type, "%.*s", (int)(way.len < 32 ? way.len : 32), way.data);
    if (!*type || !strcmp(type, "default"))
        return true;
    if (!strcmp(type, "longrope") || !strcmp(type, "su"))
        return put_long_rope(h);
    return !strcmp(type, "llama3") ? add_llama3(h, base) : put_scaling(h, type);
}

/* ---- tensors ---- */

static bool add_tensor(struct hf *h, const struct weights_tensor *input)
{
    int expert;
    struct plan *p = h->p;
    const struct names_text name = names_to_gguf(h->a, input->name, &expert);
    if (map_is_unwanted(p, input) || expert > 0)
        return true;
    if (!name.text[0])
        return error_set(h->err, ERROR_UNSUPPORTED, "%s has no tensor %.72s that this build knows",
                         h->a->folder, input->name);
    struct plan_tensor *t = plan_add(p, name.text, name.text, h->err);
    if (!t || !map_take_folder_tensor(p, t, input, expert, h->err))
        return false;
    const struct target_tensor facts = {t->name, t->n_dims,
                                        {t->shape[0], t->shape[1], t->shape[2], t->shape[3]}};
    t->type = target_gguf_type(p->target, &p->model, &facts);
    if (h->a->norms_add != 0 && map_is_vector(t) && strstr(t->name, "_norm."))
        t->add = h->a->norms_add;
    return map_order(p, h->a, PLAN_TO_TURNS, t, h->err);
}

static bool put_all(struct hf *h)
{
    const struct plan *p = h->p;
    size_t n_rows = 0;
    gguf_writer_string(&h->g, "general.architecture", h->a->gguf, strlen(h->a->gguf));
    map_put_made(&h->g, p);
    put_known(h);
    if (!put_heads(h) || !put_rope(h))
        return false;
    for (size_t i = 0; i < weights_n_tensors(h->w); i++)
        if (!add_tensor(h, weights_tensor_at(h->w, i)))
            return false;
    for (size_t i = 0; i < p->n_tensors; i++)
        if (!strcmp(p->tensors[i].name, "token_embd.weight"))
            n_rows = (size_t)p->tensors[i].shape[1];
    put_uint(h, "vocab_size", n_rows);
    return vocabulary_put(&h->g, h->w, n_rows, h->err) && gguf_writer_finish(&h->g, h->p, h->err);
}

bool map_folder_to_gguf(struct plan *p, struct error *err)
{
    struct hf h = {.p = p, .w = p->w, .err = err};
    h.a = map_folder_architecture(p->w, err);
    if (!h.a)
        return false;
    h.hyper = (struct hyper){p->w, h.a->gguf, NULL};
    gguf_writer_init(&h.g);
    bool ok = put_all(&h);
    gguf_writer_deinit(&h.g);
    return ok;
}
