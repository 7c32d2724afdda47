/* Granite 3 and 4, dense: Llama's block with a factor on embeddings, on what is added to the
 * stream, on attention's scores and on logits (of the kind that Yang et al. 2022,
 * arXiv:2203.03466, speak for). */
#include "model/decoder.h"

#include <math.h>

/* As it was when the file has none; 0 is none, too. */
static void granite_factor(struct network_loader *loader, enum hyper_key key, float *out)
{
    float value = 0;
    if (!hyper_float(&loader->hyper, key, &value) || value == 0)
        return;
    if (!isfinite(value) || !(value > 0))
        network_fail(loader, ERROR_FORMAT, "%s is %g", hyper_name(&loader->hyper, key).text,
                     (double)value);
    *out = value;
}

static void granite_load(struct model *m, struct network_loader *loader)
{
    struct decoder *d = (struct decoder *)m;
    float divisor = 1;
    decoder_init(d, loader, network_llama_rope(loader));
    granite_factor(loader, HYPER_EMBEDDING_SCALE, &d->stream.embedding_scale);
    granite_factor(loader, HYPER_RESIDUAL_SCALE, &d->stream.residual_scale);
    granite_factor(loader, HYPER_ATTENTION_SCALE, &d->attn.scale);
    granite_factor(loader, HYPER_LOGIT_SCALE, &divisor);
    d->stream.logit_scale = 1 / divisor;
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_load_attention(d, loader, i, 0, NETWORK_OPTIONAL);
        decoder_load_feed_forward(d, loader, i);
    }
}

static const char *const granite_types[] = {"granite", NULL};

const struct network network_granite = {
    .name = "granite",
    .model_types = granite_types,
    .n_bytes = sizeof(struct decoder),
    .n_layer_bytes = sizeof(struct decoder_layer),
    .read = network_read_decoder,
    .load = granite_load,
    .compute = decoder_compute,
};
