/* Mixtures of experts: which experts a token goes to, the order of rows by expert, and what becomes
 * of their results. */
#ifndef PENSIEVE_KERNELS_EXPERTS_H
#define PENSIEVE_KERNELS_EXPERTS_H

#include "kernels/kernels.h"

enum { EXPERTS_MAX = 1024, EXPERTS_MAX_USED = 64 };

/* For each of n_tokens the n_used most probable experts of softmax(logits[token]), descending, of
 * equal ones the lower first; `normalize`: their weights then sum to 1. n_experts <= EXPERTS_MAX,
 * n_used <= EXPERTS_MAX_USED. Where logits are NaN, so are weights. */
void experts_route(const struct kernels *k, const float *logits, size_t n_tokens, size_t n_experts,
                   size_t n_used, bool normalize, int32_t *experts, float *weights);

/* Where each of a token's choices goes when rows are grouped by expert, a group's in order of
 * token: choice c = token * n_used + i has place[c], expert e the places first[e] up to
 * first[e + 1], and place p is of token tokens[p]. */
void experts_group(const int32_t *experts, size_t n_tokens, size_t n_used, size_t n_experts,
                   uint32_t *place, uint32_t *first, uint32_t *tokens);

/* out[token] = sum over its choices, in their order, of weights[c] * grouped[place[c]]: the same
 * bits whatever tokens are beside it. */
void experts_scatter(const struct kernels *k, const float *grouped, size_t width, size_t n_tokens,
                     size_t n_used, const uint32_t *place, const float *weights, float *out);

#endif
