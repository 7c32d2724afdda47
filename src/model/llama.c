/* Llama 1 to 3 and whatever calls itself so (SmolLM2, Mistral 7B): Touvron et al. 2023,
 * arXiv:2302.13971. RoPE over neighbouring pairs, as GGUF permutes its q and k; biases where the
 * file has them. */
#include "model/decoder.h"

static void llama_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, BACKEND_ROPE_PAIRS);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, 0, NETWORK_OPTIONAL);
        decoder_load_feed_forward(d, loader, i);
    }
}

const struct network network_llama = {
    .name = "llama",
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = llama_load,
    .compute = decoder_compute,
};
