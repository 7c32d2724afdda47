/* The toy's mixture of experts: row by row, expert by expert. */
#include "backend/toy/toy_state.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void softmax(const float *scores, size_t n, float *p)
{
    float most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        most = scores[i] > most ? scores[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += p[i] = expf(scores[i] - most);
    for (size_t i = 0; i < n; i++)
        p[i] /= sum;
}

/* The most probable, which is then taken: its p becomes -1. */
static size_t take_best(float *p, size_t n, float *weight)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = p[i] > p[best] ? i : best;
    *weight = p[best];
    p[best] = -1;
    return best;
}

/* out += weight * expert e of x; h [n_ff] is working memory */
static void add_expert(const struct backend_experts *p, size_t e, const float *x, float weight,
                       float *h, float *out)
{
    const size_t n = p->w_gate->n_in, n_ff = p->w_gate->n_out;
    for (size_t i = 0; i < n_ff; i++) {
        const float gate = toy_dot(p->w_gate->data + (e * n_ff + i) * n, x, n);
        h[i] = gate / (1 + expf(-gate)) * toy_dot(p->w_up->data + (e * n_ff + i) * n, x, n);
    }
    for (size_t i = 0; i < n; i++)
        out[i] += weight * toy_dot(p->w_down->data + (e * n + i) * n_ff, h, n_ff);
}

static void mix_row(const struct backend_experts *experts, const float *x, const float *scores,
                    float *out)
{
    const size_t n_experts = experts->w_gate->n_experts, n = experts->w_gate->n_in;
    float p[BACKEND_MAX_EXPERTS], weights[BACKEND_MAX_EXPERTS_USED], sum = 0;
    size_t chosen[BACKEND_MAX_EXPERTS_USED];
    float *h = experts->gate->data, *in = experts->grouped->data;
    memcpy(in, x, n * sizeof *in); /* out may be x */
    memset(out, 0, n * sizeof *out);
    softmax(scores, n_experts, p);
    for (uint32_t i = 0; i < experts->n_used; i++) {
        chosen[i] = take_best(p, n_experts, &weights[i]);
        sum += weights[i];
    }
    for (uint32_t i = 0; i < experts->n_used; i++)
        add_expert(experts, chosen[i], in, experts->normalize ? weights[i] / sum : weights[i], h,
                   out);
}

void toy_experts(struct backend *be, const struct backend_activation *x,
                 const struct backend_activation *scores, const struct backend_experts *experts,
                 struct backend_activation *out)
{
    assert(scores->width == experts->w_gate->n_experts && x->width == experts->w_gate->n_in);
    for (size_t row = 0; row < ((struct toy *)be)->n_rows; row++)
        mix_row(experts, x->data + row * x->width, scores->data + row * scores->width,
                out->data + row * out->width);
}
