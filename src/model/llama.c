/* Llama 1 to 3 and whatever calls itself so (SmolLM2, Mistral 7B): RoPE over neighbouring pairs, as
 * GGUF permutes its q and k; biases where the file has them. */
#include "model/decoder.h"

static struct model *llama_create(const struct weights *w, struct backend *be,
                                  const struct model_info *info, struct error *err)
{
    return decoder_create(w, be, info, BACKEND_ROPE_PAIRS, DECODER_OPTIONAL_BIASES, err);
}

static void llama_compute(struct model *m, const struct backend_batch *batch, float *logits)
{
    struct decoder *d = (struct decoder *)m;
    struct backend *be = m->be;

    be->ops->begin(be, batch);
    be->ops->embed(be, d->embedding, d->x);
    for (uint32_t i = 0; i < m->info.n_layers; i++) {
        decoder_attention(d, i);
        decoder_feed_forward(d, i);
    }
    decoder_output(d, logits);
    be->ops->end(be);
}

const struct network network_llama = {
    .name = "llama",
    .create = llama_create,
    .destroy = decoder_destroy,
    .compute = llama_compute,
};
