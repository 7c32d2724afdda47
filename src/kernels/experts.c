/* See experts.h. */
#include "kernels/experts.h"

#include "kernels/rank.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void route_token(const struct kernels *k, const float *logits, size_t n_experts,
                        size_t n_used, bool normalize, int32_t *experts, float *weights)
{
    float p[EXPERTS_MAX], sum = 0;
    struct kernels_ranked ranked[EXPERTS_MAX];
    memcpy(p, logits, n_experts * sizeof *p);
    k->softmax(p, n_experts);
    size_t n = rank_largest(k, p, n_experts, NULL, n_used, ranked);
    for (size_t i = 0; i < n_used; i++) {
        /* a broken model's NaN leaves too few */
        experts[i] = i < n ? ranked[i].index : 0;
        weights[i] = i < n ? ranked[i].value : NAN;
        sum += weights[i];
    }
    for (size_t i = 0; i < n_used && normalize; i++)
        weights[i] /= sum;
}

void experts_route(const struct kernels *k, const float *logits, size_t n_tokens, size_t n_experts,
                   size_t n_used, bool normalize, int32_t *experts, float *weights)
{
    assert(n_experts <= EXPERTS_MAX && n_used <= EXPERTS_MAX_USED && n_used <= n_experts);
    for (size_t t = 0; t < n_tokens; t++)
        route_token(k, logits + t * n_experts, n_experts, n_used, normalize, experts + t * n_used,
                    weights + t * n_used);
}

void experts_group(const int32_t *experts, size_t n_tokens, size_t n_used, size_t n_experts,
                   uint32_t *place, uint32_t *first, uint32_t *tokens)
{
    uint32_t next[EXPERTS_MAX];
    const size_t n = n_tokens * n_used;
    memset(first, 0, (n_experts + 1) * sizeof *first);
    for (size_t c = 0; c < n; c++)
        first[experts[c] + 1]++;
    for (size_t e = 0; e < n_experts; e++)
        first[e + 1] += first[e];
    memcpy(next, first, n_experts * sizeof *next);
    for (size_t c = 0; c < n; c++) {
        place[c] = next[experts[c]]++;
        tokens[place[c]] = (uint32_t)(c / n_used);
    }
}

void experts_scatter(const struct kernels *k, const float *grouped, size_t width, size_t n_tokens,
                     size_t n_used, const uint32_t *place, const float *weights, float *out)
{
    assert(n_used <= EXPERTS_MAX_USED);
    for (size_t t = 0; t < n_tokens; t++) {
        const float *rows[EXPERTS_MAX_USED];
        for (size_t i = 0; i < n_used; i++)
            rows[i] = grouped + place[t * n_used + i] * width;
        k->weighted_sum(rows, weights + t * n_used, n_used, width, out + t * width);
    }
}
