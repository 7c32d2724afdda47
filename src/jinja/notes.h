/* What the caller noted about strings of its context (jinja.h), looked up by their nodes. */
#ifndef PENSIEVE_JINJA_NOTES_H
#define PENSIEVE_JINJA_NOTES_H

#include "jinja/jinja.h"

struct jinja_note {
    json_t *string; /* NULL: a free place */
    uint8_t *marks; /* [length] or NULL: it is the caller's own */
    bool is_number;
};

/* The note about a node, or NULL. `notes` may be NULL. */
const struct jinja_note *jinja_notes_find(const struct jinja_notes *notes, const json_t *string);
/* Did memory run out while notes were added? */
bool jinja_notes_failed(const struct jinja_notes *notes);

#endif
