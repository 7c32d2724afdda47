/* See model_shape.h. The numbers are those of the models' published config.json files. */
#include "model_shape.h"

#include <stdio.h>
#include <string.h>

static const struct model_shape shapes[] = {
    {
        .name = "phi3-mini",
        .title = "Phi-3-mini-128k shape, random weights",
        .architecture = "phi3",
        .hf_type = "phi3",
        .hf_class = "Phi3ForCausalLM",
        .n_layers = 32,
        .n_embd = 3072,
        .n_ff = 8192,
        .n_heads = 32,
        .n_kv_heads = 32,
        .head_dim = 96,
        .n_vocab = 32064,
        .n_ctx = 131072,
        .rope_base = 10000,
        .norm_eps = 1e-5f,
        .is_fused = true,
        .n_ctx_original = 4096,
        .sliding_window = 262144,
        .attn_factor = 1.19023807f,
        .vocabulary = MODEL_SHAPE_SPM,
        .pre_tokenizer = "default",
    },
    {
        .name = "qwen3-30b-a3b",
        .title = "Qwen3-Coder-30B-A3B shape, random weights",
        .architecture = "qwen3moe",
        .hf_type = "qwen3_moe",
        .hf_class = "Qwen3MoeForCausalLM",
        .n_layers = 48,
        .n_embd = 2048,
        .n_ff = 5472,
        .n_heads = 32,
        .n_kv_heads = 4,
        .head_dim = 128,
        .n_vocab = 151936,
        .n_ctx = 262144,
        .n_experts = 128,
        .n_experts_used = 8,
        .n_expert_ff = 768,
        .rope_base = 10000000,
        .norm_eps = 1e-6f,
        .has_head_norms = true,
        .vocabulary = MODEL_SHAPE_BPE,
        .pre_tokenizer = "qwen2",
    },
    {
        .name = "qwen2-0.5b",
        .title = "Qwen2.5-0.5B shape, random weights",
        .architecture = "qwen2",
        .hf_type = "qwen2",
        .hf_class = "Qwen2ForCausalLM",
        .n_layers = 24,
        .n_embd = 896,
        .n_ff = 4864,
        .n_heads = 14,
        .n_kv_heads = 2,
        .head_dim = 64,
        .n_vocab = 151936,
        .n_ctx = 32768,
        .rope_base = 1000000,
        .norm_eps = 1e-6f,
        .is_tied = true,
        .has_qkv_biases = true,
        .vocabulary = MODEL_SHAPE_BPE,
        .pre_tokenizer = "qwen2",
    },
    {
        .name = "qwen2-1.5b",
        .title = "Qwen2.5-1.5B shape, random weights",
        .architecture = "qwen2",
        .hf_type = "qwen2",
        .hf_class = "Qwen2ForCausalLM",
        .n_layers = 28,
        .n_embd = 1536,
        .n_ff = 8960,
        .n_heads = 12,
        .n_kv_heads = 2,
        .head_dim = 128,
        .n_vocab = 151936,
        .n_ctx = 32768,
        .rope_base = 1000000,
        .norm_eps = 1e-6f,
        .is_tied = true,
        .has_qkv_biases = true,
        .vocabulary = MODEL_SHAPE_BPE,
        .pre_tokenizer = "qwen2",
    },
    {
        .name = "smollm2-135m",
        .title = "SmolLM2-135M shape, random weights",
        .architecture = "llama",
        .hf_type = "llama",
        .hf_class = "LlamaForCausalLM",
        .n_layers = 30,
        .n_embd = 576,
        .n_ff = 1536,
        .n_heads = 9,
        .n_kv_heads = 3,
        .head_dim = 64,
        .n_vocab = 49152,
        .n_ctx = 8192,
        .rope_base = 100000,
        .norm_eps = 1e-5f,
        .is_tied = true,
        .vocabulary = MODEL_SHAPE_BPE,
        .pre_tokenizer = "smollm",
    },
};

const struct model_shape *model_shape_at(size_t i)
{
    return i < sizeof shapes / sizeof *shapes ? &shapes[i] : NULL;
}

const struct model_shape *model_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    return NULL;
}

/* One walk over the tensors. */
struct walk {
    bool (*each)(void *context, const struct model_shape_tensor *tensor);
    void *context;
    const char *prefix; /* "blk.3." or "" */
    bool ok;
};

