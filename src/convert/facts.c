/* See facts.h. */
#include "convert/facts.h"

#include <stdio.h>

const struct facts_row facts_rows[FACTS_N_ROWS] = {
    {HYPER_N_CTX, false},
    {HYPER_N_EMBD, false},
    {HYPER_N_LAYERS, false},
    {HYPER_N_FF, false},
    {HYPER_N_HEADS, false},
    {HYPER_NORM_EPS, true},
    {HYPER_N_EXPERTS, false},
    {HYPER_N_EXPERTS_USED, false},
    {HYPER_N_EXPERT_FF, false},
    {HYPER_EMBEDDING_SCALE, true},
    {HYPER_RESIDUAL_SCALE, true},
    {HYPER_LOGIT_SCALE, true},
    {HYPER_ATTENTION_SCALE, true},
};

struct facts_name facts_architecture(const struct weights *w)
{
    struct facts_name name = {""};
    struct weights_string s;
    if (weights_string(w, "general.architecture", &s) && s.len < sizeof name.text)
        snprintf(name.text, sizeof name.text, "%.*s", (int)s.len, s.data);
    return name;
}

uint32_t facts_number(const struct hyper *h, enum hyper_key key)
{
    uint64_t n = 0;
    return hyper_uint(h, key, &n) && n <= UINT32_MAX ? (uint32_t)n : 0;
}
