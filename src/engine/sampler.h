/* From logits to a token. A pure function of logits, settings and a counter: the same request draws
 * the same tokens whatever runs beside it. */
#ifndef PENSIEVE_ENGINE_SAMPLER_H
#define PENSIEVE_ENGINE_SAMPLER_H

#include "engine/engine.h"
#include "kernels/kernels.h"

struct sampler {
    struct kernels kernels;            /* those used here give the same bits in every tier */
    struct kernels_ranked *candidates; /* [n_vocab] working memory */
    uint32_t n_vocab;
};

bool sampler_init(struct sampler *s, uint32_t n_vocab);
void sampler_deinit(struct sampler *s);

/* Picks from logits[n_vocab], leaving out the tokens of the bitset `masked` (or NULL); if that
 * leaves one, then this one, whatever its logit. Order: temperature, top-k, top-p, min-p, as
 * Hugging Face's generate applies them; draw i of a seed is always the same number. Equal logits:
 * the lower id first. Returns -1 when no token is finite and unmasked. */
int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *sampling,
                     uint64_t draw, const uint64_t *masked);

/* ln softmax(logits)[id] */
float sampler_logprob(const struct sampler *s, const float *logits, int32_t id);

#endif
