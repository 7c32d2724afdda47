/* The shapes of real models: hyper-parameters and the list of tensors, under GGUF's names. Knows no
 * file format and no values. */
#ifndef PENSIEVE_BENCH_MODEL_SHAPE_H
#define PENSIEVE_BENCH_MODEL_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum model_shape_vocabulary { MODEL_SHAPE_SPM, MODEL_SHAPE_BPE };

struct model_shape {
    const char *name;         /* on the command line: "phi3-mini" */
    const char *title;        /* general.name */
    const char *architecture; /* general.architecture */
    const char *hf_type, *hf_class; /* model_type and architectures of a config.json */
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx;
    uint32_t n_experts, n_experts_used, n_expert_ff; /* 0: a dense network */
    float rope_base, norm_eps;
    bool is_tied;                            /* no output.weight: the embedding serves */
    bool is_fused;                           /* attn_qkv, and gate and up in ffn_up */
    bool has_qkv_biases;                     /* on q, k and v */
    bool has_head_norms;                     /* attn_q_norm, attn_k_norm */
    uint32_t n_ctx_original, sliding_window; /* LongRoPE; 0: none */
    float attn_factor;                       /* LongRoPE */
    enum model_shape_vocabulary vocabulary;
    const char *pre_tokenizer;
};

enum model_shape_role {
    MODEL_SHAPE_MATRIX,
    MODEL_SHAPE_EMBEDDING,
    MODEL_SHAPE_OUTPUT,
    MODEL_SHAPE_ROUTER, /* a matrix that stays F32 */
    MODEL_SHAPE_NORM,   /* a vector around 1 */
    MODEL_SHAPE_BIAS,
    MODEL_SHAPE_SHORT_FACTORS, /* of LongRoPE */
    MODEL_SHAPE_LONG_FACTORS,
};

struct model_shape_tensor {
    char name[64];
    enum model_shape_role role;
    uint32_t n_dims;
    uint64_t shape[3]; /* {n_in, n_out, n_experts}; unused dimensions are 1 */
};

/* The shape of that name, or NULL; all of them by index, then NULL. */
const struct model_shape *model_shape_find(const char *name);
const struct model_shape *model_shape_at(size_t i);

/* Calls `each` for every tensor in the file's order; stops at the first false, which it returns. */
bool model_shape_tensors(const struct model_shape *shape,
                         bool (*each)(void *context, const struct model_shape_tensor *tensor),
                         void *context);

#endif
