/* Guessing what a model says next from what was said before (prompt lookup: Saxena 2023,
 * github.com/apoorvumang/prompt-lookup-decoding): where the last few tokens stood earlier, the same
 * ones may follow. Guesses are checked in one batch and change nothing but the time. */
#ifndef PENSIEVE_ENGINE_DRAFT_H
#define PENSIEVE_ENGINE_DRAFT_H

#include <stdint.h>

/* How far guessing has paid for one request. All zero at first. */
struct draft {
    uint32_t length; /* tokens to guess at once; 0: not known yet */
    uint32_t waits;  /* tokens that are not to be guessed first */
    uint32_t pause;  /* how long it waited the last time */
};

/* Guesses at most `most` tokens after tokens[n] into out. Returns how many: 0 where nothing like
 * that has been said before, or where guessing has not paid. */
uint32_t draft_propose(struct draft *d, const int32_t *tokens, uint32_t n, uint32_t most,
                       int32_t *out);

/* Of n_guessed tokens the first n_right were what the model said. */
void draft_learn(struct draft *d, uint32_t n_guessed, uint32_t n_right);

#endif
