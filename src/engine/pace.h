/* How long a step takes, learned from those before it, so that prompts are read beside streams in
 * slices that do not make the streams stutter. Chooses only when something is computed, never what
 * comes out of it. */
#ifndef PENSIEVE_ENGINE_PACE_H
#define PENSIEVE_ENGINE_PACE_H

#include <stdint.h>

struct pace {
    double stream_ms; /* a step in which requests generate and nothing else; 0: none yet */
    double row_ms;    /* what a token of prompt adds to that; 0: none yet */
};

/* A step of n_streams rows that generate and n_prompt of prompts took so long. */
void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms);

/* How many tokens of prompt a step beside streams may have: at most `most`, and as many as keep it
 * below gap_ms or, where a step of streams alone is slow, below a multiple of that. */
uint32_t pace_rows(const struct pace *p, double gap_ms, uint32_t most);

#endif
