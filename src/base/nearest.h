/* Which of some names is meant by a misspelt one. Knows nothing of what they name. */
#ifndef PENSIEVE_BASE_NEAREST_H
#define PENSIEVE_BASE_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *wanted; /* as it was written, [n_wanted] */
    size_t n_wanted;
    const char *found; /* the likeliest of those offered so far; NULL: none is near */
    size_t distance;
};

void nearest_init(struct nearest *n, const char *wanted, size_t n_wanted);
/* Takes `candidate`, which is borrowed, if it is nearer than those before: one or two letters
 * wrong, missing, too many or swapped, or a name that begins like it. */
void nearest_offer(struct nearest *n, const char *candidate);

#endif
