/* Qwen2 and Qwen2.5: Llama's block with biases on q, k and v, and RoPE over the halves of a head
 * (arXiv:2407.10671). */
#include "model/decoder.h"

static void qwen2_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, BACKEND_ROPE_HALVES);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), 0);
        decoder_load_feed_forward(d, loader, i);
    }
}

static const char *const qwen2_types[] = {"qwen2", NULL};

const struct network network_qwen2 = {
    .name = "qwen2",
    .model_types = qwen2_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = qwen2_load,
    .compute = decoder_compute,
};
