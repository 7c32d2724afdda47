/* Finds the tokens that text may contain as a whole: control tokens (<|im_end|>) and user-defined
 * ones. Immutable after it was built. Private to src/text; knows no merging. */
#ifndef PENSIEVE_TEXT_TOKENIZER_SPECIAL_H
#define PENSIEVE_TEXT_TOKENIZER_SPECIAL_H

#include "base/arena.h"
#include "text/tokenizer_vocab.h"

/* A token and the text that stands for it. */
struct tokenizer_special_item {
    struct weights_string text;
    uint32_t id;
};

struct tokenizer_special {
    const struct tokenizer_vocab *vocab;
    const uint8_t *flags;                 /* [n of the vocabulary] enum tokenizer_flag */
    struct tokenizer_special_item *items; /* [n] ordered by their text, byte by byte */
    size_t n;
    bool begins[2][256];  /* [with control tokens] is there one that begins with this byte? */
    struct arena strings; /* texts that were normalized */
};

/* Those of a file that are looked for before normalizing, or those for after it, whose texts are
 * normalized, too. File and vocabulary must outlive it, types must be final. What it leaves
 * half-built on failure deinit frees. */
bool tokenizer_special_init(struct tokenizer_special *s, const struct tokenizer_file *f,
                            const struct tokenizer_vocab *v, bool normalized, struct error *err);
void tokenizer_special_deinit(struct tokenizer_special *s);

struct tokenizer_special_match {
    size_t begin, end; /* in the text, with the white space that is the token's */
    int32_t id;
};

/* The first place at or after `from` where a special token stands, the longest of those that begin
 * there. False if there is none. Control (and unknown) tokens count only with `control`, and no
 * marker (tokenizer_vocab_is_marker) of whose first two or last two bytes is_data[n_bytes] has one;
 * it may be NULL. */
bool tokenizer_special_next(const struct tokenizer_special *s, const char *text,
                            const uint8_t *is_data, size_t n_bytes, size_t from, bool control,
                            struct tokenizer_special_match *match);

#endif
