/* Random weights in any block format, the same for the same seed, with scales such that a network's
 * activations stay finite. Knows no file format. */
#ifndef PENSIEVE_BENCH_RANDOM_WEIGHTS_H
#define PENSIEVE_BENCH_RANDOM_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random_weights {
    uint64_t state;
};

/* A stream of its own for each tensor. */
void random_weights_init(struct random_weights *r, uint64_t seed, const char *tensor);

void random_weights_bytes(struct random_weights *r, void *out, size_t n_bytes);
float random_weights_uniform(struct random_weights *r); /* in [0, 1) */

/* The number of the type of that name ("Q4_0") if blocks of it can be filled, or -1. */
int random_weights_type(const char *name);

/* n elements (whole blocks) of a type that random_weights_type() gave, of about this mean and
 * standard deviation; quantized types have mean 0. */
void random_weights_fill(struct random_weights *r, uint32_t type, float mean, float deviation,
                         void *out, size_t n);

#endif
