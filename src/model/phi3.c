/* Phi-3: Llama's block with q, k and v in one matrix, gate and up in another, RoPE over the halves
 * of a head, and LongRoPE for long contexts (arXiv:2404.14219, arXiv:2402.13753). */
#include "model/decoder.h"

static struct model *phi3_create(const struct weights *w, struct backend *be,
                                 const struct model_info *info, const struct model_options *options,
                                 struct error *err)
{
    static const struct decoder_wiring wiring = {.rope = BACKEND_ROPE_HALVES,
                                                 .biases = DECODER_NO_BIASES,
                                                 .is_fused = true,
                                                 .has_window = true};
    return decoder_create(w, be, info, options, &wiring, err);
}

const struct network network_phi3 = {
    .name = "phi3",
    .create = phi3_create,
    .destroy = decoder_destroy,
    .compute = decoder_compute,
};
