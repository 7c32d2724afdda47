#include "engine/pace.h"

enum {
    FIRST_ROWS = 32, /* where nothing is known yet */
    LEAST_ROWS = 8,  /* or a prompt would never be read */
    NOTED_ROWS = 4,  /* fewer tell little about one */
};

static const double learning = 0.25, slower_than_streams = 2.5;

static double learned(double old, double now)
{
    return old > 0 ? old + learning * (now - old) : now;
}

void pace_note(struct pace *p, uint32_t n_streams, uint32_t n_prompt, double ms)
{
    if (!n_prompt) {
        p->stream_ms = learned(p->stream_ms, ms);
    } else if (n_prompt >= NOTED_ROWS) {
        double rest = ms - (n_streams ? p->stream_ms : 0);
        p->row_ms = learned(p->row_ms, rest > 0 ? rest / n_prompt : 0);
    }
}

uint32_t pace_rows(const struct pace *p, double gap_ms, uint32_t most)
{
    double rows = FIRST_ROWS;
    if (p->stream_ms * slower_than_streams > gap_ms)
        gap_ms = p->stream_ms * slower_than_streams;
    if (p->row_ms > 0)
        rows = (gap_ms - p->stream_ms) / p->row_ms;
    if (rows < LEAST_ROWS)
        rows = LEAST_ROWS;
    return rows < most ? (uint32_t)rows : most;
}
