/* SentencePiece-style vocabularies as llama.cpp tokenizes with them: characters are merged into
 * tokens, the pair whose token has the highest score first; what is no token becomes bytes
 * (<0x0A>). Immutable after it was read. Private to src/text; knows no special tokens. */
#ifndef PENSIEVE_TEXT_SPM_H
#define PENSIEVE_TEXT_SPM_H

#include "text/token_list.h"
#include "text/tokenizer_vocab.h"

struct spm {
    const struct tokenizer_vocab *vocab;
    const double *scores;  /* [n of the vocabulary], the file's; NULL: all are 0 */
    int32_t byte_ids[256]; /* -1: the vocabulary has no such byte */
    bool fuses_unknown;    /* one for all that stand side by side */
    bool cuts_at_marks;    /* nothing merges across a mark that follows another character */
    int32_t unknown;       /* for what is neither token nor byte; -1: it is left out */
};

/* Over a file and its vocabulary, which must outlive it. */
void spm_init(struct spm *m, const struct tokenizer_file *f, const struct tokenizer_vocab *v);

/* Appends the tokens of text[n_bytes], any bytes, in time n log n; with `prefix` as if a space
 * stood before it. False: out of memory. */
bool spm_encode(const struct spm *m, const char *text, size_t n_bytes, bool prefix,
                struct token_list *out);

#endif
