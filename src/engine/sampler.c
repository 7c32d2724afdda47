/* See sampler.h. A vocabulary has a hundred thousand tokens and more, of which a draw nearly always
 * ends among the first few: only as many as it needs are put in order. */
#include "engine/sampler.h"

#include "kernels/rank.h"

#include <math.h>
#include <stdlib.h>

enum {
    FIRST_RANKED = 64, /* ranked at first, where top-k does not say */
    MORE_RANKED = 16,  /* times as many, if those are not enough */
    MOST_RANKED = 1024 /* then all */
};

/* Tokens below e^-20 of the most probable are left out: a 53-bit draw practically never ends
 * there. */
static const float range = 20.0f;

bool sampler_init(struct sampler *s, uint32_t n_vocab)
{
    kernels_init(&s->kernels, kernels_tier_best());
    s->n_vocab = n_vocab;
    s->candidates = malloc(n_vocab * sizeof *s->candidates);
    return s->candidates != NULL;
}

void sampler_deinit(struct sampler *s)
{
    free(s->candidates);
    *s = (struct sampler){0};
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

/* The candidates of one draw in descending order, as far as they are ranked. */
struct ranking {
    struct sampler *s;
    const float *logits;
    const uint64_t *masked;
    double temperature;
    float least;
    size_t n;    /* ranked */
    bool is_all; /* that there are */
};

static void rank(struct ranking *r, size_t n_wanted)
{
    struct kernels_ranked *c = r->s->candidates;
    r->n = rank_largest(&r->s->kernels, r->logits, r->s->n_vocab, r->masked, n_wanted, c);
    r->is_all = r->n < n_wanted;
    if (r->n)
        r->least = c[0].value - range * (float)r->temperature;
    while (r->n && c[r->n - 1].value < r->least) {
        r->n--;
        r->is_all = true;
    }
}

/* Is there a candidate i? */
static bool has(struct ranking *r, size_t i)
{
    if (i < r->n || r->is_all)
        return i < r->n;
    if (r->n * MORE_RANKED <= MOST_RANKED) {
        rank(r, r->n * MORE_RANKED);
    } else {
        r->n = r->s->kernels.above(r->logits, r->s->n_vocab, r->masked, r->least,
                                   r->s->candidates);
        rank_sort(r->s->candidates, r->n);
        r->is_all = true;
    }
    return i < r->n;
}

/* Relative to the first's. */
static double probability(const struct ranking *r, size_t i)
{
    const struct kernels_ranked *c = r->s->candidates;
    return (double)(float)exp(((double)c[i].value - (double)c[0].value) / r->temperature);
}

static double total_probability(struct ranking *r, bool is_cut)
{
    double total = 0;
    if (!is_cut)
        return r->s->kernels.exp_sum(r->logits, r->s->n_vocab, r->masked, r->least,
                                     r->s->candidates[0].value, (float)(1 / r->temperature));
    for (size_t i = 0; i < r->n; i++)
        total += probability(r, i);
    return total;
}

/* The only token that is not masked; -1: there are none, or several. */
static int32_t only_one(const uint64_t *masked, uint32_t n_vocab)
{
    int32_t one = -1;
    for (uint32_t i = 0; i < n_vocab; i += 64) {
        uint64_t open = ~masked[i / 64];
        if (n_vocab - i < 64)
            open &= (1ull << (n_vocab - i)) - 1;
        if (!open)
            continue;
        if (one >= 0 || (open & (open - 1)))
            return -1;
        one = (int32_t)i + __builtin_ctzll(open);
    }
    return one;
}

int32_t sampler_pick(struct sampler *s, const float *logits, const struct engine_sampling *sampling,
                     uint64_t draw, const uint64_t *masked)
{
    const struct kernels_ranked *c = s->candidates;
    struct ranking r = {s, logits, masked, (double)sampling->temperature, 0, 0, false};
    const int32_t one = masked ? only_one(masked, s->n_vocab) : -1;
    if (one >= 0)
        return one;
    if (!(sampling->temperature > 0))
        return rank_largest(&s->kernels, logits, s->n_vocab, masked, 1, s->candidates) ? c[0].index
                                                                                       : -1;
    rank(&r, sampling->top_k ? sampling->top_k : FIRST_RANKED);
    if (!r.n)
        return -1;
    if (isinf(c[0].value))
        return c[0].index;
    if (sampling->top_k)
        r.is_all = true;

    double kept = total_probability(&r, sampling->top_k);
    size_t n_kept = SIZE_MAX;
    if (sampling->top_p < 1 || sampling->min_p > 0) {
        const double enough = (double)sampling->top_p * kept;
        kept = 0;
        for (n_kept = 0; has(&r, n_kept); n_kept++) {
            double p = probability(&r, n_kept);
            if (n_kept && (kept >= enough || p < (double)sampling->min_p))
                break;
            kept += p;
        }
    }
    double at = uniform(sampling->seed, draw) * kept;
    size_t i = 0;
    for (; i + 1 < n_kept && has(&r, i + 1); i++) {
        at -= probability(&r, i);
        if (at < 0)
            break;
    }
    return c[i].index;
}

float sampler_logprob(const struct sampler *s, const float *logits, int32_t id)
{
    float most;
    s->kernels.maxima(logits, s->n_vocab, NULL, (size_t)s->n_vocab / 64 * 64 + 64, &most);
    double sum = s->kernels.exp_sum(logits, s->n_vocab, NULL, -INFINITY, most, 1);
    return (float)((double)logits[id] - (double)most - log(sum));
}
