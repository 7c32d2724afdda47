/* How many tokens of prompt a step may have beside requests that generate, so that these do not
 * stutter: learned from how long the steps before it took. Chooses only when something is computed,
 * never what comes out of it. */
#ifndef PENSIEVE_ENGINE_PACE_H
#define PENSIEVE_ENGINE_PACE_H

#include <stdint.h>

struct pace {
    uint32_t tile;    /* rows that the backend computes at once (its traits) */
    double stream_ms; /* a step in which requests generate and nothing else; 0: none yet */
    double ms;        /* a step with prompts of the size at hand; 0: none yet */
    uint32_t size;    /* rows of such a step; 0: none yet */
    uint32_t asked;   /* what became of that in the last one */
};

/* How many tokens of prompt the next step may have beside n_streams rows that generate; at most
 * `most`. The step should not take longer than gap_ms or, where a step of streams alone is slow, a
 * multiple of that. */
uint32_t pace_rows(struct pace *p, double gap_ms, uint32_t n_streams, uint32_t most);

/* A step of n_streams rows that generate and n_prompt of prompts took so long. */
void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms);

#endif
