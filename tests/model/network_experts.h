/* A network of mixtures alone, in one file: no layer attends or keeps anything, each has a norm and
 * experts (model/blocks.h), whose weights one of the two networks normalizes. */
#ifndef PENSIEVE_TESTS_MODEL_NETWORK_EXPERTS_H
#define PENSIEVE_TESTS_MODEL_NETWORK_EXPERTS_H

#include "model/network.h"

extern const struct network network_experts_alone;            /* "experts" */
extern const struct network network_experts_alone_normalized; /* "experts", too */

#endif
