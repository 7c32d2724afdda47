/* A folder to GGUF: names and rows as llama.cpp has them (github.com/ggml-org/llama.cpp,
 * conversion/), config.json as keys, the tokenizer as metadata. */
#include "convert/gguf_writer.h"
#include "convert/map.h"
#include "convert/names.h"
#include "convert/vocabulary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct hf {
    struct plan *p;
    const struct weights *w;
    const struct names_architecture *a;
    struct gguf_writer g;
    struct error *err;
};

/* ---- values of config.json, in text_config where that is ---- */

struct hf_path {
    char text[96];
};

static struct hf_path hf_path(const struct hf *h, const char *path)
{
    struct hf_path out;
    snprintf(out.text, sizeof out.text, "text_config.%s", path);
    if (!weights_config(h->w, out.text))
        snprintf(out.text, sizeof out.text, "%s", path);
    return out;
}

static bool hf_uint(const struct hf *h, const char *path, uint64_t *out)
{
    return weights_config_uint(h->w, hf_path(h, path).text, out) && *out <= UINT32_MAX;
}

static bool hf_float(const struct hf *h, const char *path, float *out)
{
    return weights_config_float(h->w, hf_path(h, path).text, out);
}

/* RoPE's settings: one of their own in transformers 5, two before it. */
static bool hf_rope_float(const struct hf *h, const char *name, float *out)
{
    static const char *const places[] = {"rope_parameters.", "rope_scaling.", ""};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[80];
        snprintf(path, sizeof path, "%s%s", places[i], name);
        if (hf_float(h, path, out))
            return true;
    }
    return false;
}

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
    static const struct {
        const char *folder, *gguf;
        bool is_float;
    } known[] = {
        {"max_position_embeddings", "context_length", false},
        {"hidden_size", "embedding_length", false},
        {"num_hidden_layers", "block_count", false},
        {"intermediate_size", "feed_forward_length", false},
        {"num_attention_heads", "attention.head_count", false},
        {"rms_norm_eps", "attention.layer_norm_rms_epsilon", true},
        {"num_experts", "expert_count", false},
        {"num_experts_per_tok", "expert_used_count", false},
        {"moe_intermediate_size", "expert_feed_forward_length", false},
        {"embedding_multiplier", "embedding_scale", true},
        {"residual_multiplier", "residual_scale", true},
        {"logits_scaling", "logit_scale", true},
        {"attention_multiplier", "attention.scale", true},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint64_t n;
        float x;
        if (known[i].is_float && hf_float(h, known[i].folder, &x))
            put_float(h, known[i].gguf, x);
        else if (!known[i].is_float && hf_uint(h, known[i].folder, &n))
            put_uint(h, known[i].gguf, n);
    }
}

static bool put_heads(struct hf *h)
{
    const struct target_model *m = &h->p->model;
    uint64_t n_embd = 0, head_dim = 0, window = 0;
    bool uses_window = true;
    float share = 1;
    if (!hf_uint(h, "hidden_size", &n_embd) || !n_embd || !m->n_heads || !m->n_layers)
        return error_set(h->err, ERROR_FORMAT,
                         "config.json lacks hidden_size, num_attention_heads or "
                         "num_hidden_layers");
    const bool has_own = hf_uint(h, "head_dim", &head_dim) && head_dim;
    if (!has_own)
        head_dim = n_embd / m->n_heads;
    put_uint(h, "attention.head_count_kv", m->n_kv_heads ? m->n_kv_heads : m->n_heads);
    if (has_own) {
        put_uint(h, "attention.key_length", head_dim);
        put_uint(h, "attention.value_length", head_dim);
    }
    hf_rope_float(h, "partial_rotary_factor", &share);
    put_uint(h, "rope.dimension_count", (uint64_t)(share * (float)head_dim));
    weights_config_bool(h->w, hf_path(h, "use_sliding_window").text, &uses_window);
    if (uses_window && hf_uint(h, "sliding_window", &window) && window)
        put_uint(h, "attention.sliding_window", window);
    return true;
}

/* ---- RoPE ---- */

/* A tensor of values that config.json has as a list. */
static bool add_factors(struct hf *h, const char *list, const char *tensor)
{
    const struct hf_path path = hf_path(h, list);
    const size_t n = weights_config_array_len(h->w, path.text);
    float *values = arena_array(&h->p->arena, n + 1, sizeof *values);
    struct plan_tensor *t = plan_add(h->p, tensor, tensor, h->err);
    if (!t || !values)
        return t ? error_set(h->err, ERROR_NO_MEMORY, "out of memory") : false;
    for (size_t i = 0; i < n; i++)
        if (!weights_config_array_float(h->w, path.text, i, &values[i]))
            return error_set(h->err, ERROR_FORMAT, "config.json: %s is no list of numbers", list);
    t->type = QUANT_F32;
    return n ? plan_take_values(h->p, t, values, n, h->err)
             : error_set(h->err, ERROR_FORMAT, "config.json lacks %s", list);
}

