/* Text as a byte-level vocabulary writes it: GPT-2's printable stand-in of each byte. */
#ifndef PENSIEVE_TESTS_SUPPORT_BYTE_PIECE_H
#define PENSIEVE_TESTS_SUPPORT_BYTE_PIECE_H

#include <stddef.h>

/* Writes the piece for n bytes into out[size], which must be large enough: it aborts. */
void byte_piece_text(char *out, size_t size, const char *bytes, size_t n);

#endif
