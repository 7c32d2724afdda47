/* Where the characters of UTF-8 end, by arithmetic alone (Unicode, table 3-7: no surrogate, no
 * overlong form, nothing above U+10FFFF). */
#ifndef PENSIEVE_BASE_UTF8_H
#define PENSIEVE_BASE_UTF8_H

#include <stddef.h>

/* The bytes (1 to 4) of the character at text[0] of n_bytes, or 0 if no valid one begins there. */
size_t utf8_char_bytes(const char *text, size_t n_bytes);

#endif
