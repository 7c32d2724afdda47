/* See facts.h. */
#include "convert/facts.h"

#include <stdio.h>

struct facts_name facts_architecture(const struct weights *w)
{
    struct facts_name name = {""};
    struct weights_string s;
    if (weights_string(w, "general.architecture", &s) && s.len < sizeof name.text)
        snprintf(name.text, sizeof name.text, "%.*s", (int)s.len, s.data);
    return name;
}

struct facts_key {
    char text[160];
};

static struct facts_key facts_key(const struct weights *w, const char *key)
{
    struct facts_key out;
    snprintf(out.text, sizeof out.text, "%s.%s", facts_architecture(w).text, key);
    return out;
}

bool facts_uint(const struct weights *w, const char *key, uint64_t *out)
{
    return weights_uint(w, facts_key(w, key).text, out);
}

bool facts_float(const struct weights *w, const char *key, float *out)
{
    return weights_float(w, facts_key(w, key).text, out);
}

bool facts_string(const struct weights *w, const char *key, struct weights_string *out)
{
    return weights_string(w, facts_key(w, key).text, out);
}

uint64_t facts_number(const struct weights *w, const char *key)
{
    uint64_t n = 0;
    return facts_uint(w, key, &n) ? n : 0;
}
