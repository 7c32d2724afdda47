/* UTF-8 as tokenizers need it: where valid text ends, and the printable alphabet that byte-level
 * vocabularies write their bytes in. Knows no vocabulary. */
#ifndef PENSIEVE_TEXT_UNICODE_H
#define PENSIEVE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes from the start are valid UTF-8, and how many belong to no valid character. */
size_t unicode_valid_bytes(const char *text, size_t n_bytes);
size_t unicode_invalid_bytes(const char *text, size_t n_bytes);

/* The character at text[0], whose bytes it returns; the text must be valid there. And back. */
size_t unicode_decode(const char *text, uint32_t *c);
size_t unicode_encode(uint32_t c, char out[4]);

/* Unicode's White_Space. */
bool unicode_is_space(uint32_t c);

/* GPT-2's printable alphabet (github.com/openai/gpt-2, bytes_to_unicode): 188 bytes stand for
 * themselves as U+0021…U+00FF, the other 68 are U+0100 onwards. Writes 1 or 2 bytes of UTF-8. */
size_t unicode_from_byte(uint8_t byte, char out[2]);

/* Back: the byte that the character at text[0] stands for, its length in *n_char; -1 for a
 * character outside the alphabet, then *n_char is its length all the same (1 where the text is not
 * valid). */
int unicode_to_byte(const char *text, size_t n_bytes, size_t *n_char);

#endif
