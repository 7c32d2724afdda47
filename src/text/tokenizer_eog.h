/* Which tokens end a generation: those that the file names, and those that are known by their text.
 * Private to src/text. */
#ifndef PENSIEVE_TEXT_TOKENIZER_EOG_H
#define PENSIEVE_TEXT_TOKENIZER_EOG_H

#include "text/tokenizer_vocab.h"

enum { TOKENIZER_MAX_EOG = 128 };

struct tokenizer_eog {
    int32_t ids[TOKENIZER_MAX_EOG];
    size_t n;
};

/* A known token that the file calls user-defined becomes a control token in `v`. */
void tokenizer_eog_init(struct tokenizer_eog *e, const struct tokenizer_file *f,
                        struct tokenizer_vocab *v);
bool tokenizer_eog_has(const struct tokenizer_eog *e, int32_t id);

#endif
