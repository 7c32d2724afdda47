/* config.json and generation_config.json of a folder that is made out of a GGUF file, in the words
 * of the transformers library. */
#ifndef PENSIEVE_CONVERT_CONFIG_JSON_H
#define PENSIEVE_CONVERT_CONFIG_JSON_H

#include "convert/names.h"
#include "convert/plan.h"

/* Adds both to the plan's files. FORMAT for a hyper-parameter that is missing; UNSUPPORTED for one
 * that config.json cannot say. */
bool config_json_add(struct plan *p, const struct names_architecture *a, struct error *err);

/* What config.json says of how matrices are packed: two members and the comma before them, or
 * nothing. */
void config_json_put_quantization(const struct plan *p, struct buf *json);
const char *config_json_dtype(const struct plan *p);

#endif
