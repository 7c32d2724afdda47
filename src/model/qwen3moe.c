/* Qwen3's mixtures (30B-A3B, 235B-A22B, Qwen3-Coder): Qwen3's attention, and in the feed-forward's
 * place experts, of which each row has the most probable few, their probabilities divided by their
 * sum (arXiv:2505.09388). */
#include "model/decoder.h"

static void qwen3moe_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    bool normalize = true; /* GGUF does not say so */
    hyper_bool(&loader->hyper, HYPER_EXPERTS_NORMALIZED, &normalize);
    block_stream_init(&d->stream, loader);
    block_experts_init(&d->experts, loader, normalize);
    const struct block_feed_forward over = block_experts_room(&d->experts);
    block_attention_init(&d->attn, loader, BACKEND_ROPE_HALVES, &over);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), NETWORK_OPTIONAL);
        decoder_load_head_norms(d, loader, i);
        decoder_load_experts(d, loader, i);
    }
}

static const char *const qwen3moe_types[] = {"qwen3_moe", NULL};

const struct network network_qwen3moe = {
    .name = "qwen3moe",
    .model_types = qwen3moe_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = qwen3moe_load,
    .compute = decoder_compute,
};
