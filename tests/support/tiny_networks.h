/* A whole model of each architecture, small enough for unit tests: random weights, the byte
 * vocabulary of tiny_model.h, and hyper-parameters of which each matters. The very files are given
 * to the reference engine by scripts/golden/architectures.py. */
#ifndef PENSIEVE_TESTS_SUPPORT_TINY_NETWORKS_H
#define PENSIEVE_TESTS_SUPPORT_TINY_NETWORKS_H

#include "support/tiny_model.h"

/* What is done to one part of a file, to see that it matters: a key with a number gets this one
 * instead, a tensor this added to all its elements. */
struct tiny_change {
    const char *name;
    float value;
};

/* The name of a case ("qwen3", "gemma3", ...), NULL past the last. */
const char *tiny_network_name(size_t i);
/* A type that matrices may have ("f32", "q8_0", ...), NULL past the last. Vectors are F32. */
const char *tiny_network_type(size_t i);
/* Its file, tiny_model_deinit() ends it; `change` may be NULL. Aborts when there is no such case or type,
 * when nothing is called as the change, and when out of memory. */
void tiny_network_init(struct tiny_model *m, const char *name, const char *type,
                       const struct tiny_change *change);

#endif
