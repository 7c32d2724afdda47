/* What a model's files recommend to who talks with it: the chat template and the sampling. A GGUF
 * file says it in its metadata, a folder in the JSON beside its weights. Knows no catalogue and no
 * command line. */
#ifndef PENSIEVE_CLI_RECOMMENDED_H
#define PENSIEVE_CLI_RECOMMENDED_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/engine.h"
#include "weights/weights.h"

enum { RECOMMENDED_MAX_TEMPLATE = 16 << 20 };

/* Appends the template's source to `out`, nothing where the model has none; `from` (or NULL)
 * becomes where it stands: "chat_template.jinja". Of a folder: chat_template.jinja, else
 * chat_template in tokenizer_config.json, else the one in chat_template.json. Where there are
 * several with names it is "default"; if that knows no tools and "tool_use" is there, a template
 * that is the one with tools and the other without. FORMAT when chat_template.json is no JSON;
 * TOO_LARGE. */
bool recommended_template(const struct weights *w, struct buf *out, const char **from,
                          struct error *err);

/* Writes what is said over *s: general.sampling.* of GGUF; generation_config.json of a folder,
 * where do_sample false is greedy. What no sampler could mean is passed over. */
void recommended_sampling(const struct weights *w, struct engine_sampling *s);

#endif
