/* The decoder that most networks are: layers of attention and a feed-forward (or experts) on a
 * residual stream, each behind an RMSNorm. A network of this kind begins its struct with a `struct
 * decoder`, has layers of `struct decoder_layer`, and says only in what it differs; what it loads
 * otherwise, it puts into a layer's fields itself. */
#ifndef PENSIEVE_MODEL_DECODER_H
#define PENSIEVE_MODEL_DECODER_H

#include "model/blocks.h"

struct decoder_layer {
    const struct block_attention *attention;           /* its sizes and its RoPE */
    const struct backend_matrix *attn_norm, *ffn_norm; /* [n_embd] of what goes in */
    /* [n_embd] of what comes out, before it is added to the stream; NULL: none */
    const struct backend_matrix *attn_post_norm, *ffn_post_norm;
    struct block_attention_weights attn;
    struct block_feed_forward_weights ffn;
    struct block_experts_weights experts; /* without a router: it has the feed-forward */
};

struct decoder {
    struct model model; /* its layers are struct decoder_layer */
    struct block_stream stream;
    struct block_attention attn; /* of layers that have no other */
    struct block_feed_forward ffn;
    struct block_experts experts; /* the network's to init, if it has any */
};

/* The stream, the feed-forward, and the attention over its memory. */
void decoder_init(struct decoder *d, struct network_loader *loader, enum backend_rope rope);

/* Layer i's norm and attention, the decoder's own, of which it keeps keys and values as far as
 * `window` reaches. `bias_flags`: what the biases of q, k and v are, NETWORK_OPTIONAL or 0. */
void decoder_load_attention(struct decoder *d, struct network_loader *loader, uint32_t i,
                            uint32_t window, unsigned bias_flags);
/* The norms of layer i's heads of q and k. */
void decoder_load_head_norms(struct decoder *d, struct network_loader *loader, uint32_t i);
/* Layer i's norm and feed-forward. */
void decoder_load_feed_forward(struct decoder *d, struct network_loader *loader, uint32_t i);
/* Layer i's norm and experts. */
void decoder_load_experts(struct decoder *d, struct network_loader *loader, uint32_t i);

static inline struct decoder_layer *decoder_layer(const struct model *m, uint32_t i)
{
    return (struct decoder_layer *)m->layers + i;
}

/* network.compute */
void decoder_compute(struct model *m, float *logits);

#endif
