/* The largest elements of a row, from the table's maxima and thresholds: exact, in every tier. */
#ifndef PENSIEVE_KERNELS_RANK_H
#define PENSIEVE_KERNELS_RANK_H

#include "kernels/kernels.h"

/* The n_wanted largest of x[n] that are above -infinity and not masked (kernels.h), descending; of
 * equal ones the lower index comes first. Returns how many there are, at most n_wanted. `out` has
 * room for n: it is working memory, too. */
size_t rank_largest(const struct kernels *k, const float *x, size_t n, const uint64_t *masked,
                    size_t n_wanted, struct kernels_ranked *out);

/* Sorts in the same order. */
void rank_sort(struct kernels_ranked *items, size_t n);

#endif
