/* A model's own chat template, evaluated by our Jinja engine as Hugging Face's apply_chat_template
 * would: trim_blocks and lstrip_blocks on, loop controls, `tojson` without ASCII escapes,
 * `raise_exception`, `strftime_now`. The date is that of its creation, so that no prompt changes
 * its beginning at midnight. Immutable once its variables are set; any thread may render. */
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

/* What the template's variables are for this model, in the text of a JSON object such as
 * {"enable_thinking": false}; called once, before anything is rendered. INPUT with one sentence: it
 * is none, or names what a conversation fills in (messages, tools, add_generation_prompt, …). */
bool chat_template_set_variables(struct chat_template *t, const char *json, struct error *err);
/* An object: those, or none. */
const json_t *chat_template_variables(const struct chat_template *t);
/* The day of its creation, "2026-11-28". */
const char *chat_template_date(const struct chat_template *t);
/* The name stands somewhere in the template as a variable's. */
bool chat_template_mentions(const struct chat_template *t, const char *name);

/* Renders with the members of the object `context` as global variables (messages, tools,
 * add_generation_prompt, bos_token, eos_token, …) and appends to `out`, and to `marks` (or NULL)
 * one byte for each of them: 1 where it came out of the context, 0 where it is the template's own
 * or `notes` (or NULL; jinja.h) say so. raise_exception(text) is INPUT with that text; work and
 * depth are bounded, so that no template hangs or overflows the stack. */
bool chat_template_render(const struct chat_template *t, const json_t *context,
                          const struct jinja_notes *notes, struct buf *out, struct buf *marks,
                          struct error *err);

#endif