/* n_out 0: a vector; n_experts 0: a matrix */
static void put(struct walk *w, const char *name, enum model_shape_role role, uint64_t n_in,
                uint64_t n_out, uint64_t n_experts)
{
    struct model_shape_tensor t = {.role = role, .n_dims = n_experts ? 3 : n_out ? 2 : 1};
    if (!w->ok)
        return;
    snprintf(t.name, sizeof t.name, "%s%s", w->prefix, name);
    t.shape[0] = n_in;
    t.shape[1] = n_out ? n_out : 1;
    t.shape[2] = n_experts ? n_experts : 1;
    w->ok = w->each(w->context, &t);
}

static void put_attention(struct walk *w, const struct model_shape *s)
{
    const uint64_t n_q = (uint64_t)s->n_heads * s->head_dim;
    const uint64_t n_kv = (uint64_t)s->n_kv_heads * s->head_dim;
    put(w, "attn_norm.weight", MODEL_SHAPE_NORM, s->n_embd, 0, 0);
    if (s->is_fused) {
        put(w, "attn_qkv.weight", MODEL_SHAPE_MATRIX, s->n_embd, n_q + 2 * n_kv, 0);
    } else {
        put(w, "attn_q.weight", MODEL_SHAPE_MATRIX, s->n_embd, n_q, 0);
        put(w, "attn_k.weight", MODEL_SHAPE_MATRIX, s->n_embd, n_kv, 0);
        put(w, "attn_v.weight", MODEL_SHAPE_MATRIX, s->n_embd, n_kv, 0);
    }
    if (s->has_qkv_biases) {
        put(w, "attn_q.bias", MODEL_SHAPE_BIAS, n_q, 0, 0);
        put(w, "attn_k.bias", MODEL_SHAPE_BIAS, n_kv, 0, 0);
        put(w, "attn_v.bias", MODEL_SHAPE_BIAS, n_kv, 0, 0);
    }
    if (s->has_head_norms) {
        put(w, "attn_q_norm.weight", MODEL_SHAPE_NORM, s->head_dim, 0, 0);
        put(w, "attn_k_norm.weight", MODEL_SHAPE_NORM, s->head_dim, 0, 0);
    }
    put(w, "attn_output.weight", MODEL_SHAPE_MATRIX, n_q, s->n_embd, 0);
}

static void put_feed_forward(struct walk *w, const struct model_shape *s)
{
    const uint64_t n = s->n_embd, n_ff = s->n_expert_ff;
    put(w, "ffn_norm.weight", MODEL_SHAPE_NORM, n, 0, 0);
    if (s->n_experts) {
        put(w, "ffn_gate_inp.weight", MODEL_SHAPE_ROUTER, n, s->n_experts, 0);
        put(w, "ffn_gate_exps.weight", MODEL_SHAPE_MATRIX, n, n_ff, s->n_experts);
        put(w, "ffn_up_exps.weight", MODEL_SHAPE_MATRIX, n, n_ff, s->n_experts);
        put(w, "ffn_down_exps.weight", MODEL_SHAPE_MATRIX, n_ff, n, s->n_experts);
        return;
    }
    if (!s->is_fused)
        put(w, "ffn_gate.weight", MODEL_SHAPE_MATRIX, n, s->n_ff, 0);
    put(w, "ffn_up.weight", MODEL_SHAPE_MATRIX, n, (uint64_t)s->n_ff * (s->is_fused ? 2 : 1), 0);
    put(w, "ffn_down.weight", MODEL_SHAPE_MATRIX, s->n_ff, n, 0);
}

bool model_shape_tensors(const struct model_shape *s,
                         bool (*each)(void *context, const struct model_shape_tensor *tensor),
                         void *context)
{
    struct walk w = {each, context, "", true};
    put(&w, "token_embd.weight", MODEL_SHAPE_EMBEDDING, s->n_embd, s->n_vocab, 0);
    put(&w, "output_norm.weight", MODEL_SHAPE_NORM, s->n_embd, 0, 0);
    if (!s->is_tied)
        put(&w, "output.weight", MODEL_SHAPE_OUTPUT, s->n_embd, s->n_vocab, 0);
    if (s->n_ctx_original) {
        put(&w, "rope_factors_long.weight", MODEL_SHAPE_LONG_FACTORS, s->head_dim / 2, 0, 0);
        put(&w, "rope_factors_short.weight", MODEL_SHAPE_SHORT_FACTORS, s->head_dim / 2, 0, 0);
    }
    for (uint32_t i = 0; i < s->n_layers; i++) {
        char prefix[24];
        snprintf(prefix, sizeof prefix, "blk.%u.", i);
        w.prefix = prefix;
        put_attention(&w, s);
        put_feed_forward(&w, s);
    }
    return w.ok;
}
