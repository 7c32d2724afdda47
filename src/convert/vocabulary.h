/* A folder's tokenizer.json as GGUF's metadata says a vocabulary: tokens, their types, merges or
 * scores, the name of the pre-tokenizer, the tokens with a meaning, the chat template. */
#ifndef PENSIEVE_CONVERT_VOCABULARY_H
#define PENSIEVE_CONVERT_VOCABULARY_H

#include "convert/gguf_writer.h"

/* Puts all of it; n_rows is how many tokens the embedding has, more than the tokenizer names are
 * filled. UNSUPPORTED for a tokenizer that GGUF has no word for; FORMAT; NOT_FOUND where there is
 * none; NO_MEMORY. */
bool vocabulary_put(struct gguf_writer *g, const struct weights *w, size_t n_rows,
                    struct error *err);

#endif
