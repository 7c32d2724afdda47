/* Llama 1 to 3 and whatever calls itself so (SmolLM2, Mistral 7B): Touvron et al. 2023,
 * arXiv:2302.13971. RoPE over neighbouring pairs, as GGUF permutes its q and k; biases where the
 * file has them. */
#include "model/blocks.h"

struct llama_layer {
    const struct backend_matrix *attn_norm, *ffn_norm; /* [n_embd] */
    struct block_attention_weights attn;
    struct block_feed_forward_weights ffn;
};

struct llama {
    struct model model;
    struct block_stream stream;
    struct block_feed_forward ffn;
    struct block_attention attn;
};

static void llama_load_layer(struct llama_layer *layer, uint32_t i, const struct model_info *info,
                             struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim, n_ff = info->n_ff;
    layer->attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->attn = (struct block_attention_weights){
        .wq = network_matrix(loader, n, n_q, 0, "blk.%u.attn_q.weight", i),
        .bq = network_matrix(loader, n_q, 1, NETWORK_OPTIONAL, "blk.%u.attn_q.bias", i),
        .wk = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_k.weight", i),
        .bk = network_matrix(loader, n_kv, 1, NETWORK_OPTIONAL, "blk.%u.attn_k.bias", i),
        .wv = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_v.weight", i),
        .bv = network_matrix(loader, n_kv, 1, NETWORK_OPTIONAL, "blk.%u.attn_v.bias", i),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
    };
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_gate.weight", i),
        .w_up = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_up.weight", i),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
}

static void llama_load(struct model *m, struct network_loader *loader)
{
    struct llama *net = (struct llama *)m;
    block_stream_init(&net->stream, loader);
    block_feed_forward_init(&net->ffn, loader);
    block_attention_init(&net->attn, loader, BACKEND_ROPE_PAIRS, &net->ffn);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        llama_load_layer((struct llama_layer *)m->layers + i, i, &m->info, loader);
        m->kv[i] = block_attention_kv(&net->attn, 0);
    }
}

static void llama_compute(struct model *m, float *logits)
{
    const struct llama *net = (const struct llama *)m;
    const struct block_stream *s = &net->stream;
    block_stream_begin(m->be, s);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct llama_layer *layer = (const struct llama_layer *)m->layers + i;
        block_stream_norm(m->be, s, layer->attn_norm);
        block_attention(m->be, &net->attn, &layer->attn, i, s->h, s->h);
        block_stream_add(m->be, s);
        block_stream_norm(m->be, s, layer->ffn_norm);
        block_feed_forward(m->be, &net->ffn, &layer->ffn, s->h, s->h);
        block_stream_add(m->be, s);
    }
    block_stream_end(m->be, s, logits);
}

const struct network network_llama = {
    .name = "llama",
    .n_bytes = sizeof(struct llama),
    .n_layer_bytes = sizeof(struct llama_layer),
    .read = network_read_decoder,
    .load = llama_load,
    .compute = llama_compute,
};
