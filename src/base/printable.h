/* Text of others (a model's, a file's, a client's) as a terminal may be shown it: what would be
 * obeyed or would hide something is written as \xNN. */
#ifndef PENSIEVE_BASE_PRINTABLE_H
#define PENSIEVE_BASE_PRINTABLE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* The bytes of the character that begins a text of n > 0 bytes, if it may be shown; 0 when its
 * first byte may not: a control character (C0, DEL, C1), a mark that turns the direction of
 * writing, or no UTF-8. */
size_t printable_char(const char *text, size_t n);
/* The text breaks off in the middle of a character that more bytes might make whole. */
bool printable_is_cut(const char *text, size_t n);

/* Appends the text, with \xNN for each byte that may not be shown, apart from the characters in
 * `as_is`, like "\n\t" (""; none). */
bool printable_append(struct buf *out, const char *text, size_t n, const char *as_is);
/* The same into an array of `size` bytes > 0, cut where it is full and ended by '\0'; returns its
 * length. */
size_t printable_copy(char *out, size_t size, const char *text, size_t n);
/* A text without the bytes that may not be shown, likewise. */
size_t printable_strip(char *out, size_t size, const char *text, size_t n);

#endif
