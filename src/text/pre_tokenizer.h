/* Cuts text into the pieces inside which a vocabulary merges: words, numbers, runs of punctuation
 * or space, by the expressions that it was trained with. Stages in a row: each cuts every piece of
 * the one before, or writes it anew. Immutable once it is filled; any thread may use it. Knows no
 * tokens. Private to src/text. */
#ifndef PENSIEVE_TEXT_PRE_TOKENIZER_H
#define PENSIEVE_TEXT_PRE_TOKENIZER_H

#include "base/error.h"
#include "text/regex.h"

#include <stdbool.h>
#include <stddef.h>

struct pre_tokenizer;

/* One without stages: the text is one piece. */
struct pre_tokenizer *pre_tokenizer_create(struct error *err);
void pre_tokenizer_destroy(struct pre_tokenizer *p);

/* By its name in tokenizer.ggml.pre (not terminated); unknown: UNSUPPORTED, and the message names
 * it. What else the name says goes into `traits`. */
struct pre_tokenizer_traits {
    bool ignores_merges; /* a piece that is a token as a whole is taken without merging */
    bool adds_bos;       /* what holds where tokenizer.ggml.add_bos_token is missing */
};
struct pre_tokenizer *pre_tokenizer_create_named(const char *name, size_t n_name,
                                                 struct pre_tokenizer_traits *traits,
                                                 struct error *err);

/* What becomes of the matches of an expression; tokenizer.json's "behavior". */
enum pre_tokenizer_behavior {
    PRE_TOKENIZER_REMOVED,
    PRE_TOKENIZER_ISOLATED,
    PRE_TOKENIZER_MERGED_WITH_PREVIOUS,
    PRE_TOKENIZER_MERGED_WITH_NEXT,
    PRE_TOKENIZER_CONTIGUOUS, /* matches side by side are one piece */
};

/* Stages. Each false: out of memory, or too many of them (UNSUPPORTED). */
/* Takes `r`, also on failure. `invert`: what lies between the matches is what matches. */
bool pre_tokenizer_add_regex(struct pre_tokenizer *p, struct regex *r,
                             enum pre_tokenizer_behavior behavior, bool invert, struct error *err);
/* Puts a space before a piece that begins with none. */
bool pre_tokenizer_add_space(struct pre_tokenizer *p, struct error *err);
/* SentencePiece's: spaces become `mark` (a character, n bytes), one is put first where `scheme`
 * says so and there is none, and with `split` pieces begin at each. */
enum pre_tokenizer_scheme {
    PRE_TOKENIZER_NEVER,
    PRE_TOKENIZER_FIRST, /* before the text's first piece */
    PRE_TOKENIZER_ALWAYS,
};
bool pre_tokenizer_add_spaces(struct pre_tokenizer *p, const char *mark, size_t n_mark,
                              enum pre_tokenizer_scheme scheme, bool split, struct error *err);

/* Takes one piece; false ends the splitting. */
typedef bool pre_tokenizer_sink(void *context, const char *piece, size_t n_bytes);

/* Hands text[n_bytes], which must be valid UTF-8, to the sink in order, piece by piece. `first`:
 * nothing stands before it. False: out of memory, or the sink said so. */
bool pre_tokenizer_split(const struct pre_tokenizer *p, const char *text, size_t n_bytes,
                         bool first, pre_tokenizer_sink *sink, void *context);

#endif
