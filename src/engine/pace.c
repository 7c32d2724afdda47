#include "engine/pace.h"

#include <stdbool.h>

enum {
    OLD = 200, /* mixed steps after which a cost is measured again */
    TILES = 2, /* of a step, in which rows are computed well */
};

static const double learning = 0.25;
static const double share = 0.6 / 0.4; /* the prompts' time to the streams' */
static const double nearly = 1.15;     /* times the least cost of a row that was seen, at most */
static const double debt = 4;          /* shares of plain steps that are not forgiven */

static uint32_t least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void learn(double *ms, double now)
{
    *ms = *ms > 0 ? *ms + learning * (now - *ms) : now;
}

/* ---- what rows cost ---- */

static uint32_t log2_of(uint32_t n)
{
    return n ? 31 - (uint32_t)__builtin_clz(n) : 0;
}

/* Few rows are computed otherwise than whole tiles. */
static uint32_t size_of(const struct pace *p, uint32_t n_rows)
{
    const uint32_t n_few = log2_of(p->tile) + 1;
    const uint32_t size =
        n_rows < p->tile ? log2_of(n_rows) : n_few + log2_of(n_rows / p->tile);
    return least_of(size, PACE_SIZES - 1);
}

/* The fewest rows of a size. */
static uint32_t size_begin(const struct pace *p, uint32_t size)
{
    const uint32_t n_few = log2_of(p->tile) + 1;
    return size < n_few ? 1u << size : p->tile << (size - n_few);
}

/* Of a prompt's row in a step of so many. A size that was not tried costs what rows cost without
 * streams, or as much as in one near it: so it is tried, and measured. 0: nobody knows. */
static double row_ms(const struct pace *p, uint32_t n_rows)
{
    const uint32_t size = size_of(p, n_rows);
    double ms = p->row[size].ms > 0 ? p->row[size].ms : p->lone_row_ms;
    for (uint32_t away = 1; !(ms > 0) && away < PACE_SIZES; away++) {
        if (size + away < PACE_SIZES)
            ms = p->row[size + away].ms;
        if (!(ms > 0) && size >= away)
            ms = p->row[size - away].ms;
    }
    return ms;
}

static struct pace_cost *plain_of(struct pace *p, uint32_t n_streams)
{
    return &p->plain[least_of(n_streams, PACE_STREAMS - 1)];
}

/* ---- how many ---- */

/* Rows of a prompt beside n_streams that make the step so large, in whole parts of a tile. */
static uint32_t beside(const struct pace *p, uint32_t n_streams, uint32_t n_rows)
{
    const uint32_t part = p->tile > 3 ? p->tile / 3 : 1;
    if (n_rows > p->tile)
        n_rows = n_rows / part * part;
    return n_rows > n_streams ? n_rows - n_streams : 1;
}

/* The most rows of a prompt that take no longer than ms; 0: not even one does. */
static uint32_t fit(const struct pace *p, uint32_t n_streams, double ms, uint32_t most)
{
    for (uint32_t size = size_of(p, n_streams + most);; size--) {
        const uint32_t begin = size_begin(p, size), end = size_begin(p, size + 1);
        const double n = ms / row_ms(p, begin);
        uint32_t n_rows = least_of(n < most ? (uint32_t)n : most, end - 1 - n_streams);
        if (end > n_streams + 1 && n_rows + n_streams >= begin && n_rows)
            return least_of(beside(p, n_streams, n_rows + n_streams), most);
        if (!size || end <= n_streams + 1)
            return 0;
    }
}

/* As few as are computed well: some below a tile, one, or two of them. */
static uint32_t fewest(const struct pace *p, uint32_t n_streams, uint32_t few, uint32_t most)
{
    uint32_t n[TILES + 1] = {few};
    double least = 0;
    for (uint32_t i = 1; i <= TILES; i++)
        n[i] = least_of(beside(p, n_streams, i * p->tile), most);
    for (uint32_t i = !few; i <= TILES; i++) {
        const double ms = row_ms(p, n_streams + n[i]);
        least = least > 0 && least < ms ? least : ms;
    }
    for (uint32_t i = !few; i < TILES; i++)
        if (row_ms(p, n_streams + n[i]) <= least * nearly)
            return n[i];
    return n[TILES];
}

uint32_t pace_rows(struct pace *p, uint32_t n_streams, uint32_t most)
{
    const struct pace_cost *plain = plain_of(p, n_streams);
    if (!(plain->ms > 0) || plain->age >= OLD || !most)
        return 0; /* it is measured */
    if (!(row_ms(p, p->tile) > 0))
        return least_of(beside(p, n_streams, p->tile), most);
    const double earned = plain->ms * share, one = row_ms(p, n_streams + 1);
    const double saved = p->credit_ms < one ? p->credit_ms : one; /* what a whole row left over */
    const uint32_t few = fit(p, n_streams, earned + (saved > 0 ? saved : 0), most);
    uint32_t n = few;
    if (n_streams + few < TILES * p->tile)
        n = fewest(p, n_streams, few, most);
    n = n > few ? n : few;
    const double cost = n * row_ms(p, n_streams + n);
    if (p->credit_ms > cost)
        p->credit_ms = cost; /* it is not saved up while there are no prompts */
    return p->credit_ms + earned >= cost ? n : 0;
}

/* ---- learning ---- */

static void grow_old(struct pace *p)
{
    for (uint32_t i = 0; i < PACE_STREAMS; i++)
        p->plain[i].age++;
    for (uint32_t i = 0; i < PACE_SIZES; i++)
        if (++p->row[i].age >= OLD)
            p->row[i].ms = 0;
}

static void note_mixed(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms)
{
    const double plain_ms = plain_of(p, n_streams)->ms, earned = plain_ms * share;
    const double cost = ms > plain_ms ? ms - plain_ms : 0.01 * plain_ms;
    struct pace_cost *row = &p->row[size_of(p, n_streams + n_prompt)];
    grow_old(p);
    learn(&row->ms, cost / n_prompt);
    row->age = 0;
    p->credit_ms += earned - cost;
    if (p->credit_ms < -debt * earned)
        p->credit_ms = -debt * earned;
}

void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms)
{
    if (n_prompt && n_streams) {
        note_mixed(p, n_streams, n_prompt, ms);
    } else if (n_prompt) {
        if (n_prompt >= p->tile)
            learn(&p->lone_row_ms, ms / n_prompt);
    } else {
        struct pace_cost *plain = plain_of(p, n_streams);
        learn(&plain->ms, ms);
        plain->age = 0;
        p->credit_ms += plain->ms * share;
    }
}
