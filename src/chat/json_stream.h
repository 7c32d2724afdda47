/* Follows one JSON object or array byte by byte, says at the first byte that cannot belong to it,
 * and writes it out in one form as it comes: no white space, strings with no more escapes than they
 * need, numbers as written. What models write for JSON is let pass and mended: raw control
 * characters in strings, \' and escapes that JSON does not know (the backslash stays), lone
 * surrogates. Broken UTF-8 is passed on. Knows nothing of meanings. */
#ifndef PENSIEVE_CHAT_JSON_STREAM_H
#define PENSIEVE_CHAT_JSON_STREAM_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSON_STREAM_MAX_DEPTH = 64 };

enum json_stream_verdict { JSON_STREAM_MORE, JSON_STREAM_DONE, JSON_STREAM_BAD };

struct json_stream {
    uint64_t is_object; /* bit d: what is open at depth d is an object */
    uint32_t depth;
    uint8_t expects; /* an enum of json_stream.c */
    uint8_t number;  /* the place in a number, another enum */
    bool is_key;     /* the string being read */
    bool has_comma;  /* one that is not written yet */
    uint8_t n_hex;   /* digits of \uXXXX so far */
    char hex[4];
    uint16_t high;       /* a high surrogate that waits for its low one, or 0 */
    const char *literal; /* what is left of true, false or null */
};

void json_stream_init(struct json_stream *s);
/* Appends to `out` what the byte makes certain. After DONE or BAD nothing more may be given. */
enum json_stream_verdict json_stream_byte(struct json_stream *s, char c, struct buf *out);
/* The text is cut here: appends what closes all that is open deeper than `depth`. */
void json_stream_close(struct json_stream *s, uint32_t depth, struct buf *out);

#endif
