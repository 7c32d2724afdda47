/* What backend.h says, proved for any backend, through backend.h alone: every operation against
 * plain double arithmetic, sequences, pages and windows, layers of different shapes, saving and
 * loading, what is refused, and the same bits in any batch where that is promised.
 *
 * How far results may be off: a product with F32 weights by float rounding; one with other weights
 * as if its inputs were rounded to 8 bits a block of 32 (logits near the largest, a tenth of that);
 * attention by what the KV type loses; everything else by a few units in the last place. */
#ifndef PENSIEVE_TESTS_BACKEND_CONFORMANCE_H
#define PENSIEVE_TESTS_BACKEND_CONFORMANCE_H

#include "backend/backend.h"

struct conformance_subject {
    const char *name;
    struct backend *(*create)(const void *context, struct error *err);
    const void *context; /* create's */
};

/* Prints; returns how many tests failed. */
int conformance_run(const struct conformance_subject *subject);

#endif
