/* Cuts text into the pieces inside which byte-level BPE merges: words, numbers, runs of punctuation
 * or space, by the regular expressions that a vocabulary was trained with. Immutable after
 * creation; any thread may use it. Knows no tokens. */
#ifndef PENSIEVE_TEXT_PRE_TOKENIZER_H
#define PENSIEVE_TEXT_PRE_TOKENIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct pre_tokenizer;

/* By its name in tokenizer.ggml.pre (not terminated); unknown: UNSUPPORTED, and the message names
 * it. */
struct pre_tokenizer *pre_tokenizer_create(const char *name, size_t n_name, struct error *err);
void pre_tokenizer_destroy(struct pre_tokenizer *p);

/* A piece that is a token as a whole is taken without merging. */
bool pre_tokenizer_ignores_merges(const struct pre_tokenizer *p);
/* What holds where tokenizer.ggml.add_bos_token is missing. */
bool pre_tokenizer_adds_bos(const struct pre_tokenizer *p);

/* Takes one piece; false ends the splitting. */
typedef bool pre_tokenizer_sink(void *context, const char *piece, size_t n_bytes);

/* Hands text[n_bytes], which must be valid UTF-8, to the sink in order, piece by piece: all of it,
 * whatever the expressions make of it. False: out of memory, or the sink said so. */
bool pre_tokenizer_split(const struct pre_tokenizer *p, const char *text, size_t n_bytes,
                         pre_tokenizer_sink *sink, void *context);

#endif