static bool put_long_rope(struct hf *h, const char *place)
{
    char path[2][80];
    uint64_t n_ctx = 0, n_original = 0;
    float factor = 0;
    snprintf(path[0], sizeof path[0], "%s.short_factor", place);
    snprintf(path[1], sizeof path[1], "%s.long_factor", place);
    hf_uint(h, "max_position_embeddings", &n_ctx);
    if (!hf_uint(h, "original_max_position_embeddings", &n_original))
        hf_uint(h, "rope_parameters.original_max_position_embeddings", &n_original);
    if (!n_ctx || n_original < 2)
        return error_set(h->err, ERROR_FORMAT,
                         "config.json lacks original_max_position_embeddings");
    put_uint(h, "rope.scaling.original_context_length", n_original);
    if (!hf_rope_float(h, "attention_factor", &factor)) {
        const float scale = (float)n_ctx / (float)n_original;
        factor = scale <= 1 ? 1 : sqrtf(1 + logf(scale) / logf((float)n_original));
    }
    put_float(h, "rope.scaling.attn_factor", factor);
    return add_factors(h, path[0], "rope_factors_short.weight") &&
           add_factors(h, path[1], "rope_factors_long.weight");
}

/* Llama 3's scaling, frequency by frequency (transformers, modeling_rope_utils.py). */
static bool add_llama3(struct hf *h, float base)
{
    float factor = 8, low = 1, high = 4, n_ctx = 8192;
    uint64_t n_embd = 0, head_dim = 0;
    hf_rope_float(h, "factor", &factor);
    hf_rope_float(h, "low_freq_factor", &low);
    hf_rope_float(h, "high_freq_factor", &high);
    hf_rope_float(h, "original_max_position_embeddings", &n_ctx);
    hf_uint(h, "hidden_size", &n_embd);
    if (!hf_uint(h, "head_dim", &head_dim) || !head_dim)
        head_dim = n_embd / h->p->model.n_heads;
    const size_t n = (size_t)(head_dim / 2);
    float *values = arena_array(&h->p->arena, n + 1, sizeof *values);
    struct plan_tensor *t = plan_add(h->p, "rope_freqs.weight", "rope_freqs.weight", h->err);
    if (!t || !values || !(low > 0) || !(high > low))
        return t && values ? error_set(h->err, ERROR_FORMAT, "config.json: RoPE's factors")
                           : error_set(h->err, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const float wave = 2 * 3.14159265358979f * powf(base, (float)i / (float)n);
        const float smooth = (n_ctx / wave - low) / (high - low);
        values[i] = wave < n_ctx / high  ? 1
                    : wave > n_ctx / low ? factor
                                         : 1 / ((1 - smooth) / factor + smooth);
    }
    t->type = QUANT_F32;
    return plan_take_values(h->p, t, values, n, h->err);
}

static bool put_rope(struct hf *h)
{
    static const char *const places[] = {"rope_parameters", "rope_scaling"};
    static const char *const words[] = {"rope_type", "type"};
    struct weights_string type = {"", 0};
    char path[80];
    const char *place = "";
    float base = 10000, factor = 1;
    for (int i = 0; i < 4 && !type.len; i++) {
        place = places[i / 2];
        snprintf(path, sizeof path, "%s.%s", place, words[i % 2]);
        weights_config_string(h->w, hf_path(h, path).text, &type);
    }
    hf_rope_float(h, "rope_theta", &base);
    put_float(h, "rope.freq_base", base);
    snprintf(path, sizeof path, "%.*s", (int)(type.len < 32 ? type.len : 32), type.data);
    if (!*path || !strcmp(path, "default"))
        return true;
    if (!strcmp(path, "longrope") || !strcmp(path, "su"))
        return put_long_rope(h, place);
    if (!strcmp(path, "llama3"))
        return add_llama3(h, base);
    if (strcmp(path, "linear") != 0 && strcmp(path, "yarn") != 0)
        return error_set(h->err, ERROR_UNSUPPORTED,
                         "config.json: RoPE of type %s cannot be said in GGUF by this build",
                         path);
    gguf_writer_string(&h->g, hf_key(h, "rope.scaling.type").text, path, strlen(path));
    hf_rope_float(h, "factor", &factor);
    put_float(h, "rope.scaling.factor", factor);
    if (hf_rope_float(h, "original_max_position_embeddings", &factor))
        put_uint(h, "rope.scaling.original_context_length", (uint64_t)factor);
    return true;
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
    gguf_writer_init(&h.g);
    bool ok = put_all(&h);
    gguf_writer_deinit(&h.g);
    return ok;
}
