/* Carries a plan out: rows are read, encoded by all threads, and written where they belong, a slice
 * at a time. */
#ifndef PENSIEVE_CONVERT_WORK_H
#define PENSIEVE_CONVERT_WORK_H

#include "convert/output.h"
#include "convert/plan.h"
#include "convert/progress.h"

/* Writes all files of a plan that is laid out. FORMAT: a weight is no finite number; IO; NO_MEMORY;
 * CANCELLED. */
bool work_do(const struct plan *p, struct output *out, const struct convert_sink *sink,
             struct error *err);

#endif
