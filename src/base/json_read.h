/* JSON text (RFC 8259) read event by event, over bytes that stay where they are: nothing is copied
 * and nothing allocated, whatever the text says. Strict; NaN, Infinity and -Infinity alone are
 * numbers too, because Python's json writes them into files of models. Knows no meaning. */
#ifndef PENSIEVE_BASE_JSON_READ_H
#define PENSIEVE_BASE_JSON_READ_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    JSON_READ_MAX_DEPTH = 64,   /* arrays and objects inside each other */
    JSON_READ_MAX_NUMBER = 256, /* characters of a number */
};

enum json_read_event {
    JSON_READ_FAILED, /* the reader's error is filled; so it stays */
    JSON_READ_END,    /* the text's only value was whole; so it stays */
    JSON_READ_OBJECT,
    JSON_READ_OBJECT_END,
    JSON_READ_ARRAY,
    JSON_READ_ARRAY_END,
    JSON_READ_KEY, /* of a member; its value follows */
    JSON_READ_STRING,
    JSON_READ_NUMBER,
    JSON_READ_TRUE,
    JSON_READ_FALSE,
    JSON_READ_NULL,
};

struct json_reader {
    const char *text; /* [len] */
    size_t len;
    struct error *err; /* FORMAT with the byte; may be NULL */

    /* Of the last event: where it begins, and of a key or string what is between its quotes, of a
     * number its characters. */
    size_t value_at;
    const char *value; /* [value_len] */
    size_t value_len;
    bool has_escapes; /* json_read_unescape must still be asked */

    size_t at; /* the next byte; a text that begins later may set it before the first event */

    /* the reader's own */
    uint64_t objects; /* bit d: the container at depth d is an object */
    uint32_t depth;
    uint8_t expects;
};

void json_read_init(struct json_reader *r, const char *text, size_t len, struct error *err);
enum json_read_event json_read_next(struct json_reader *r);
/* Steps over the rest of the value that `event` began. False when it failed. */
bool json_read_skip(struct json_reader *r, enum json_read_event event);
/* Fills the reader's error with what is wrong at the last event. Returns false. */
bool json_read_fail(struct json_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A string that was read with escapes as UTF-8; `out` has room for `len` bytes, which is never too
 * little, and may be the same place. Returns its length. */
size_t json_read_unescape(const char *value, size_t len, char *out);

/* Numbers as they were read. False when it is none of that kind: no integer, or too large. */
bool json_read_uint(const char *value, size_t len, uint64_t *out);
bool json_read_int(const char *value, size_t len, int64_t *out);
double json_read_double(const char *value, size_t len); /* any number; too large is infinite */

#endif
