/* What a request changes about the model's logits before a token is drawn: penalties for what was
 * said of late, and biases of its own. The logits come back as they were, so that probabilities
 * told to the client are the model's. Used by the engine's thread alone. */
#ifndef PENSIEVE_ENGINE_PENALTIES_H
#define PENSIEVE_ENGINE_PENALTIES_H

#include "engine/engine.h"

struct penalties_saved {
    int32_t token;
    float logit;
};

struct penalties {
    uint32_t *counts;             /* [n_vocab] how often of late; all 0 between calls */
    struct penalties_saved *saved; /* [n_vocab + ENGINE_MAX_BIASES] what was changed */
    uint32_t n_vocab, n_saved;
};

bool penalties_init(struct penalties *p, uint32_t n_vocab);
void penalties_deinit(struct penalties *p);

/* Changes logits[n_vocab] as a request asks, whose tokens so far are tokens[n_tokens]. */
void penalties_apply(struct penalties *p, const struct engine_request *ask, const int32_t *tokens,
                     uint32_t n_tokens, float *logits);
/* Undoes the last penalties_apply. */
void penalties_undo(struct penalties *p, float *logits);

#endif
