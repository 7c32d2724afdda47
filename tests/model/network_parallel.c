#include "network_parallel.h"

#include "model/blocks.h"

struct parallel_layer {
    const struct backend_matrix *norm, *post_norm; /* [n_embd] */
    struct block_attention_weights attn;           /* odd layers have no wk and wv */
    struct block_feed_forward_weights ffn;
};

struct parallel {
    struct model model;
    struct block_stream stream;
    struct block_feed_forward ffn;
    struct block_attention attn;
    struct backend_activation *sum; /* [n_rows][n_embd] */
};

static void parallel_load_layer(struct parallel_layer *layer, uint32_t i,
                                const struct model_info *info, struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim, n_ff = info->n_ff;
    layer->norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->post_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->attn.wq = network_matrix(loader, n, n_q, 0, "blk.%u.attn_q.weight", i);
    layer->attn.wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i);
    if (i % 2 == 0) {
        layer->attn.wk = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_k.weight", i);
        layer->attn.wv = network_matrix(loader, n, n_kv, 0, "blk.%u.attn_v.weight", i);
    }
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_gate.weight", i),
        .w_up = network_matrix(loader, n, n_ff, 0, "blk.%u.ffn_up.weight", i),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
}

static void parallel_load(struct model *m, struct network_loader *loader)
{
    struct parallel *net = (struct parallel *)m;
    block_stream_init(&net->stream, loader);
    block_feed_forward_init(&net->ffn, loader);
    block_attention_init(&net->attn, loader, BACKEND_ROPE_HALVES, NULL);
    net->sum = network_activation(loader, m->info.n_embd);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        parallel_load_layer((struct parallel_layer *)m->layers + i, i, &m->info, loader);
        m->kv[i] = block_attention_kv(&net->attn, i % 2 ? PARALLEL_WINDOW : 0);
        m->kv[i].n_back = i % 2;
    }
}

static void parallel_compute(struct model *m, float *logits)
{
    const struct parallel *net = (const struct parallel *)m;
    const struct block_stream *s = &net->stream;
    struct backend *be = m->be;
    block_stream_begin(be, s);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct parallel_layer *layer = (const struct parallel_layer *)m->layers + i;
        block_stream_norm(be, s, layer->norm);
        block_attention(be, &net->attn, &layer->attn, i, s->h, net->sum);
        block_feed_forward(be, &net->ffn, &layer->ffn, s->h, s->h);
        be->ops->add(be, s->h, net->sum);
        be->ops->rms_norm(be, s->h, layer->post_norm, s->eps, s->h);
        block_stream_add(be, s);
    }
    block_stream_end(be, s, logits);
}

const struct network network_parallel = {
    .name = "parallel",
    .n_bytes = sizeof(struct parallel),
    .n_layer_bytes = sizeof(struct parallel_layer),
    .read = network_read_decoder,
    .load = parallel_load,
    .compute = parallel_compute,
};
