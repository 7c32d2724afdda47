/* Any bytes as the inside of a JSON string. A model may write broken UTF-8, which JSON libraries
 * refuse to hold: here each wrong byte becomes U+FFFD. */
#ifndef PENSIEVE_CHAT_JSON_TEXT_H
#define PENSIEVE_CHAT_JSON_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Without the quotes around it. */
void json_text_escape(struct buf *out, const char *bytes, size_t n);
/* With them. */
void json_text_string(struct buf *out, const char *bytes, size_t n);

/* As they are, but each wrong byte as U+FFFD. */
void json_text_mend(struct buf *out, const char *bytes, size_t n);

/* Well-formed UTF-8 from the first byte to the last? */
bool json_text_is_whole(const char *bytes, size_t n);

/* How many bytes at the end of bytes[n] begin a UTF-8 sequence that more bytes could complete: 0
 * to 3. */
size_t json_text_unfinished(const char *bytes, size_t n);

#endif
