/* The Jinja language of chat templates, as Hugging Face evaluates it: jinja2's immutable sandbox
 * with trim_blocks, lstrip_blocks, loop controls, {% generation %}, and their `tojson`; beyond it,
 * what templates of other servers use: methods that change lists and dictionaries (append, pop, …),
 * and the filter from_json. A template
 * is compiled once, is immutable after that and may be rendered by any thread. Knows no models and
 * no files. The only header of this part for others.
 *
 * Rendering tells, beside the text, whose each byte is: the template's own, or data, that is, out
 * of a string of the context. A byte stays what it is on all its ways through the template
 * (concatenation, slices, filters, macros, loops, tojson). What printing a value adds (digits,
 * quotes, brackets, escapes) is data, too. */
#ifndef PENSIEVE_JINJA_JINJA_H
#define PENSIEVE_JINJA_JINJA_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct jinja_template;

/* What one render may cost. A step is about one evaluated node or 64 bytes of text worked on. */
struct jinja_limits {
    uint64_t max_steps;
    size_t max_bytes; /* of memory for values and their marks, and of output */
    unsigned max_depth;
    time_t now; /* what strftime_now shows; 0 asks the clock */
};

/* Room for every real template and prompt; a hostile template ends within about a second. */
struct jinja_limits jinja_limits_default(void);

/* Compiles source[n_bytes] (copied). A syntax error is FORMAT with its offset; something Jinja has
 * but this engine has not (include, extends, …) is UNSUPPORTED. */
struct jinja_template *jinja_template_create(const char *source, size_t n_bytes, struct error *err);
void jinja_template_destroy(struct jinja_template *t);
/* Does the name stand anywhere in the template as a variable's? */
bool jinja_template_mentions(const struct jinja_template *t, const char *name);

/* What the caller knows about single strings of a context. Each note is about the very node (a
 * json_t of type string, to which the notes keep a reference), wherever the context has it; a copy
 * of the node has none. A later note about the same node replaces the earlier one. Without a note a
 * string is data. Keys of objects are always data.
 *
 *     json_t *bos = json_string("<s>"), *text = json_string("<tool_response>\n…");
 *     jinja_notes_own(notes, bos);            the caller's word: may become a control token
 *     jinja_notes_mixed(notes, text, marks);  marks[length of text], 1 where a byte is data
 *     jinja_notes_number(notes, json_string("123456789012345678901234567890"));
 *
 * Noting never fails by itself: when memory ran out, rendering with the notes says so. Not
 * thread-safe while notes are added; NULL nodes are passed over. */
struct jinja_notes;
struct jinja_notes *jinja_notes_create(void); /* NULL: out of memory */
void jinja_notes_destroy(struct jinja_notes *notes);
void jinja_notes_own(struct jinja_notes *notes, json_t *string);
void jinja_notes_mixed(struct jinja_notes *notes, json_t *string, const uint8_t *marks);
/* The string is a JSON number: a number to the template, printed by it and by tojson exactly as it
 * is written here, however large it is or many digits it has. What is no JSON number stays a
 * string. */
void jinja_notes_number(struct jinja_notes *notes, json_t *string);

/* Renders with the members of the object `context` as variables and appends to `out`, and to
 * `marks` one byte for each byte appended to `out`: 1 where it is data, else 0. `notes`, `limits`
 * and `marks` may be NULL. Errors: raise_exception is INPUT with its text; an error of evaluation
 * is FORMAT with the offset in the source; a limit is TOO_LARGE. Nothing is appended then. */
bool jinja_template_render(const struct jinja_template *t, const json_t *context,
                           const struct jinja_notes *notes, const struct jinja_limits *limits,
                           struct buf *out, struct buf *marks, struct error *err);

#endif
