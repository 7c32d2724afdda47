/* The hyper-parameters of a model file by what they mean, whatever the file calls them: the table
 * below is all that knows names. Knows no networks. */
#ifndef PENSIEVE_WEIGHTS_HYPER_H
#define PENSIEVE_WEIGHTS_HYPER_H

#include "base/error.h"
#include "weights/weights.h"

#include <stdbool.h>
#include <stdint.h>

/* RoPE's settings: one of their own in transformers 5, two before it. */
#define HYPER_ROPE(name)                                                                           \
    "rope_parameters." name "|rope_parameters.full_attention." name "|rope_scaling." name

/* X(NAME, GGUF's key behind "<architecture>.", paths in a folder's config.json, "" for none): of
 * several paths the first that is there counts, and each is looked for in text_config first, where
 * models with more than text keep them. */
#define HYPER_KEYS(X)                                                                              \
    X(N_LAYERS, "block_count", "num_hidden_layers")                                                \
    X(N_EMBD, "embedding_length", "hidden_size")                                                   \
    X(N_FF, "feed_forward_length", "intermediate_size")                                            \
    X(N_EXPERTS, "expert_count", "num_experts|num_local_experts")                                  \
    X(N_EXPERTS_USED, "expert_used_count", "num_experts_per_tok")                                  \
    X(N_EXPERT_FF, "expert_feed_forward_length", "moe_intermediate_size")                          \
    X(EXPERTS_NORMALIZED, "expert_weights_norm", "norm_topk_prob")                                 \
    X(N_CTX, "context_length", "max_position_embeddings")                                          \
    X(N_HEADS, "attention.head_count", "num_attention_heads")                                      \
    X(N_KV_HEADS, "attention.head_count_kv", "num_key_value_heads")                                \
    X(HEAD_DIM, "attention.key_length", "head_dim")                                                \
    X(WINDOW, "attention.sliding_window", "sliding_window")                                        \
    X(WINDOW_USED, "", "use_sliding_window")                                                       \
    X(WINDOW_FIRST, "", "max_window_layers")                                                       \
    X(WINDOW_PATTERN, "attention.sliding_window_pattern",                                          \
      "sliding_window_pattern|_sliding_window_pattern")                                            \
    X(LAYER_KINDS, "", "layer_types")                                                              \
    X(NORM_EPS, "attention.layer_norm_rms_epsilon", "rms_norm_eps")                                \
    X(EMBEDDING_SCALE, "embedding_scale", "embedding_multiplier")                                  \
    X(RESIDUAL_SCALE, "residual_scale", "residual_multiplier")                                     \
    X(ATTENTION_SCALE, "attention.scale", "attention_multiplier")                                  \
    X(LOGIT_SCALE, "logit_scale", "logits_scaling")                                                \
    X(LOGIT_CAP, "final_logit_softcapping", "final_logit_softcapping")                             \
    X(QUERY_SCALAR, "", "query_pre_attn_scalar")                                                   \
    X(QUERY_STRETCH, "attention.temperature_scale", HYPER_ROPE("llama_4_scaling_beta"))            \
    X(TIED, "", "tie_word_embeddings")                                                             \
    X(ROPE_DIMS, "rope.dimension_count", "")                                                       \
    X(ROPE_SHARE, "", "partial_rotary_factor|" HYPER_ROPE("partial_rotary_factor"))                \
    X(ROPE_BASE, "rope.freq_base", HYPER_ROPE("rope_theta") "|rope_theta")                         \
    X(ROPE_BASE_LOCAL, "rope.freq_base_swa",                                                       \
      "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq")                         \
    X(ROPE_SCALING, "rope.scaling.type", HYPER_ROPE("rope_type") "|" HYPER_ROPE("type"))           \
    X(ROPE_FACTOR, "rope.scaling.factor", HYPER_ROPE("factor"))                                    \
    X(ROPE_N_CTX, "rope.scaling.original_context_length",                                          \
      HYPER_ROPE("original_max_position_embeddings") "|original_max_position_embeddings")          \
    X(ROPE_MAGNITUDE, "rope.scaling.attn_factor", HYPER_ROPE("attention_factor"))                  \
    X(ROPE_SHORT, "", HYPER_ROPE("short_factor"))                                                  \
    X(ROPE_LONG, "", HYPER_ROPE("long_factor"))                                                    \
    X(ROPE_LOW, "", HYPER_ROPE("low_freq_factor"))                                                 \
    X(ROPE_HIGH, "", HYPER_ROPE("high_freq_factor"))                                               \
    X(YARN_BETA_FAST, "rope.scaling.yarn_beta_fast", HYPER_ROPE("beta_fast"))                      \
    X(YARN_BETA_SLOW, "rope.scaling.yarn_beta_slow", HYPER_ROPE("beta_slow"))                      \
    X(YARN_MSCALE, "", HYPER_ROPE("mscale"))                                                       \
    X(YARN_MSCALE_ALL, "rope.scaling.yarn_log_multiplier", HYPER_ROPE("mscale_all_dim"))           \
    X(YARN_TRUNCATES, "", HYPER_ROPE("truncate"))

enum hyper_key {
#define X(name, gguf, folder) HYPER_##name,
    HYPER_KEYS(X)
#undef X
};

/* What a file means that does not say it; a list of them ends with a value of 0. */
struct hyper_default {
    enum hyper_key key;
    float value;
};

struct hyper {
    const struct weights *w;
    const char *architecture;             /* of GGUF's keys */
    const struct hyper_default *defaults; /* of numbers, or NULL */
};

/* "llama.block_count", or "text_config.num_hidden_layers" */
struct hyper_name {
    char text[160];
};
/* What the file calls it, for messages. */
struct hyper_name hyper_name(const struct hyper *h, enum hyper_key key);

/* For who writes a file: GGUF's key behind the architecture, and the most usual path in
 * config.json. */
const char *hyper_gguf_key(enum hyper_key key);
struct hyper_name hyper_folder_path(enum hyper_key key);

/* False, and *out as it was, when the file has none or one of another type. */
bool hyper_uint(const struct hyper *h, enum hyper_key key, uint64_t *out);
bool hyper_float(const struct hyper *h, enum hyper_key key, float *out);
bool hyper_bool(const struct hyper *h, enum hyper_key key, bool *out);
bool hyper_string(const struct hyper *h, enum hyper_key key, struct weights_string *out);
/* Lists: how many items there are, 0 when there is none; false past the last. The time grows with
 * i. */
size_t hyper_n_items(const struct hyper *h, enum hyper_key key);
bool hyper_item_float(const struct hyper *h, enum hyper_key key, size_t i, float *out);
bool hyper_item_string(const struct hyper *h, enum hyper_key key, size_t i,
                       struct weights_string *out);

/* FORMAT when there is none, or one outside [least, most]. */
bool hyper_need_uint(const struct hyper *h, enum hyper_key key, uint64_t least, uint64_t most,
                     uint32_t *out, struct error *err);
bool hyper_need_float(const struct hyper *h, enum hyper_key key, float *out, struct error *err);

/* What kind of model a folder says that it is, where it has more than text the language model's;
 * false when it does not say so. */
bool hyper_model_type(const struct weights *w, struct weights_string *out);

#endif
