/* The RoPE of a model file: its base, and which way, if any, it was stretched to longer contexts.
 * Private to src/model. */
#ifndef PENSIEVE_MODEL_ROPE_SCALING_H
#define PENSIEVE_MODEL_ROPE_SCALING_H

#include "model/network.h"

/* Fills all of *out but its kind. n_ctx chooses between LongRoPE's two sets of factors: the long
 * ones where it is above the original context. False with an error for what is wrong or unknown. */
bool rope_scaling_read(const struct network_loader *loader, const struct model_info *info,
                       uint32_t n_ctx, struct backend_rope_params *out);

#endif
