#include "engine/pace.h"

enum { LEAST = 4 }; /* rows of a step */

static const double learning = 0.25, slower_than_streams = 2.7, certainly = 0.95;

static double learned(double old, double now)
{
    return old > 0 ? old + learning * (now - old) : now;
}

/* Of a tile, a step's last may be so much. */
static uint32_t part_of_tile(const struct pace *p)
{
    return p->tile > 3 ? p->tile / 3 : 1;
}

/* The next size, or a double one if there is room for it. */
static uint32_t larger(const struct pace *p, double limit)
{
    if (p->ms * 2 < limit)
        return 2 * p->size;
    return p->size < p->tile ? p->size + 2 : p->size + part_of_tile(p);
}

static uint32_t smaller(const struct pace *p, double limit)
{
    const uint32_t part = part_of_tile(p);
    if (p->ms > 1.5 * limit && p->size >= 2 * p->tile)
        return p->size / 2 / part * part;
    if (p->size > p->tile)
        return p->size - part;
    return p->size > LEAST ? p->size - 2 : p->size;
}

static void set_size(struct pace *p, uint32_t size)
{
    if (p->size != size)
        p->ms = 0;
    p->size = size;
}

uint32_t pace_rows(struct pace *p, double gap_ms, uint32_t n_streams, uint32_t most)
{
    const double slow = p->stream_ms * slower_than_streams, limit = slow > gap_ms ? slow : gap_ms;
    if (!p->size)
        set_size(p, 2 * p->tile); /* nothing is known yet */
    const uint32_t more = larger(p, limit);
    if (p->ms > limit)
        set_size(p, smaller(p, limit));
    else if (p->ms > 0 && p->size < most && p->ms * more / p->size < limit * certainly)
        set_size(p, more);
    uint32_t rows = p->size > n_streams + LEAST ? p->size - n_streams : LEAST;
    rows = rows < most ? rows : most;
    p->asked = n_streams + rows;
    return rows;
}

void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms)
{
    if (!n_prompt)
        p->stream_ms = learned(p->stream_ms, ms);
    else if (n_streams && n_streams + n_prompt == p->asked)
        p->ms = learned(p->ms, ms);
}
