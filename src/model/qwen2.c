/* Qwen2 and Qwen2.5: Llama's block with biases on q, k and v, and RoPE over the halves of a head
 * (arXiv:2407.10671). */
#include "model/decoder.h"

static struct model *qwen2_create(const struct weights *w, struct backend *be,
                                  const struct model_info *info,
                                  const struct model_options *options, struct error *err)
{
    static const struct decoder_wiring wiring = {.rope = BACKEND_ROPE_HALVES,
                                                 .biases = DECODER_QKV_BIASES};
    return decoder_create(w, be, info, options, &wiring, err);
}

const struct network network_qwen2 = {
    .name = "qwen2",
    .create = qwen2_create,
    .destroy = decoder_destroy,
    .compute = decoder_compute,
};
