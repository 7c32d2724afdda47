/* Qwen3 (arXiv:2505.09388): Llama's block with a norm of each head of q and k before RoPE, which is
 * over the halves of a head. */
#include "model/decoder.h"

static void qwen3_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, BACKEND_ROPE_HALVES);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), NETWORK_OPTIONAL);
        decoder_load_head_norms(d, loader, i);
        decoder_load_feed_forward(d, loader, i);
    }
}

static const char *const qwen3_types[] = {"qwen3", NULL};

const struct network network_qwen3 = {
    .name = "qwen3",
    .model_types = qwen3_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = qwen3_load,
    .compute = decoder_compute,
};
