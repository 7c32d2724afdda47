/* Llama 1 to 3 and whatever calls itself so (SmolLM2, Mistral 7B): Touvron et al. 2023,
 * arXiv:2302.13971. Biases where the file has them; a window where a folder says so (Mistral). */
#include "model/decoder.h"

static void llama_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, network_llama_rope(loader));
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), NETWORK_OPTIONAL);
        decoder_load_feed_forward(d, loader, i);
    }
}

static const char *const llama_types[] = {"llama", "mistral", NULL};

const struct network network_llama = {
    .name = "llama",
    .model_types = llama_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = llama_load,
    .compute = decoder_compute,
};
