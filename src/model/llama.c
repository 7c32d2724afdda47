/* Llama 1 to 3 and whatever calls itself so (SmolLM2, Mistral 7B): RoPE over neighbouring pairs, as
 * GGUF permutes its q and k; biases where the file has them. */
#include "model/decoder.h"

static struct model *llama_create(const struct weights *w, struct backend *be,
                                  const struct model_info *info,
                                  const struct model_options *options, struct error *err)
{
    static const struct decoder_wiring wiring = {.rope = BACKEND_ROPE_PAIRS,
                                                 .biases = DECODER_OPTIONAL_BIASES};
    return decoder_create(w, be, info, options, &wiring, err);
}

const struct network network_llama = {
    .name = "llama",
    .create = llama_create,
    .destroy = decoder_destroy,
    .compute = decoder_compute,
};
