/* Writes text anew before it is cut: Unicode's normal forms, replacements, marks before a text, in
 * the order of the steps that were added. Whose bytes they are (see tokenizer_encode_marked) goes
 * along. Immutable once it is filled; any thread may use one, each with a scratch of its own. Knows
 * no tokens. Private to src/text. */
#ifndef PENSIEVE_TEXT_NORMALIZER_H
#define PENSIEVE_TEXT_NORMALIZER_H

#include "base/buf.h"
#include "base/error.h"
#include "text/charsmap.h"
#include "text/regex.h"

#include <stdint.h>

struct normalizer;

struct normalizer *normalizer_create(struct error *err); /* without steps: nothing changes */
void normalizer_destroy(struct normalizer *n);
bool normalizer_is_empty(const struct normalizer *n);

enum normalizer_form { NORMALIZER_NFC, NORMALIZER_NFD, NORMALIZER_NFKC, NORMALIZER_NFKD };

/* Steps. Each false with NO_MEMORY, or UNSUPPORTED where there are too many. */
bool normalizer_add_form(struct normalizer *n, enum normalizer_form form, struct error *err);
bool normalizer_add_lowercase(struct normalizer *n, struct error *err);
bool normalizer_add_strip(struct normalizer *n, bool left, bool right, struct error *err);
bool normalizer_add_strip_accents(struct normalizer *n, struct error *err);
/* Puts content[n_bytes] before a text that is not empty. */
bool normalizer_add_prepend(struct normalizer *n, const char *content, size_t n_bytes,
                            struct error *err);
/* Every match of `r` (taken, also on failure) becomes content[n_bytes]. */
bool normalizer_add_replace(struct normalizer *n, struct regex *r, const char *content,
                            size_t n_bytes, struct error *err);
/* Takes `c`, also on failure. What a table replaces in each of the characters that a reader sees,
 * as Hugging Face's tokenizers apply it. */
bool normalizer_add_charsmap(struct normalizer *n, struct charsmap *c, struct error *err);
/* The same as SentencePiece applies it: what is longest from each place on. `c` may be NULL. With
 * `trims` no space begins or ends a text or follows another. */
bool normalizer_add_sentencepiece(struct normalizer *n, struct charsmap *c, bool trims,
                                  struct error *err);

/* A text, and of each byte whether it is data; marks may be NULL: none is. */
struct normalizer_text {
    const char *text;
    const uint8_t *marks;
    size_t n;
};

/* Memory of one call, reused by the next. */
struct normalizer_scratch {
    struct buf text[2], marks[2];
    struct buf code_points;
    struct regex_scratch *match;
};
void normalizer_scratch_init(struct normalizer_scratch *s);
void normalizer_scratch_deinit(struct normalizer_scratch *s);

/* Replaces *text, which must be valid UTF-8, by its normal form: in the scratch, or the same where
 * nothing changes. Time grows as n log n at most. False: out of memory. */
bool normalizer_run(const struct normalizer *n, struct normalizer_scratch *s,
                    struct normalizer_text *text);

#endif
