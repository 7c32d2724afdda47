/* How Llama 3.1 stretches RoPE (Meta's published code; transformers, modeling_rope_utils.py):
 * frequencies that turn often within the original context stay, slow ones are divided by a factor,
 * and those between are blended. Folders keep the constants, GGUF the divisors. */
#ifndef PENSIEVE_WEIGHTS_LLAMA3_ROPE_H
#define PENSIEVE_WEIGHTS_LLAMA3_ROPE_H

#include <stdbool.h>

struct llama3_rope {
    float factor;    /* of the slow ones */
    float low, high; /* turns within the original context: below and above nothing is blended */
    float n_original;
};

/* All finite, factor and low above 0, low below high. */
bool llama3_rope_is_sound(const struct llama3_rope *s);

/* What the frequency of pair i of n is divided by, with RoPE's base. */
float llama3_rope_divisor(const struct llama3_rope *s, float base, unsigned i, unsigned n);

#endif
