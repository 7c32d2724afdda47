/* The hyper-parameters of a model file by what they mean, whatever the file calls them: the table
 * below is all that knows names. Knows no networks. */
#ifndef PENSIEVE_MODEL_HYPER_H
#define PENSIEVE_MODEL_HYPER_H

#include "base/error.h"
#include "weights/weights.h"

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, GGUF's key behind "<architecture>."); another kind of file is another column. */
#define HYPER_KEYS(X)                                                                              \
    X(N_LAYERS, "block_count")                                                                     \
    X(N_EMBD, "embedding_length")                                                                  \
    X(N_FF, "feed_forward_length")                                                                 \
    X(N_EXPERTS, "expert_count")                                                                   \
    X(N_EXPERTS_USED, "expert_used_count")                                                         \
    X(N_EXPERT_FF, "expert_feed_forward_length")                                                   \
    X(N_CTX, "context_length")                                                                     \
    X(N_HEADS, "attention.head_count")                                                             \
    X(N_KV_HEADS, "attention.head_count_kv")                                                       \
    X(HEAD_DIM, "attention.key_length")                                                            \
    X(WINDOW, "attention.sliding_window")                                                          \
    X(NORM_EPS, "attention.layer_norm_rms_epsilon")                                                \
    X(ROPE_DIMS, "rope.dimension_count")                                                           \
    X(ROPE_BASE, "rope.freq_base")                                                                 \
    X(ROPE_SCALING, "rope.scaling.type")                                                           \
    X(ROPE_FACTOR, "rope.scaling.factor")                                                          \
    X(ROPE_N_CTX, "rope.scaling.original_context_length")                                          \
    X(ROPE_MAGNITUDE, "rope.scaling.attn_factor")                                                  \
    X(YARN_BETA_FAST, "rope.scaling.yarn_beta_fast")                                               \
    X(YARN_BETA_SLOW, "rope.scaling.yarn_beta_slow")

enum hyper_key {
#define X(name, gguf) HYPER_##name,
    HYPER_KEYS(X)
#undef X
};

struct hyper {
    const struct weights *w;
    const char *architecture;
};

struct hyper_name {
    char text[96];
};
/* What the file calls it, for messages. */
struct hyper_name hyper_name(const struct hyper *h, enum hyper_key key);

/* False, and *out as it was, when the file has none or one of another type. */
bool hyper_uint(const struct hyper *h, enum hyper_key key, uint64_t *out);
bool hyper_float(const struct hyper *h, enum hyper_key key, float *out);
bool hyper_string(const struct hyper *h, enum hyper_key key, struct weights_string *out);

/* FORMAT when there is none, or one outside [least, most]. */
bool hyper_need_uint(const struct hyper *h, enum hyper_key key, uint64_t least, uint64_t most,
                     uint32_t *out, struct error *err);
bool hyper_need_float(const struct hyper *h, enum hyper_key key, float *out, struct error *err);

#endif
