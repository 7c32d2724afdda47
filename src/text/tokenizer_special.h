/* Finds the tokens that text may contain as a whole: control tokens (<|im_end|>) and user-defined
 * ones. Immutable after it was built. Private to src/text; knows no merging. */
#ifndef PENSIEVE_TEXT_TOKENIZER_SPECIAL_H
#define PENSIEVE_TEXT_TOKENIZER_SPECIAL_H

#include "text/tokenizer_vocab.h"

struct tokenizer_special {
    const struct tokenizer_vocab *vocab;
    uint32_t *ids; /* [n] ordered by their text, byte by byte */
    size_t n;
    bool begins[2][256]; /* [with control tokens] is there one that begins with this byte? */
};

/* `v` must outlive it, its types must be final. What it leaves half-built on failure deinit frees.
 */
bool tokenizer_special_init(struct tokenizer_special *s, const struct tokenizer_vocab *v,
                            struct error *err);
void tokenizer_special_deinit(struct tokenizer_special *s);

/* The first place at or after text where a special token stands, the longest of those that begin
 * there: its offset, or n_bytes if there is none; *id is that token. Control (and unknown) tokens
 * count only with `control`, and no marker (tokenizer_vocab_is_marker) of whose first two or
 * last two bytes is_data[n_bytes] has one; it may be NULL. */
size_t tokenizer_special_next(const struct tokenizer_special *s, const char *text,
                              const uint8_t *is_data, size_t n_bytes, bool control, int32_t *id);

#endif
