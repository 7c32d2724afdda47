#include "chat/matcher.h"

bool matcher_init(struct matcher *m, struct arena *arena, size_t n_max)
{
    *m = (struct matcher){arena_array(arena, n_max, sizeof *m->patterns), 0};
    return m->patterns || !n_max;
}

bool matcher_add(struct matcher *m, struct arena *arena, const char *bytes, size_t n)
{
    uint32_t *fallback = arena_array(arena, n, sizeof *fallback);
    if (!fallback)
        return false;
    for (uint32_t i = 1, k = 0; i < n; i++) {
        while (k && bytes[i] != bytes[k])
            k = fallback[k - 1];
        if (bytes[i] == bytes[k])
            k++;
        fallback[i] = k;
    }
    m->patterns[m->n_patterns++] = (struct matcher_pattern){bytes, (uint32_t)n, 0, fallback};
    return true;
}

void matcher_reset(struct matcher *m)
{
    for (size_t i = 0; i < m->n_patterns; i++)
        m->patterns[i].n_matched = 0;
}

int matcher_byte(struct matcher *m, char c)
{
    int found = -1;
    for (size_t i = 0; i < m->n_patterns; i++) {
        struct matcher_pattern *p = &m->patterns[i];
        while (p->n_matched && p->bytes[p->n_matched] != c)
            p->n_matched = p->fallback[p->n_matched - 1];
        if (p->bytes[p->n_matched] == c && ++p->n_matched == p->n) {
            p->n_matched = p->fallback[p->n - 1];
            if (found < 0)
                found = (int)i;
        }
    }
    return found;
}

size_t matcher_pending(const struct matcher *m)
{
    size_t most = 0;
    for (size_t i = 0; i < m->n_patterns; i++)
        if (m->patterns[i].n_matched > most)
            most = m->patterns[i].n_matched;
    return most;
}

size_t matcher_length(const struct matcher *m, int pattern)
{
    return m->patterns[pattern].n;
}
