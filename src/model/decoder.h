/* The building blocks of the pre-norm decoder family (Llama and its kin): its weights, its working
 * memory, and the three moves of its forward pass. A network's file composes them. */
#ifndef PENSIEVE_MODEL_DECODER_H
#define PENSIEVE_MODEL_DECODER_H

#include "model/network.h"

struct decoder_layer {
    const struct backend_matrix *attn_norm;         /* [n_embd] */
    const struct backend_matrix *wq, *bq;           /* [n_heads * head_dim][n_embd]; bias or NULL */
    const struct backend_matrix *wk, *bk, *wv, *bv; /* [n_kv_heads * head_dim][n_embd] */
    const struct backend_matrix *wo;                /* [n_embd][n_heads * head_dim] */
    const struct backend_matrix *ffn_norm;          /* [n_embd] */
    const struct backend_matrix *w_gate, *w_up;     /* [n_ff][n_embd] */
    const struct backend_matrix *w_down;            /* [n_embd][n_ff] */
};

struct decoder {
    struct model model; /* first, so that a struct model * is a struct decoder * */
    float norm_eps;
    uint32_t window; /* positions that a row sees, its own the last; 0: all */
    struct backend_rope_params rope;
    const struct backend_matrix *embedding;   /* [n_vocab][n_embd] */
    const struct backend_matrix *output_norm; /* [n_embd] */
    const struct backend_matrix *output;      /* [n_vocab][n_embd]; the embedding when tied */
    struct decoder_layer *layers;             /* [n_layers] */

    struct backend_activation *x;         /* [n_rows][n_embd] the residual stream */
    struct backend_activation *h;         /* [n_rows][n_embd] normalized, or a block's result */
    struct backend_activation *q;         /* [n_rows][n_heads * head_dim] */
    struct backend_activation *k, *v;     /* [n_rows][n_kv_heads * head_dim] */
    struct backend_activation *att;       /* [n_rows][n_heads * head_dim] */
    struct backend_activation *gate, *up; /* [n_rows][n_ff] */
};

enum decoder_biases { DECODER_NO_BIASES, DECODER_OPTIONAL_BIASES, DECODER_QKV_BIASES };

/* What the networks of the family differ in. */
struct decoder_wiring {
    enum backend_rope rope;     /* how dimensions are paired */
    enum decoder_biases biases; /* of q, k and v */
    bool is_fused;   /* q, k and v are the rows of attn_qkv, gate and up those of ffn_up */
    bool has_window; /* may look back over a sliding window alone */
};

/* Loads everything. */
struct model *decoder_create(const struct weights *w, struct backend *be,
                             const struct model_info *info, const struct model_options *options,
                             const struct decoder_wiring *wiring, struct error *err);
void decoder_destroy(struct model *m);

/* The forward pass: the embedding, every layer's attention and feed-forward, the output. */
void decoder_compute(struct model *m, float *logits);

#endif
