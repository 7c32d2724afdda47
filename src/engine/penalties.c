/* See penalties.h. The repetition penalty is that of Keskar et al. 2019 (arXiv:1909.05858), which
 * multiplies a logit below 0 instead of dividing it, as everybody does since; those of frequency
 * and presence are OpenAI's (platform.openai.com/docs/api-reference/completions). All look back
 * over prompt and answer, as llama.cpp's do. */
#include "engine/penalties.h"

#include "base/error.h"
#include "base/memory.h"

enum { DEFAULT_WINDOW = 64 };

static size_t counts_bytes(const struct penalties *p)
{
    return p->n_vocab * sizeof *p->counts;
}

static size_t saved_bytes(const struct penalties *p)
{
    return ((size_t)p->n_vocab + ENGINE_MAX_BIASES) * sizeof *p->saved;
}

bool penalties_init(struct penalties *p, uint32_t n_vocab)
{
    struct error err;
    *p = (struct penalties){.n_vocab = n_vocab};
    p->counts = memory_map(counts_bytes(p), "penalties", &err);
    p->saved = memory_map(saved_bytes(p), "penalties", &err);
    return p->counts && p->saved;
}

void penalties_deinit(struct penalties *p)
{
    memory_unmap(p->counts, counts_bytes(p));
    memory_unmap(p->saved, saved_bytes(p));
    *p = (struct penalties){0};
}

static void penalties_save(struct penalties *p, int32_t token, float logit)
{
    p->saved[p->n_saved++] = (struct penalties_saved){token, logit};
}

void penalties_apply(struct penalties *p, const struct engine_request *ask, const int32_t *tokens,
                     uint32_t n_tokens, float *logits)
{
    const struct engine_sampling *s = &ask->sampling;
    const float repeat = s->repeat_penalty > 0 ? s->repeat_penalty : 1;
    const uint32_t wanted = s->penalty_window ? s->penalty_window : DEFAULT_WINDOW;
    const uint32_t window = wanted < n_tokens ? wanted : n_tokens;
    p->n_saved = 0;
    for (uint32_t i = 0; i < ask->n_biases; i++) {
        float *logit = &logits[ask->biases[i].token];
        penalties_save(p, ask->biases[i].token, *logit);
        *logit += ask->biases[i].bias;
    }
    if (repeat == 1 && s->frequency_penalty == 0 && s->presence_penalty == 0)
        return;
    const uint32_t first = p->n_saved;
    for (uint32_t i = n_tokens - window; i < n_tokens; i++)
        if (!p->counts[tokens[i]]++)
            penalties_save(p, tokens[i], logits[tokens[i]]);
    for (uint32_t i = first; i < p->n_saved; i++) {
        const int32_t token = p->saved[i].token;
        float *logit = &logits[token];
        *logit = *logit > 0 ? *logit / repeat : *logit * repeat;
        *logit -= (float)p->counts[token] * s->frequency_penalty + s->presence_penalty;
        p->counts[token] = 0;
    }
}

void penalties_undo(struct penalties *p, float *logits)
{
    while (p->n_saved) {
        const struct penalties_saved *saved = &p->saved[--p->n_saved];
        logits[saved->token] = saved->logit;
    }
}
