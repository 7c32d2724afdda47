/* The Jinja language of chat templates, as Hugging Face evaluates it: jinja2's immutable sandbox
 * with trim_blocks, lstrip_blocks, loop controls, {% generation %}, and their `tojson`. A template
 * is compiled once, is immutable after that and may be rendered by any thread. Knows no models and
 * no files. */
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
    size_t max_bytes; /* of memory for values, and of output */
    unsigned max_depth;
    time_t now; /* what strftime_now shows; 0 asks the clock */
};

/* Room for every real template and prompt; a hostile template ends within about a second. */
struct jinja_limits jinja_limits_default(void);

/* Compiles source[n_bytes] (copied). A syntax error is FORMAT with its offset; something Jinja has
 * but this engine has not (include, extends, …) is UNSUPPORTED. */
struct jinja_template *jinja_template_create(const char *source, size_t n_bytes, struct error *err);
void jinja_template_destroy(struct jinja_template *t);

/* Renders with the members of the object `context` as variables and appends to `out`. Errors:
 * raise_exception is INPUT with its text; an error of evaluation is FORMAT with the offset in the
 * source; a limit is TOO_LARGE. Nothing is appended then. `limits` may be NULL. */
bool jinja_template_render(const struct jinja_template *t, const json_t *context,
                           const struct jinja_limits *limits, struct buf *out, struct error *err);

#endif
