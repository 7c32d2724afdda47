/* Code points inside UTF-8 text, with Python's idea of what they are: where a character begins,
 * what is white space, how case changes. Invalid bytes count as one character each. Knows no Jinja.
 */
#ifndef PENSIEVE_JINJA_CHAR_H
#define PENSIEVE_JINJA_CHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the character at text[0] (n > 0) and returns its length in bytes. An invalid byte gives
 * U+FFFD and length 1. */
size_t jinja_char_decode(const char *text, size_t n, uint32_t *point);
/* The character that ends at text[n] (n > 0). */
size_t jinja_char_decode_last(const char *text, size_t n, uint32_t *point);
/* Writes the character (at most 4 bytes) and returns its length. */
size_t jinja_char_encode(uint32_t point, char *out);

size_t jinja_char_count(const char *text, size_t n); /* characters */
/* The byte offset of the character number `index`, at most n. */
size_t jinja_char_offset(const char *text, size_t n, size_t index);

bool jinja_char_is_space(uint32_t point); /* str.isspace, also what strip and \s take */
bool jinja_char_is_printable(uint32_t point);
bool jinja_char_is_alpha(uint32_t point);
bool jinja_char_is_decimal(uint32_t point);
bool jinja_char_is_number(uint32_t point); /* any numeric category */
bool jinja_char_is_upper(uint32_t point);
bool jinja_char_is_lower(uint32_t point);
uint32_t jinja_char_upper(uint32_t point);
uint32_t jinja_char_lower(uint32_t point);
uint32_t jinja_char_title(uint32_t point);

/* Bytes of white space at the beginning and at the end. */
size_t jinja_char_space_prefix(const char *text, size_t n);
size_t jinja_char_space_suffix(const char *text, size_t n);

#endif
