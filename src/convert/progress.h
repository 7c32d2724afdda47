/* How far a conversion is, and who is told. */
#ifndef PENSIEVE_CONVERT_PROGRESS_H
#define PENSIEVE_CONVERT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct convert_progress {
    uint64_t n_done, n_total; /* bytes of what is made */
    double bytes_per_second;  /* since the first */
    const char *tensor;       /* that is being made */
};

/* Who is told how it goes, on the calling thread; each may be NULL. */
struct convert_sink {
    void (*progress)(void *context, const struct convert_progress *progress); /* often */
    void (*note)(void *context, const char *line); /* what the user should know; no newline */
    bool (*stopped)(void *context);                /* true: give up, nothing is left behind */
    void *context;
};

#endif
