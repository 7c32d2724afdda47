/* Calls that are JSON: how one begins, and what a whole one says. A call is an object with a name
 * and arguments, or an array of such, bare, in a code fence, or between markers. Knows neither
 * streams nor events. */
#ifndef PENSIEVE_CHAT_TOOL_CALL_H
#define PENSIEVE_CHAT_TOOL_CALL_H

#include "chat/dialect.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The members that hold a call's arguments, by whatever family. */
extern const char *const tool_call_argument_keys[];
extern const size_t tool_call_n_argument_keys;

enum tool_call_start {
    TOOL_CALL_NO,    /* no call begins like this */
    TOOL_CALL_MAYBE, /* too early to say */
    TOOL_CALL_YES,   /* if complete and valid, it is one */
};

/* Looks at the beginning bytes[n] of a candidate. With markers before it (`marked`) any JSON will
 * do; without, the first member must be the name of a tool and the second its arguments. YES tells
 * where the JSON begins. */
enum tool_call_start tool_call_begins(const char *bytes, size_t n, bool marked,
                                      const struct dialect_tools *tools, size_t *json_at);

/* Reads a complete JSON text bytes[n], as json_stream.h writes it. An array of {"name",
 * "arguments"}, the arguments an object, or NULL when anything in it is not a call of one of the
 * tools. */
json_t *tool_call_read(const char *bytes, size_t n, bool marked, const struct dialect_tools *tools);

/* Could a token of these bytes open a call, where one may begin? */
bool tool_call_opens(const char *bytes, size_t n, const struct dialects *dialects);

#endif
