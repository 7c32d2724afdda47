/* The blocks that networks are made of, each a few lines over the backend's operations. A block's
 * struct is what all layers of one shape share (sizes, working memory); its weights are a layer's
 * own. Norms and residuals are the network's: it says where they stand. */
#ifndef PENSIEVE_MODEL_BLOCKS_H
#define PENSIEVE_MODEL_BLOCKS_H

#include "model/network.h"

/* ---- the residual stream: from the embedding to the logits ---- */

struct block_stream {
    const struct backend_matrix *embedding; /* [n_vocab][n_embd] */
    const struct backend_matrix *norm;      /* [n_embd] before the output */
    const struct backend_matrix *output;    /* [n_vocab][n_embd]; the embedding when tied */
    float eps;                              /* of every norm */
    /* What is multiplied; 1 when block_stream_init has ended, and nothing is done for 1. */
    float embedding_scale; /* embeddings */
    float residual_scale;  /* what block_stream_add adds */
    float logit_scale;     /* logits */
    struct backend_activation *x; /* [n_rows][n_embd] the stream */
    struct backend_activation *h; /* [n_rows][n_embd] what goes into a block, and what comes out */
};

/* token_embd, output_norm, and output unless it is tied. */
void block_stream_init(struct block_stream *s, struct network_loader *loader);
/* x = embedding * embedding_scale */
void block_stream_begin(struct backend *be, const struct block_stream *s);
/* h = norm(x) * w */
void block_stream_norm(struct backend *be, const struct block_stream *s,
                       const struct backend_matrix *w);
/* x += h * residual_scale; h is lost */
void block_stream_add(struct backend *be, const struct block_stream *s);
/* logits = output norm(x) * logit_scale, for the rows that want them. */
void block_stream_end(struct backend *be, const struct block_stream *s, float *logits);

/* ---- the gated feed-forward ---- */

struct block_feed_forward {
    uint32_t n_ff;
    bool by_gelu; /* gelu in silu's place; false when block_feed_forward_init has ended */
    struct backend_activation *gate, *up; /* [n_rows][n_ff] */
};

struct block_feed_forward_weights {
    const struct backend_matrix *w_gate, *w_up; /* [n_ff][n_embd] */
    const struct backend_matrix *w_down;        /* [n_embd][n_ff] */
};

void block_feed_forward_init(struct block_feed_forward *f, struct network_loader *loader);
/* out = Wdown (silu(Wgate in) * Wup in); in and out [n_rows][n_embd] may be one. */
void block_feed_forward(struct backend *be, const struct block_feed_forward *f,
                        const struct block_feed_forward_weights *w,
                        const struct backend_activation *in, struct backend_activation *out);

/* ---- experts: gated feed-forwards, of which each row has its own few ---- */

struct block_experts {
    uint32_t n_experts, n_used, n_ff; /* n_ff: of one expert */
    bool normalize;                   /* the weights of a row's experts sum to 1 */
    struct backend_activation *scores;    /* [n_rows][n_experts] */
    struct backend_activation *grouped;   /* [n_rows][n_used * n_embd] */
    struct backend_activation *gate, *up; /* [n_rows][n_used * n_ff] */
};

struct block_experts_weights {
    const struct backend_matrix *w_router;      /* [n_experts][n_embd] */
    const struct backend_matrix *w_gate, *w_up; /* [n_experts][n_ff][n_embd] */
    const struct backend_matrix *w_down;        /* [n_experts][n_embd][n_ff] */
};

/* By the file's hyper-parameters. */
void block_experts_init(struct block_experts *e, struct network_loader *loader, bool normalize);
/* The working memory of experts as that of a feed-forward, for block_attention_init. */
struct block_feed_forward block_experts_room(const struct block_experts *e);
/* out = sum over a row's experts of softmax(Wrouter in) * Wdown (silu(Wgate in) * Wup in); in and
 * out [n_rows][n_embd] may be one. */
void block_experts(struct backend *be, const struct block_experts *e,
                   const struct block_experts_weights *w, const struct backend_activation *in,
                   struct backend_activation *out);

/* ---- grouped-query attention ---- */

struct block_attention {
    uint32_t n_heads, n_kv_heads, head_dim;
    float scale; /* of the scores: 1 / sqrt(head_dim) */
    float eps;   /* of the heads' norms */
    struct backend_rope_params rope;
    struct backend_scale query; /* of q behind RoPE; a stretch of 0 is none */
    struct backend_activation *q, *out; /* [n_rows][n_heads * head_dim] */
    struct backend_activation *k, *v;   /* [n_rows][n_kv_heads * head_dim] */
};

struct block_attention_weights {
    const struct backend_matrix *wq, *bq;           /* [n_heads * head_dim][n_embd]; bias or NULL */
    const struct backend_matrix *wk, *bk, *wv, *bv; /* [n_kv_heads * head_dim][n_embd]; NULL where
                                                     * the layer reads another's (n_back) */
    const struct backend_matrix *q_norm, *k_norm;   /* [head_dim] of each head before RoPE; NULL:
                                                     * none */
    const struct backend_matrix *wo;                /* [n_embd][n_heads * head_dim] */
};

/* By the model's info, with the file's RoPE. Its memory is that of `over`, as attention is over
 * when the feed-forward begins; NULL: its own. */
void block_attention_init(struct block_attention *a, struct network_loader *loader,
                          enum backend_rope rope, const struct block_feed_forward *over);
/* What layers with this block keep. */
struct backend_kv_layer block_attention_kv(const struct block_attention *a, uint32_t window);
/* out = Wo attention(rope(norm(Wq in + bq)), rope(norm(Wk in + bk)), Wv in + bv); in and out
 * [n_rows][n_embd] may be one. */
void block_attention(struct backend *be, const struct block_attention *a,
                     const struct block_attention_weights *w, uint32_t layer,
                     const struct backend_activation *in, struct backend_activation *out);

#endif
