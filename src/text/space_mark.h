/* U+2581, which SentencePiece's vocabularies have for a space, and where text may be cut because of
 * it. Private to src/text. */
#ifndef PENSIEVE_TEXT_SPACE_MARK_H
#define PENSIEVE_TEXT_SPACE_MARK_H

#include <stdbool.h>
#include <stddef.h>

#define SPACE_MARK "\xe2\x96\x81"
enum { SPACE_MARK_BYTES = 3 };

/* The bytes up to the first mark that follows another character. A vocabulary without a token in
 * which one does merges nothing across such a place, so that words are merged each for itself. */
size_t space_mark_next(const char *text, size_t n_bytes);
/* Is there one? */
bool space_mark_is_inside(const char *text, size_t n_bytes);

#endif
