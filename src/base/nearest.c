/* The distance is the one of Damerau and Levenshtein, in which no letter is touched twice. */
#include "base/nearest.h"

#include <string.h>

enum { NEAREST_MAX = 48, NEAREST_PREFIX = 3 };

void nearest_init(struct nearest *n, const char *wanted, size_t n_wanted)
{
    *n = (struct nearest){wanted, n_wanted, NULL, (size_t)-1};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance_of(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t rows[3][NEAREST_MAX + 1];
    for (size_t k = 0; k <= n_b; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= n_a; i++) {
        const size_t *before = rows[(i - 1) % 3], *two_before = rows[(i + 1) % 3];
        size_t *row = rows[i % 3];
        row[0] = i;
        for (size_t k = 1; k <= n_b; k++) {
            row[k] =
                least(least(before[k], row[k - 1]) + 1, before[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], two_before[k - 2] + 1);
        }
    }
    return rows[n_a % 3][n_b];
}

void nearest_offer(struct nearest *n, const char *candidate)
{
    const size_t n_wanted = n->n_wanted, n_candidate = strlen(candidate);
    if (!n_wanted || n_wanted > NEAREST_MAX || n_candidate > NEAREST_MAX)
        return;
    const size_t most = n_wanted < 4 ? 1 : 2;
    size_t distance = distance_of(n->wanted, n_wanted, candidate, n_candidate);
    if (n_wanted >= NEAREST_PREFIX && !strncmp(n->wanted, candidate, n_wanted))
        distance = least(distance, most);
    if (distance > most || distance >= n->distance || distance >= n_wanted)
        return;
    n->found = candidate;
    n->distance = distance;
}
