/* How many tokens of prompt a step may have beside requests that generate: learned from how long
 * the steps before it took. Chooses only when something is computed, never what comes out of it.
 *
 * The promise, on any machine and with any model. *Streams* are the requests that generate, all of
 * them together; a step of theirs alone takes so long as it takes, `plain`. What a mixed step takes
 * beyond that is the prompts'. Of the time in which both are there, the prompts get 0.6 and the
 * streams 0.4. So
 * - prompts keep at least half of their lone speed, if the rows of a step cost no more than 1.2
 *   times what those of a full batch cost: it has as many as that takes, which a tile of the
 *   backend's is enough for;
 * - a stream keeps 0.8 of its fair share, which is what it would have if prompts and streams had
 *   half of the time each.
 * A step with as many rows as fit into the prompts' share takes 2.5 times a plain one: 60 ms where
 * that takes 24. Where so few rows fit that they would be computed badly, the step has more of
 * them, and steps without any come between: then it is the gap that gives way. */
#ifndef PENSIEVE_ENGINE_PACE_H
#define PENSIEVE_ENGINE_PACE_H

#include <stdint.h>

enum {
    PACE_STREAMS = 16, /* rows of streams that are told apart */
    PACE_SIZES = 24,   /* of steps, twice as large each */
};

struct pace_cost {
    double ms;    /* 0: not known */
    uint32_t age; /* mixed steps since it was measured */
};

struct pace {
    uint32_t tile; /* rows that the backend computes at once (its traits) */
    /* The rest is zero at first. */
    struct pace_cost plain[PACE_STREAMS]; /* a step with so many rows of streams, and no others */
    struct pace_cost row[PACE_SIZES];     /* of a prompt, in mixed steps of a size */
    double lone_row_ms;                   /* in steps without streams; 0: not known */
    double credit_ms;                     /* of the prompts: what they did not use of their share */
};

/* How many tokens of prompt the next step may have beside n_streams rows that generate; at most
 * `most`. None at all: it is the streams' turn. */
uint32_t pace_rows(struct pace *p, uint32_t n_streams, uint32_t most);

/* A step of n_streams rows that generate and n_prompt of prompts took so long. */
void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms);

#endif
