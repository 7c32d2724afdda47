#include "support/tiny_networks.h"

#include "quant/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EMBD = 64, HEADS = 4, KV_HEADS = 2, FF = 96, EXPERTS = 8, EXPERT_FF = 64, NAME = 64 };

/* ---- parts of a file ---- */

struct writer {
    struct gguf_builder g;
    const char *architecture;
    const struct tiny_change *change;
    const struct type *type; /* of matrices */
    int changed;
};

/* ---- types: n floats as so many numbers, or as n / 32 blocks ---- */

static void to_f16(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        memcpy(out + 2 * i, &(uint16_t){half_from_float(x[i])}, 2);
}

static void to_bf16(const float *x, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        memcpy(out + 2 * i, &(uint16_t){half_bf16_from_float(x[i])}, 2);
}

static float largest(const float *x)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    return most;
}

/* A scale and 32 signed bytes. */
static void to_q8_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t b = 0; b < n / 32; b++, x += 32, out += 34) {
        const float d = largest(x) / 127;
        memcpy(out, &(uint16_t){half_from_float(d)}, 2);
        for (int i = 0; i < 32; i++)
            out[2 + i] = (uint8_t)(int8_t)lrintf(x[i] / d);
    }
}

/* A scale and 32 numbers of four bits, less 8; elements i and i + 16 share a byte. */
static void to_q4_0(const float *x, size_t n, uint8_t *out)
{
    for (size_t b = 0; b < n / 32; b++, x += 32, out += 18) {
        const float d = largest(x) / 7;
        memcpy(out, &(uint16_t){half_from_float(d)}, 2);
        for (int i = 0; i < 16; i++)
            out[2 + i] = (uint8_t)((lrintf(x[i] / d) + 8) | (lrintf(x[i + 16] / d) + 8) << 4);
    }
}

static const struct type {
    const char *name;
    uint32_t number; /* GGUF's */
    size_t bytes_of_32;
    void (*encode)(const float *x, size_t n, uint8_t *out);
} types[] = {
    {"f32", 0, 128, NULL},    {"f16", 1, 64, to_f16},   {"bf16", 30, 64, to_bf16},
    {"q8_0", 8, 34, to_q8_0}, {"q4_0", 2, 18, to_q4_0},
};

const char *tiny_network_type(size_t i)
{
    return i < sizeof types / sizeof *types ? types[i].name : NULL;
}

static const struct type *type_named(const char *name)
{
    size_t i = 0;
    while (i < sizeof types / sizeof *types && strcmp(types[i].name, name) != 0)
        i++;
    if (i == sizeof types / sizeof *types)
        abort();
    return &types[i];
}

/* ---- keys and tensors ---- */

static int is_changed(struct writer *w, const char *name)
{
    const int it_is = w->change && !strcmp(w->change->name, name);
    w->changed |= it_is;
    return it_is;
}

static void put_u32(struct writer *w, const char *name, uint32_t value)
{
    char key[NAME];
    snprintf(key, sizeof key, "%s.%s", w->architecture, name);
    gguf_builder_u32(&w->g, key, is_changed(w, name) ? (uint32_t)w->change->value : value);
}

static void put_f32(struct writer *w, const char *name, float value)
{
    char key[NAME];
    snprintf(key, sizeof key, "%s.%s", w->architecture, name);
    gguf_builder_f32(&w->g, key, is_changed(w, name) ? w->change->value : value);
}

static void put_bool(struct writer *w, const char *name, bool value)
{
    char key[NAME];
    snprintf(key, sizeof key, "%s.%s", w->architecture, name);
    gguf_builder_bool(&w->g, key, is_changed(w, name) ? w->change->value != 0 : value);
}

static void put_string(struct writer *w, const char *name, const char *value)
{
    char key[NAME];
    snprintf(key, sizeof key, "%s.%s", w->architecture, name);
    gguf_builder_string(&w->g, key, value);
}

