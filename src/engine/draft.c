#include "engine/draft.h"

enum {
    FIRST_LENGTH = 4, /* as many as the kernels for few tokens take at once, nearly for nothing */
    MOST_LENGTH = 16,
    LEAST_MATCH = 3, /* tokens that must have stood there before */
    MOST_MATCH = 12, /* more say nothing more */
    MOST_PAUSE = 64,
};

/* How many tokens before a and before b are the same. */
static uint32_t n_same_before(const int32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t n = 0;
    while (n < a && n < MOST_MATCH && tokens[a - 1 - n] == tokens[b - 1 - n])
        n++;
    return n;
}

/* The latest place after the longest repetition of the end; 0: there is none. */
static uint32_t find_place(const int32_t *tokens, uint32_t n)
{
    uint32_t place = 0, longest = LEAST_MATCH - 1;
    for (uint32_t i = n - 1; i >= LEAST_MATCH && longest < MOST_MATCH; i--) {
        if (tokens[i - 1] != tokens[n - 1])
            continue;
        uint32_t n_same = n_same_before(tokens, i, n);
        if (n_same > longest) {
            longest = n_same;
            place = i;
        }
    }
    return place;
}

uint32_t draft_propose(struct draft *d, const int32_t *tokens, uint32_t n, uint32_t most,
                       int32_t *out)
{
    if (d->waits) {
        d->waits--;
        return 0;
    }
    if (!d->length)
        d->length = FIRST_LENGTH;
    const uint32_t wanted = d->length < most ? d->length : most;
    const uint32_t place = n > LEAST_MATCH && wanted ? find_place(tokens, n) : 0;
    uint32_t n_guessed = 0;
    while (place && n_guessed < wanted) {
        /* the end repeats itself: go on with what was guessed */
        const uint32_t i = place + n_guessed;
        out[n_guessed] = i < n ? tokens[i] : out[i - n];
        n_guessed++;
    }
    return n_guessed;
}

void draft_learn(struct draft *d, uint32_t n_guessed, uint32_t n_right)
{
    if (n_right == n_guessed) {
        d->length = d->length * 2 < MOST_LENGTH ? d->length * 2 : MOST_LENGTH;
        d->pause = 0;
    } else if (2 * n_right >= n_guessed) {
        d->pause = 0;
    } else {
        d->length = n_right > FIRST_LENGTH ? n_right : FIRST_LENGTH;
        if (!n_right) {
            d->pause = d->pause ? d->pause * 2 : 1;
            d->pause = d->pause < MOST_PAUSE ? d->pause : MOST_PAUSE;
            d->waits = d->pause;
        }
    }
}
