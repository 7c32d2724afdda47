/* Ministral 3 and Devstral 2: Llama's block with YaRN, and queries that grow with the position, as
 * Llama 4's: q * (1 + stretch * ln(1 + floor(position / n))), n being the context before YaRN. */
#include "model/decoder.h"

#include <math.h>

static void mistral3_load_stretch(struct decoder *d, struct network_loader *loader)
{
    struct backend_scale *query = &d->attn.query;
    uint64_t n = d->model.info.n_ctx_train;
    if (!hyper_float(&loader->hyper, HYPER_QUERY_STRETCH, &query->stretch) || query->stretch == 0)
        return;
    hyper_uint(&loader->hyper, HYPER_ROPE_N_CTX, &n);
    if (!(query->stretch > 0) || !isfinite(query->stretch) || n < 1 || n > UINT32_MAX)
        network_fail(loader, ERROR_FORMAT, "queries stretched by %g each %llu positions",
                     (double)query->stretch, (unsigned long long)n);
    query->n_positions = (uint32_t)n;
}

static void mistral3_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    decoder_init(d, loader, network_llama_rope(loader));
    mistral3_load_stretch(d, loader);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, network_window(loader, i), NETWORK_OPTIONAL);
        decoder_load_feed_forward(d, loader, i);
    }
}

static const char *const mistral3_types[] = {"ministral3", NULL};

const struct network network_mistral3 = {
    .name = "mistral3",
    .model_types = mistral3_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = mistral3_load,
    .compute = decoder_compute,
};
