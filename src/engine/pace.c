#include "engine/pace.h"

#include "backend/backend.h"

enum {
    TILE = BACKEND_TILE_ROWS, /* rows that are computed at once */
    PART = TILE / 3,          /* of a tile, a step's last may be so much */
    LEAST = 4,                /* rows of a step */
    FIRST = 2 * TILE,         /* where nothing is known yet */
};

static const double learning = 0.25, slower_than_streams = 2.7, certainly = 0.95;

static double learned(double old, double now)
{
    return old > 0 ? old + learning * (now - old) : now;
}

/* The next size, or a double one if there is room for it. */
static uint32_t larger(const struct pace *p, double limit)
{
    if (p->ms * 2 < limit)
        return 2 * p->size;
    return p->size < TILE ? p->size + 2 : p->size + PART;
}

static uint32_t smaller(const struct pace *p, double limit)
{
    if (p->ms > 1.5 * limit && p->size >= 2 * TILE)
        return p->size / 2 / PART * PART;
    return p->size > TILE ? p->size - PART : p->size > LEAST ? p->size - 2 : p->size;
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
        set_size(p, FIRST);
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
