/* Text of which some is ours, and may become control tokens, and the rest is what somebody said.
 * Knows nothing of tokens. */
#ifndef PENSIEVE_CHAT_MARKED_TEXT_H
#define PENSIEVE_CHAT_MARKED_TEXT_H

#include "base/buf.h"
#include "jinja/jinja.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct marked_text {
    struct buf bytes, marks; /* marks: 1 where a byte is data, else 0 */
    bool has_own;
};

void marked_text_init(struct marked_text *t, size_t max_bytes);
void marked_text_deinit(struct marked_text *t);
void marked_text_clear(struct marked_text *t);

/* Appending may fail like that of buffers: once, at the end, marked_text_failed says so. */
void marked_text_own(struct marked_text *t, const char *text);
void marked_text_data(struct marked_text *t, const char *bytes, size_t n);
void marked_text_json(struct marked_text *t, const json_t *value); /* data, as Python spaces it */
void marked_text_append(struct marked_text *t, const struct marked_text *other);
bool marked_text_failed(const struct marked_text *t);

/* The text as a string of a template's context; `notes` (or NULL) learn what is ours in it. NULL:
 * out of memory, or no UTF-8. */
json_t *marked_text_string(const struct marked_text *t, struct jinja_notes *notes);

#endif