static void put_values(struct writer *w, const char *name, const uint64_t shape[3],
                       const float *values, size_t n)
{
    const struct type *type = shape[1] ? w->type : &types[0];
    const size_t n_bytes = type->encode ? n / 32 * type->bytes_of_32 : n * sizeof *values;
    uint8_t *encoded = malloc(n_bytes);
    if (!encoded)
        abort();
    if (type->encode)
        type->encode(values, n, encoded);
    else
        memcpy(encoded, values, n_bytes);
    gguf_builder_blocks(&w->g, name, type->number, encoded, n_bytes, shape[0], shape[1], shape[2]);
    free(encoded);
}

/* Noise of its name, [n_experts][n_rows][n_cols]; n_rows 0 is a vector. */
static void put_tensor(struct writer *w, const char *name, const uint64_t shape[3], float mean,
                       float deviation)
{
    const size_t n = shape[0] * (shape[1] ? shape[1] : 1) * shape[2];
    float *values = malloc(n * sizeof *values);
    if (!values)
        abort();
    tiny_model_noise(name, mean, deviation, values, n);
    if (is_changed(w, name))
        for (size_t i = 0; i < n; i++)
            values[i] += w->change->value;
    put_values(w, name, shape, values, n);
    free(values);
}

static void put_matrix(struct writer *w, unsigned layer, const char *what, uint64_t n_in,
                       uint64_t n_out, uint64_t n_experts)
{
    char name[NAME];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, what);
    put_tensor(w, name, (const uint64_t[]){n_in, n_out, n_experts}, 0, 0.3f);
}

static void put_norm(struct writer *w, unsigned layer, const char *what, uint64_t n)
{
    char name[NAME];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, what);
    put_tensor(w, name, (const uint64_t[]){n, 0, 1}, 1, 0.3f);
}

/* ---- what architectures have ---- */

enum parts {
    HEAD_NORMS = 1,
    POST_NORMS = 2,
    MIXTURE = 4,
    TIED = 8,
};

static void put_layer(struct writer *w, unsigned i, unsigned head_dim, unsigned parts)
{
    put_norm(w, i, "attn_norm", EMBD);
    put_matrix(w, i, "attn_q", EMBD, HEADS * head_dim, 1);
    put_matrix(w, i, "attn_k", EMBD, KV_HEADS * head_dim, 1);
    put_matrix(w, i, "attn_v", EMBD, KV_HEADS * head_dim, 1);
    put_matrix(w, i, "attn_output", HEADS * head_dim, EMBD, 1);
    put_norm(w, i, "ffn_norm", EMBD);
    if (parts & HEAD_NORMS) {
        put_norm(w, i, "attn_q_norm", head_dim);
        put_norm(w, i, "attn_k_norm", head_dim);
    }
    if (parts & POST_NORMS) {
        put_norm(w, i, "post_attention_norm", EMBD);
        put_norm(w, i, "post_ffw_norm", EMBD);
    }
    if (parts & MIXTURE) {
        put_matrix(w, i, "ffn_gate_inp", EMBD, EXPERTS, 1);
        put_matrix(w, i, "ffn_gate_exps", EMBD, EXPERT_FF, EXPERTS);
        put_matrix(w, i, "ffn_up_exps", EMBD, EXPERT_FF, EXPERTS);
        put_matrix(w, i, "ffn_down_exps", EXPERT_FF, EMBD, EXPERTS);
    } else {
        put_matrix(w, i, "ffn_gate", EMBD, FF, 1);
        put_matrix(w, i, "ffn_up", EMBD, FF, 1);
        put_matrix(w, i, "ffn_down", FF, EMBD, 1);
    }
}

static void put_experts(struct writer *w)
{
    put_u32(w, "expert_count", EXPERTS);
    put_u32(w, "expert_used_count", 3);
    put_u32(w, "expert_feed_forward_length", EXPERT_FF);
    put_bool(w, "expert_weights_norm", true);
}

static void put_nothing(struct writer *w)
{
    (void)w;
}

static void put_gemma3(struct writer *w)
{
    put_u32(w, "attention.sliding_window", 32);
    put_f32(w, "rope.freq_base_swa", 500);
    put_string(w, "rope.scaling.type", "linear");
    put_f32(w, "rope.scaling.factor", 4);
}

static void put_gemma3_pattern(struct writer *w)
{
    put_u32(w, "attention.sliding_window", 31);
    put_u32(w, "attention.sliding_window_pattern", 2);
}

