/* JSON whose numbers stay as they were written. jansson holds 64-bit integers and doubles; a number
 * that it would change (20 digits, 1e400, 0.10, -0) is kept as its literal instead. In a tree that
 * json_exact_load made, such a number is a jansson string which holds a byte that no UTF-8 has, so
 * that nobody can forge one: ask json_exact_is_string where a string is meant, and write with
 * json_exact_write. Knows no meanings. Any thread. */
#ifndef PENSIEVE_CHAT_JSON_EXACT_H
#define PENSIEVE_CHAT_JSON_EXACT_H

#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Reads an object or array, zeros in strings allowed. NULL with *at (which may be NULL) as
 * json_loadb has it; on out of memory as well. */
json_t *json_exact_load(const char *bytes, size_t n, json_error_t *at);

bool json_exact_is_string(const json_t *value); /* false for NULL */
bool json_exact_is_number(const json_t *value);
/* The nearest double, which may be infinite; 0 if it is no number. */
double json_exact_number(const json_t *value);

enum {
    JSON_EXACT_SPACED = 1,  /* ", " and ": ", as Python writes */
    JSON_EXACT_SORTED = 2,  /* keys in the order of their bytes */
    JSON_EXACT_ROUNDED = 4, /* every number as its nearest double: what JavaScript makes of it */
};
/* Appends the value; failures are the buffer's. */
void json_exact_write(struct buf *out, const json_t *value, unsigned flags);

/* The tree for somebody who knows other numbers than jansson (jinja_notes_number): a new reference
 * to the value itself where all its numbers are jansson's; otherwise a copy, in which the others
 * are strings of their literals, each of which `number` is told of. NULL for NULL, or out of
 * memory. */
json_t *json_exact_view(json_t *value, void (*number)(void *context, json_t *string),
                        void *context);

#endif
