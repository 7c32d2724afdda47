/* Which tokens end a generation: those that the file names, and those that are known by their text.
 * Private to src/text. */
#ifndef PENSIEVE_TEXT_TOKENIZER_EOG_H
#define PENSIEVE_TEXT_TOKENIZER_EOG_H

#include "text/tokenizer_vocab.h"

enum { TOKENIZER_MAX_EOG = 48 };

struct tokenizer_eog {
    int32_t ids[TOKENIZER_MAX_EOG];
    size_t n;
};

/* `eos` may be -1. A known token that the file calls user-defined becomes a control token in `v`.
 */
void tokenizer_eog_init(struct tokenizer_eog *e, const struct weights *w, struct tokenizer_vocab *v,
                        int32_t eos);
bool tokenizer_eog_has(const struct tokenizer_eog *e, int32_t id);

/* The token id under a metadata key, `otherwise` if it is missing, -1 if there is no such token. */
int32_t tokenizer_eog_meta_id(const struct weights *w, const struct tokenizer_vocab *v,
                              const char *key, int32_t otherwise);

#endif
