/* What a chat template can do, and which repairs it needs, found by trial when a model is loaded.
 * docs/templates.md tells of each repair. Knows no tokens. */
#ifndef PENSIEVE_CHAT_PROBE_H
#define PENSIEVE_CHAT_PROBE_H

#include "chat/render.h"

/* Fills in s->format, and which dialects the model was taught: bit i of *own_dialects is
 * dialects->rows[i]; where the template knows no calls, the first one. */
void probe_format(struct render_setup *s, const struct dialects *dialects, unsigned *own_dialects);

/* Appends the names of the repairs in use, with ", " between them. */
void probe_name_repairs(const struct dialog_format *format, struct buf *out);

#endif
