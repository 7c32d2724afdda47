/* A model's own chat template, evaluated by our Jinja engine as Hugging Face's apply_chat_template
 * would: trim_blocks and lstrip_blocks on, loop controls, `tojson` without ASCII escapes,
 * `raise_exception`, `strftime_now`. Immutable after creation; any thread may render. */
#ifndef PENSIEVE_CHAT_CHAT_TEMPLATE_H
#define PENSIEVE_CHAT_CHAT_TEMPLATE_H

#include "base/buf.h"
#include "base/error.h"
#include "jinja/jinja.h"

#include <jansson.h>
#include <stddef.h>

struct chat_template;

/* Compiles a template's source (copied). A syntax error is FORMAT with the offset in the source. */
struct chat_template *chat_template_create(const char *source, size_t n_bytes, struct error *err);
void chat_template_destroy(struct chat_template *t);

/* Renders with the members of the object `context` as global variables (messages, tools,
 * add_generation_prompt, bos_token, eos_token, …) and appends to `out`, and to `marks` (or NULL)
 * one byte for each of them: 1 where it came out of the context, 0 where it is the template's own
 * or `notes` (or NULL; jinja.h) say so. raise_exception(text) is INPUT with that text; work and
 * depth are bounded, so that no template hangs or overflows the stack. */
bool chat_template_render(const struct chat_template *t, const json_t *context,
                          const struct jinja_notes *notes, struct buf *out, struct buf *marks,
                          struct error *err);

#endif
