/* Phi-3: Llama's block with q, k and v in one matrix, gate and up in another, RoPE over the halves
 * of a head, LongRoPE for long contexts and a sliding window (arXiv:2404.14219, arXiv:2402.13753).
 */
#include "model/decoder.h"

static void phi3_load_attention(struct decoder *d, struct network_loader *loader, uint32_t i,
                                uint32_t window)
{
    const struct block_attention *a = &d->attn;
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, n_q = (uint64_t)a->n_heads * a->head_dim;
    const uint64_t n_kv = (uint64_t)a->n_kv_heads * a->head_dim;
    const struct matrix qkv =
        network_tensor(loader, n, n_q + 2 * n_kv, "blk.%u.attn_qkv.weight", i);
    layer->attention = a;
    layer->attn_norm = network_matrix(loader, n, 1, 0, "blk.%u.attn_norm.weight", i);
    layer->attn = (struct block_attention_weights){
        .wq = network_rows(loader, &qkv, 0, n_q),
        .wk = network_rows(loader, &qkv, n_q, n_kv),
        .wv = network_rows(loader, &qkv, n_q + n_kv, n_kv),
        .wo = network_matrix(loader, n_q, n, 0, "blk.%u.attn_output.weight", i),
    };
    d->model.kv[i] = block_attention_kv(a, window);
}

static void phi3_load_feed_forward(struct decoder *d, struct network_loader *loader, uint32_t i)
{
    struct decoder_layer *layer = decoder_layer(&d->model, i);
    const uint64_t n = d->model.info.n_embd, n_ff = d->ffn.n_ff;
    const struct matrix gate_up = network_tensor(loader, n, 2 * n_ff, "blk.%u.ffn_up.weight", i);
    layer->ffn_norm = network_matrix(loader, n, 1, 0, "blk.%u.ffn_norm.weight", i);
    layer->ffn = (struct block_feed_forward_weights){
        .w_gate = network_rows(loader, &gate_up, 0, n_ff),
        .w_up = network_rows(loader, &gate_up, n_ff, n_ff),
        .w_down = network_matrix(loader, n_ff, n, 0, "blk.%u.ffn_down.weight", i),
    };
}

static void phi3_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, BACKEND_ROPE_HALVES);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        phi3_load_attention(d, loader, i, network_window(loader, i));
        phi3_load_feed_forward(d, loader, i);
    }
}

static const char *const phi3_types[] = {"phi3", NULL};
static const struct tensor_name phi3_names[] = {{"ffn_up", "mlp.gate_up_proj"}, {NULL, NULL}};

const struct network network_phi3 = {
    .name = "phi3",
    .model_types = phi3_types,
    .names = phi3_names,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = phi3_load,
    .compute = decoder_compute,
};
