/* SentencePiece's compiled table of replacements (precompiled_charsmap): a trie over the bytes of
 * what is replaced, as a double array, then the replacements one after the other. Every number in
 * it is checked where it is followed, and valid UTF-8 stays so. Immutable; any thread may use one.
 * Private to src/text. */
#ifndef PENSIEVE_TEXT_CHARSMAP_H
#define PENSIEVE_TEXT_CHARSMAP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct charsmap;

/* Copies the table. FORMAT or NO_MEMORY. */
struct charsmap *charsmap_create(const void *data, size_t n_bytes, struct error *err);
/* The same of a table in base64. */
struct charsmap *charsmap_create_base64(const char *text, size_t n, struct error *err);
void charsmap_destroy(struct charsmap *c);

/* A beginning of a text that is in the table. */
struct charsmap_match {
    size_t n_bytes; /* of it */
    const char *to; /* [n_to] what replaces it */
    size_t n_to;
};
/* The longest of text[n_bytes], or the shortest; false if there is none. */
bool charsmap_find(const struct charsmap *c, const char *text, size_t n_bytes, bool longest,
                   struct charsmap_match *match);

#endif
