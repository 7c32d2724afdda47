/* Qwen2 and Qwen2.5: Llama's block with biases on q, k and v, and RoPE over the halves of a head
 * (arXiv:2407.10671). */
#include "model/blocks.h"

struct qwen2_layer {
    const struct backend_matrix *attn_norm, *ffn_norm; /* [n_embd] */
    struct block_attention_weights attn;
    struct block_feed_forward_weights ffn;
};

struct qwen2 {
    struct model model;
    struct block_stream stream;
    struct block_feed_forward ffn;
    struct block_attention attn;
};

static void qwen2_load_layer(struct qwen2_layer *layer, uint32_t i, const struct model_info *info,
                             struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim, n_ff = info->n_ff;
    layer->attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->attn = (struct block_attention_weights){
        .wq = network_matrix(loader, n, n_q, 0, "blk.%u.attn_q.weight", i),
        .bq = network_matrix(loader, n_q, 1, 0, "blk.%u.attn_q.bias", i),
        .wk = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_k.weight", i),
        .bk = network_matrix(loader, n_kv, 1, 0, "blk.%u.attn_k.bias", i),
        .wv = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_v.weight", i),
        .bv = network_matrix(loader, n_kv, 1, 0, "blk.%u.attn_v.bias", i),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
    };
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_gate.weight", i),
        .w_up = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_up.weight", i),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
}

static void qwen2_load(struct model *m, struct network_loader *loader)
{
    struct qwen2 *net = (struct qwen2 *)m;
    block_stream_init(&net->stream, loader);
    block_feed_forward_init(&net->ffn, loader);
    block_attention_init(&net->attn, loader, BACKEND_ROPE_HALVES, &net->ffn);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        qwen2_load_layer((struct qwen2_layer *)m->layers + i, i, &m->info, loader);
        m->kv[i] = block_attention_kv(&net->attn, 0);
    }
}

static void qwen2_compute(struct model *m, float *logits)
{
    const struct qwen2 *net = (const struct qwen2 *)m;
    const struct block_stream *s = &net->stream;
    block_stream_begin(m->be, s);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct qwen2_layer *layer = (const struct qwen2_layer *)m->layers + i;
        block_stream_norm(m->be, s, layer->attn_norm);
        block_attention(m->be, &net->attn, &layer->attn, i, s->h, s->h);
        block_stream_add(m->be, s);
        block_stream_norm(m->be, s, layer->ffn_norm);
        block_feed_forward(m->be, &net->ffn, &layer->ffn, s->h, s->h);
        block_stream_add(m->be, s);
    }
    block_stream_end(m->be, s, logits);
}

const struct network network_qwen2 = {
    .name = "qwen2",
    .n_bytes = sizeof(struct qwen2),
    .n_layer_bytes = sizeof(struct qwen2_layer),
    .read = network_read_decoder,
    .load = qwen2_load,
    .compute = qwen2_compute,
};
