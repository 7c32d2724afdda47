/* What the two files of filters share. */
#ifndef PENSIEVE_JINJA_FILTERS_H
#define PENSIEVE_JINJA_FILTERS_H

#include "jinja/value.h"

#define FILTER(name)                                                                               \
    static bool name(struct jinja *j, const struct jinja_value *self,                              \
                     const struct jinja_args *args, struct jinja_value *out)

extern const struct jinja_function jinja_sequence_filters[]; /* ends with a NULL name */

#endif
