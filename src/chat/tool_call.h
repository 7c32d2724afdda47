/* Tool calls as models write them: how one begins, and what a whole one says. A call is a JSON
 * object with a name and arguments, or an array of such, bare, in a code fence, or between the
 * markers that the model was taught. Knows neither streams nor events. */
#ifndef PENSIEVE_CHAT_TOOL_CALL_H
#define PENSIEVE_CHAT_TOOL_CALL_H

#include "chat/conversation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Markers around calls, one row per family of models. */
struct tool_call_syntax {
    const char *open, *close; /* close may be NULL */
};
enum { TOOL_CALL_HERMES }; /* the row that models without one of their own are taught */
extern const struct tool_call_syntax tool_call_syntaxes[];
extern const size_t tool_call_n_syntaxes;

/* The tools whose names count. */
struct tool_call_tools {
    const struct conversation_tool *tools; /* [n] */
    size_t n;
};

enum tool_call_start {
    TOOL_CALL_NO,    /* no call begins like this */
    TOOL_CALL_MAYBE, /* too early to say */
    TOOL_CALL_YES,   /* if complete and valid, it is one */
};

/* Looks at the beginning bytes[n] of a candidate. With markers before it (`marked`) any JSON will
 * do; without, the first member must be the name of a tool and the second its arguments. YES tells
 * where the JSON begins. */
enum tool_call_start tool_call_begins(const char *bytes, size_t n, bool marked,
                                      const struct tool_call_tools *tools, size_t *json_at);

/* Reads a complete JSON text bytes[n]. An array of {"name", "arguments"}, the arguments an object,
 * or NULL when anything in it is not a call of one of the tools. Raw line breaks and tabs inside
 * strings and \' are read as what they mean. */
json_t *tool_call_read(const char *bytes, size_t n, bool marked,
                       const struct tool_call_tools *tools);

/* Could a token of these bytes open a call, where one may begin? */
bool tool_call_opens(const char *bytes, size_t n);

#endif
