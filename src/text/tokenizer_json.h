/* The parts of a tokenizer.json that are pipelines, and what other readers share of it. Private to
 * src/text. */
#ifndef PENSIEVE_TEXT_TOKENIZER_JSON_H
#define PENSIEVE_TEXT_TOKENIZER_JSON_H

#include "text/tokenizer_file.h"

/* Each reads its part of the file, NULL or null if there is none, into `f`. What is not known is
 * UNSUPPORTED, by its name. */
bool tokenizer_json_normalizer(struct tokenizer_file *f, const struct json_tree_value *part,
                               struct error *err);
/* Also says of what kind a BPE is: bytes after "ByteLevel", else characters. */
bool tokenizer_json_pre_tokenizer(struct tokenizer_file *f, const struct json_tree_value *part,
                                  struct error *err);
bool tokenizer_json_decoder(struct tokenizer_file *f, const struct json_tree_value *part,
                            struct error *err);
bool tokenizer_json_post_processor(struct tokenizer_file *f, const struct json_tree_value *part,
                                   struct error *err);

/* One added token as both tokenizer.json and tokenizer_config.json tell it: its content and flags,
 * under `id`, which must be below f->n. `where` is for the error. */
bool tokenizer_json_added(struct tokenizer_file *f, uint64_t id,
                          const struct json_tree_value *token, const char *where,
                          struct error *err);
/* From config.json, generation_config.json and tokenizer_config.json: bos, eos and other ends. */
void tokenizer_json_ends(struct tokenizer_file *f, const struct weights *w);

#endif
