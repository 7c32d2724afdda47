/* Who computes in a step: the next token of every request that generates, and a slice of the
 * prompts that are still being read. */
#ifndef PENSIEVE_ENGINE_SCHEDULE_H
#define PENSIEVE_ENGINE_SCHEDULE_H

#include "engine/state.h"

struct schedule {
    struct request *requests[BACKEND_MAX_ROWS]; /* of each sequence of the batch */
    uint32_t n_rows_of[BACKEND_MAX_ROWS];       /* its rows */
    uint32_t n_sequences, n_rows;
    uint32_t n_prompt_rows; /* of them, of prompts that are not at their end */
    uint32_t n_guesses;     /* of them, guessed */
};

/* Fills the engine's rows and sequences; everyone that computes has its pages already. */
void schedule_step(struct engine *e, struct schedule *s);

#endif
