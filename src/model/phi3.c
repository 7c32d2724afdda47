/* Phi-3: Llama's block with q, k and v in one matrix, gate and up in another, RoPE over the halves
 * of a head, LongRoPE for long contexts and a sliding window (arXiv:2404.14219, arXiv:2402.13753).
 */
#include "model/blocks.h"

struct phi3_layer {
    const struct backend_matrix *attn_norm, *ffn_norm; /* [n_embd] */
    struct block_attention_weights attn;
    struct block_feed_forward_weights ffn;
};

struct phi3 {
    struct model model;
    struct block_stream stream;
    struct block_feed_forward ffn;
    struct block_attention attn;
};

static void phi3_load_layer(struct phi3_layer *layer, uint32_t i, const struct model_info *info,
                            struct network_loader *loader)
{
    const uint64_t n = info->n_embd, n_q = (uint64_t)info->n_heads * info->head_dim;
    const uint64_t n_kv = (uint64_t)info->n_kv_heads * info->head_dim, n_ff = info->n_ff;
    const struct matrix qkv =
        network_tensor(loader, n, n_q + 2 * n_kv, "blk.%u.attn_qkv.weight", i);
    const struct matrix gate_up = network_tensor(loader, n, 2 * n_ff, "blk.%u.ffn_up.weight", i);
    layer->attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->attn = (struct block_attention_weights){
        .wq = network_rows(loader, &qkv, 0, n_q),
        .wk = network_rows(loader, &qkv, n_q, n_kv),
        .wv = network_rows(loader, &qkv, n_q + n_kv, n_kv),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
    };
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_rows(loader, &gate_up, 0, n_ff),
        .w_up = network_rows(loader, &gate_up, n_ff, n_ff),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
}

/* One that is never full is none. */
static uint32_t read_window(const struct network_loader *loader)
{
    uint64_t n = 0;
    hyper_uint(&loader->hyper, HYPER_WINDOW, &n);
    return n < loader->n_ctx ? (uint32_t)n : 0;
}

static void phi3_load(struct model *m, struct network_loader *loader)
{
    struct phi3 *net = (struct phi3 *)m;
    block_stream_init(&net->stream, loader);
    block_feed_forward_init(&net->ffn, loader);
    block_attention_init(&net->attn, loader, BACKEND_ROPE_HALVES, &net->ffn);
    const uint32_t window = read_window(loader);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        phi3_load_layer((struct phi3_layer *)m->layers + i, i, &m->info, loader);
        m->kv[i] = block_attention_kv(&net->attn, window);
    }
}

static void phi3_compute(struct model *m, float *logits)
{
    const struct phi3 *net = (const struct phi3 *)m;
    const struct block_stream *s = &net->stream;
    block_stream_begin(m->be, s);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        const struct phi3_layer *layer = (const struct phi3_layer *)m->layers + i;
        block_stream_norm(m->be, s, layer->attn_norm);
        block_attention(m->be, &net->attn, &layer->attn, i, s->h, s->h);
        block_stream_add(m->be, s);
        block_stream_norm(m->be, s, layer->ffn_norm);
        block_feed_forward(m->be, &net->ffn, &layer->ffn, s->h, s->h);
        block_stream_add(m->be, s);
    }
    block_stream_end(m->be, s, logits);
}

const struct network network_phi3 = {
    .name = "phi3",
    .n_bytes = sizeof(struct phi3),
    .n_layer_bytes = sizeof(struct phi3_layer),
    .read = network_read_decoder,
    .load = phi3_load,
    .compute = phi3_compute,
};
