#include "engine/use_heap.h"

#include <assert.h>
#include <stdlib.h>

void use_heap_deinit(struct use_heap *h)
{
    free(h->items);
    *h = (struct use_heap){0};
}

bool use_heap_reserve(struct use_heap *h, size_t n)
{
    if (n <= h->cap)
        return true;
    const size_t cap = n > 2 * h->cap ? n : 2 * h->cap;
    struct use_heap_item **items = realloc(h->items, cap * sizeof *items);
    if (!items)
        return false;
    h->items = items;
    h->cap = cap;
    return true;
}

static void use_heap_put(struct use_heap *h, struct use_heap_item *item, size_t place)
{
    h->items[place - 1] = item;
    item->place = place;
}

/* Brings an item from a place to where it belongs, towards the first. */
static void use_heap_rise(struct use_heap *h, struct use_heap_item *item, size_t place)
{
    for (; place > 1 && item->n_use < h->items[place / 2 - 1]->n_use; place /= 2)
        use_heap_put(h, h->items[place / 2 - 1], place);
    use_heap_put(h, item, place);
}

/* And away from it. */
static void use_heap_sink(struct use_heap *h, struct use_heap_item *item, size_t place)
{
    for (size_t child; (child = 2 * place) <= h->n; place = child) {
        if (child < h->n && h->items[child]->n_use < h->items[child - 1]->n_use)
            child++;
        if (item->n_use <= h->items[child - 1]->n_use)
            break;
        use_heap_put(h, h->items[child - 1], place);
    }
    use_heap_put(h, item, place);
}

void use_heap_add(struct use_heap *h, struct use_heap_item *item)
{
    assert(!item->place && h->n < h->cap);
    use_heap_rise(h, item, ++h->n);
}

void use_heap_remove(struct use_heap *h, struct use_heap_item *item)
{
    assert(item->place && h->items[item->place - 1] == item);
    struct use_heap_item *last = h->items[--h->n];
    const size_t place = item->place;
    item->place = 0;
    if (last == item)
        return;
    use_heap_rise(h, last, place);
    use_heap_sink(h, last, last->place);
}

void use_heap_use(struct use_heap *h, struct use_heap_item *item, uint64_t n_use)
{
    item->n_use = n_use;
    if (item->place) {
        use_heap_rise(h, item, item->place);
        use_heap_sink(h, item, item->place);
    }
}

struct use_heap_item *use_heap_least(const struct use_heap *h)
{
    return h->n ? h->items[0] : NULL;
}