static void put_granite(struct writer *w)
{
    put_f32(w, "embedding_scale", 3.5f);
    put_f32(w, "residual_scale", 0.4f);
    put_f32(w, "attention.scale", 0.1f);
    put_f32(w, "logit_scale", 2.5f);
}

static void put_mistral3(struct writer *w)
{
    put_string(w, "rope.scaling.type", "yarn");
    put_f32(w, "rope.scaling.factor", 8);
    put_u32(w, "rope.scaling.original_context_length", 32);
    put_f32(w, "rope.scaling.yarn_beta_fast", 4);
    put_f32(w, "rope.scaling.yarn_beta_slow", 1);
    put_f32(w, "rope.scaling.yarn_log_multiplier", 0.6f);
    put_f32(w, "attention.temperature_scale", 0.3f);
}

static const struct network_case {
    const char *name, *architecture;
    unsigned n_layers, head_dim, parts;
    float embedding; /* deviation of the table */
    float rope_base;
    void (*put_more)(struct writer *w);
} cases[] = {
    {"qwen3", "qwen3", 2, 24, HEAD_NORMS, 1, 1e6f, put_nothing},
    {"qwen3moe", "qwen3moe", 2, 24, HEAD_NORMS | MIXTURE | TIED, 0.4f, 1e6f, put_experts},
    {"gemma3", "gemma3", 7, 24, HEAD_NORMS | POST_NORMS | TIED, 0.15f, 1e5f, put_gemma3},
    {"gemma3-pattern", "gemma3", 4, 24, HEAD_NORMS | POST_NORMS, 0.15f, 1e5f, put_gemma3_pattern},
    {"gemma3-27b", "gemma3", 62, 24, HEAD_NORMS | POST_NORMS | TIED, 0.15f, 1e5f, put_gemma3},
    {"granite", "granite", 2, 16, TIED, 0.3f, 1e4f, put_granite},
    {"mistral3", "mistral3", 2, 24, 0, 1, 1e4f, put_mistral3},
};

const char *tiny_network_name(size_t i)
{
    return i < sizeof cases / sizeof *cases ? cases[i].name : NULL;
}

static void put_keys(struct writer *w, const struct network_case *c)
{
    gguf_builder_string(&w->g, "general.architecture", c->architecture);
    gguf_builder_string(&w->g, "general.name", c->name);
    put_u32(w, "block_count", c->n_layers);
    put_u32(w, "context_length", TINY_CONTEXT);
    put_u32(w, "embedding_length", EMBD);
    put_u32(w, "feed_forward_length", FF);
    put_u32(w, "attention.head_count", HEADS);
    put_u32(w, "attention.head_count_kv", KV_HEADS);
    put_u32(w, "attention.key_length", c->head_dim);
    put_u32(w, "attention.value_length", c->head_dim);
    put_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_f32(w, "rope.freq_base", c->rope_base);
    c->put_more(w);
    tiny_model_vocabulary(&w->g);
}

static void put_network(struct writer *w, const struct network_case *c)
{
    w->architecture = c->architecture;
    put_keys(w, c);
    put_tensor(w, "token_embd.weight", (const uint64_t[]){EMBD, TINY_VOCAB, 1}, 0, c->embedding);
    put_tensor(w, "output_norm.weight", (const uint64_t[]){EMBD, 0, 1}, 1, 0.3f);
    if (!(c->parts & TIED))
        put_tensor(w, "output.weight", (const uint64_t[]){EMBD, TINY_VOCAB, 1}, 0, 0.3f);
    for (unsigned i = 0; i < c->n_layers; i++)
        put_layer(w, i, c->head_dim, c->parts);
}

void tiny_network_init(struct tiny_model *m, const char *name, const char *type,
                       const struct tiny_change *change)
{
    struct writer w = {.change = change, .type = type_named(type)};
    size_t i = 0;
    gguf_builder_init(&w.g);
    while (i < sizeof cases / sizeof *cases && strcmp(cases[i].name, name) != 0)
        i++;
    if (i == sizeof cases / sizeof *cases)
        abort();
    put_network(&w, &cases[i]);
    if (change && !w.changed)
        abort();
    m->data = gguf_builder_finish(&w.g, &m->size);
    if (!m->data)
        abort();
}
