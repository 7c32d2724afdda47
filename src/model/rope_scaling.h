/* The RoPE of a model file: its base, and which way, if any, it was stretched to longer contexts.
 * Private to src/model. */
#ifndef PENSIEVE_MODEL_ROPE_SCALING_H
#define PENSIEVE_MODEL_ROPE_SCALING_H

#include "model/network.h"

/* Fills all of *out but its kind, and puts it to the model's identity. The loader's n_ctx chooses
 * between LongRoPE's two sets of factors: the long ones where it is above the original context.
 * Fails for what is wrong or unknown. */
void rope_scaling_read(struct network_loader *loader, struct backend_rope_params *out);

#endif
