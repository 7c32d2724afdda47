/* Follows one JSON object or array byte by byte and says at the first byte that cannot belong to
 * it. Raw line breaks and tabs inside strings are let pass, since small models write them; what is
 * complete must still go through a real parser. Knows nothing of meanings. */
#ifndef PENSIEVE_CHAT_JSON_SCAN_H
#define PENSIEVE_CHAT_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

enum { JSON_SCAN_MAX_DEPTH = 64 };

enum json_scan_verdict { JSON_SCAN_MORE, JSON_SCAN_DONE, JSON_SCAN_BAD };

struct json_scan {
    uint64_t is_object; /* bit d: what is open at depth d is an object */
    uint32_t depth;
    uint8_t expects;     /* an enum of json_stream.c */
    uint8_t n_hex;       /* digits of \uXXXX still to come */
    bool is_key;         /* the string being read */
    const char *literal; /* what is left of true, false or null */
};

void json_scan_init(struct json_scan *s);
/* After DONE or BAD nothing more may be given. */
enum json_scan_verdict json_scan_byte(struct json_scan *s, char c);

#endif
