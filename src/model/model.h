/* What a network computes. A `struct model` is the hyper-parameters and layer wiring of one
 * architecture over a file's weights, said in a backend's operations. Used by the engine's thread
 * alone. Knows no requests and no HTTP. */
#ifndef PENSIEVE_MODEL_MODEL_H
#define PENSIEVE_MODEL_MODEL_H

#include "backend/backend.h"
#include "base/error.h"
#include "weights/weights.h"

struct model;

struct model_options {
    /* The longest sequence it will be used for; 0: what it was made for. Networks with two sets of
     * RoPE factors (LongRoPE) choose one by it, once: a switch in the middle of a conversation
     * would make every cached prefix wrong. */
    uint32_t n_ctx;
};

/* Checks every tensor's name, shape and type. Both `w` and `be` must outlive the model. UNSUPPORTED
 * for an unknown architecture, FORMAT for a missing or misshapen tensor, each by name. `options`
 * may be NULL. */
struct model *model_create(const struct weights *w, struct backend *be,
                           const struct model_options *options, struct error *err);
void model_destroy(struct model *m);

struct model_info {
    const char *architecture; /* "qwen2" */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    uint32_t n_ctx_train; /* the context it was made for */
    uint32_t window;      /* positions that any layer's attention sees, once created; 0: all */
    uint64_t n_params;
};
/* The architectures that run here, in order; NULL after the last. */
const char *model_architecture(size_t i);

/* The hyper-parameters alone, without a backend and without looking at tensors (for `show`). */
bool model_read_info(const struct weights *w, struct model_info *out, struct error *err);
const struct model_info *model_info(const struct model *m);
const struct weights *model_weights(const struct model *m); /* what it was made from */
/* Numbers that it made of the file's and keeps beside them. */
uint64_t model_made_bytes(const struct model *m);

/* What its layers keep for each sequence, while it lives; the numbers of pages and states and the
 * type are the caller's to fill in. */
struct backend_kv_shape model_kv_shape(const struct model *m);

/* What names its keys and values, beside its file: all that was chosen when it was made and that
 * they depend on (RoPE, windows, the layers' shapes). Pages may be kept under that name. */
const char *model_kv_identity(const struct model *m);

/* Computes the batch; logits [number of rows that want them][n_vocab], in row order. False: the
 * backend's step failed, and neither they nor the rows' keys and values are there. */
bool model_compute(struct model *m, const struct backend_batch *batch, float *logits,
                   struct error *err);

#endif
