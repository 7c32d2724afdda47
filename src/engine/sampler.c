#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>

bool sampler_init(struct sampler *s, uint32_t n_vocab)
{
    s->n_vocab = n_vocab;
    s->candidates = malloc(n_vocab * sizeof *s->candidates);
    return s->candidates != NULL;
}

void sampler_deinit(struct sampler *s)
{
    free(s->candidates);
    *s = (struct sampler){0};
}

static bool is_masked(const uint64_t *masked, uint32_t id)
{
    return masked && (masked[id / 64] >> (id % 64) & 1);
}

static int32_t pick_greedy(const float *logits, uint32_t n_vocab, const uint64_t *masked)
{
    int32_t best = -1;
    float most = -INFINITY;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] > most && !is_masked(masked, i)) {
            most = logits[i];
            best = (int32_t)i;
        }
    return best;
}

static int by_logit_then_id(const void *a, const void *b)
{
    const struct sampler_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* A uniform number in [0, 1): splitmix64 (Steele et al. 2014) of seed and counter. */
static double uniform(uint64_t seed, uint64_t draw)
{
    uint64_t z = seed * 0xd1342543de82ef95u + (draw + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* The candidates worth sorting: those within e^-20 of the most probable, which a 53-bit draw
 * practically never leaves. */
static uint32_t gather(struct sampler *s, const float *logits, float temperature,
                       const uint64_t *masked)
{
    int32_t best = pick_greedy(logits, s->n_vocab, masked);
    if (best < 0)
        return 0;
    if (isinf(logits[best])) {
        s->candidates[0] = (struct sampler_candidate){0, best};
        return 1;
    }
    float least = logits[best] - 20.0f * temperature;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (logits[i] >= least && !is_masked(masked, i))
            s->candidates[n++] = (struct sampler_candidate){logits[i], (int32_t)i};
    return n;
}

int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *sampling,
                     uint64_t draw, const uint64_t *masked)
{
    if (!(sampling->temperature > 0))
        return pick_greedy(logits, s->n_vocab, masked);
    uint32_t n = gather(s, logits, sampling->temperature, masked);
    if (!n)
        return -1;
    struct sampler_candidate *c = s->candidates;
    qsort(c, n, sizeof *c, by_logit_then_id);
    if (sampling->top_k && n > sampling->top_k)
        n = sampling->top_k;

    /* c[i].logit becomes the probability relative to the first */
    double total = 0, most = c[0].logit;
    for (uint32_t i = 0; i < n; i++) {
        c[i].logit = (float)exp(((double)c[i].logit - most) / (double)sampling->temperature);
        total += (double)c[i].logit;
    }
    double kept = 0, enough = (double)sampling->top_p * total;
    uint32_t n_kept = 0;
    while (n_kept < n) {
        if (n_kept && (kept >= enough || c[n_kept].logit < sampling->min_p))
            break;
        kept += (double)c[n_kept++].logit;
    }
    double at = uniform(sampling->seed, draw) * kept;
    for (uint32_t i = 0; i + 1 < n_kept; i++) {
        at -= (double)c[i].logit;
        if (at < 0)
            return c[i].id;
    }
    return c[n_kept - 1].id;
}

float sampler_logprob(const float *logits, uint32_t n_vocab, int32_t id)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        if ((double)logits[i] > most)
            most = (double)logits[i];
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - most);
    return (float)((double)logits[id] - most - log(sum));
}
