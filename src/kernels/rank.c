/* See rank.h. The wanted-th largest of many blocks' maxima is not above the wanted-th largest
 * element, so few elements pass it, and only those are sorted. */
#include "kernels/rank.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_BLOCKS = 2048, BLOCK_STEP = 64 };

static int by_value_then_index(const void *a, const void *b)
{
    const struct kernels_ranked *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

void rank_sort(struct kernels_ranked *items, size_t n)
{
    qsort(items, n, sizeof *items, by_value_then_index);
}

/* The n_wanted-th largest of n values, 1 <= n_wanted <= n (Hoare's selection); reorders them. */
static float select_largest(float *x, size_t n, size_t n_wanted)
{
    size_t first = 0, last = n - 1;
    while (first < last) {
        float pivot = x[first + (last - first) / 2];
        size_t i = first, j = last;
        for (;; i++, j--) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i >= j)
                break;
            float t = x[i];
            x[i] = x[j];
            x[j] = t;
        }
        if (n_wanted - 1 <= j)
            last = j;
        else
            first = j + 1;
    }
    return x[first];
}

/* A value that at least n_wanted elements reach, or the least there is. */
static float threshold(const struct kernels *k, const float *x, size_t n, const uint64_t *masked,
                       size_t n_wanted)
{
    float maxima[MAX_BLOCKS];
    const size_t per_block = (n + MAX_BLOCKS - 1) / MAX_BLOCKS;
    const size_t block = (per_block + BLOCK_STEP - 1) / BLOCK_STEP * BLOCK_STEP;
    const size_t n_blocks = (n + block - 1) / block;
    if (n_wanted > n_blocks)
        return -INFINITY;
    k->maxima(x, n, masked, block, maxima);
    return select_largest(maxima, n_blocks, n_wanted);
}

size_t rank_largest(const struct kernels *k, const float *x, size_t n, const uint64_t *masked,
                    size_t n_wanted, struct kernels_ranked *out)
{
    if (!n || !n_wanted)
        return 0;
    float least = fmaxf(threshold(k, x, n, masked, n_wanted), -0x1.fffffep+127f);
    size_t n_found = k->above(x, n, masked, least, out);
    rank_sort(out, n_found);
    return n_found < n_wanted ? n_found : n_wanted;
}
