/* tokenizer.json, tokenizer_config.json and chat_template.jinja of a folder that is made out of a
 * GGUF file (github.com/huggingface/tokenizers). */
#ifndef PENSIEVE_CONVERT_TOKENIZER_JSON_H
#define PENSIEVE_CONVERT_TOKENIZER_JSON_H

#include "convert/plan.h"

/* Adds them to the plan's files; none where the input has no vocabulary. UNSUPPORTED when its kind
 * or its pre-tokenizer cannot be said there; FORMAT; NO_MEMORY. */
bool tokenizer_json_add(struct plan *p, struct error *err);

#endif
