/* A network that differs from all of src/model, in one file: attention and feed-forward read the
 * same norm side by side (as in GPT-J), their sum has a norm of its own behind it (as in Gemma 2),
 * and every second layer has a window and no keys and values: it reads those of the layer before
 * it. It has the tensors of a tiny llama. */
#ifndef PENSIEVE_TESTS_MODEL_NETWORK_PARALLEL_H
#define PENSIEVE_TESTS_MODEL_NETWORK_PARALLEL_H

#include "model/network.h"

enum { PARALLEL_WINDOW = 24 };

extern const struct network network_parallel;

#endif
