/* How a family of models writes calls, and thoughts. A *dialect* is a row of markers and functions:
 * how calls open, how their bytes become arguments as they arrive, how they end, and how calls and
 * results are written back into a history where the model's template has no place for them. The
 * reader of answers (answer.h) knows dialects by this row alone; adding one is its file and its
 * line in dialects_known. Knows no engine and no API. Immutable; any thread. */
#ifndef PENSIEVE_CHAT_DIALECT_H
#define PENSIEVE_CHAT_DIALECT_H

#include "base/buf.h"
#include "chat/conversation.h"
#include "chat/marked_text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The tools whose names count. */
struct dialect_tools {
    const struct conversation_tool *tools; /* [n] */
    size_t n;
};
/* The tool of that name, or NULL. */
const struct conversation_tool *dialect_tool(const struct dialect_tools *tools, const char *name,
                                             size_t n);

/* A call that is being read. */
struct dialect_call {
    const struct dialect_tools *tools;
    void *state; /* the dialect's own, state_bytes zeros where a call may begin */
    /* Set by the dialect as soon as both are known: which tool is called, and the place in `json`
     * where its arguments begin. From then on they may be on their way to a client. */
    const struct conversation_tool *tool;
    size_t arguments;
    /* What the dialect writes: from `arguments` on, up to `end` (SIZE_MAX while it may grow), one
     * JSON object without white space, as json_stream.h writes it. */
    struct buf json;
    size_t end;
    bool in_list; /* other calls may follow before a ']': set and read as the dialect likes; kept
                     between the calls behind one marker */
};

enum dialect_verdict {
    DIALECT_MORE, /* too early to say, or in the middle of a call */
    DIALECT_CALL, /* with this byte the call is whole, and `tool` is set */
    DIALECT_NONE, /* this byte cannot go on a call */
};

struct dialect {
    const char *name;
    const char *open, *close; /* the markers around calls; close NULL: none */
    const char *skips;        /* bytes that are dropped between calls and before `close` */
    const char *opens;        /* bytes that begin another call there without a marker of its own */
    const char *think_open, *think_close; /* around thoughts, or NULL */
    size_t state_bytes;
    /* Looks at bytes[n], all since the marker (or since the byte of `opens`), of which the last is
     * new. */
    enum dialect_verdict (*read)(struct dialect_call *call, const char *bytes, size_t n);
    /* No more bytes come, or none that fit, and `tool` is set. True: the arguments were whole
     * before. False: they were not, and have been closed so that they are JSON all the same. */
    bool (*end)(struct dialect_call *call);
    /* For templates without tools: how the offered tools are described, a call is shown, and its
     * result (`label` stands before the text). Markers are ours, all else is data. */
    void (*write_tools)(struct marked_text *out, const struct conversation *c);
    void (*write_call)(struct marked_text *out, const char *name, const json_t *arguments);
    void (*write_result)(struct marked_text *out, const char *label,
                         const struct conversation_text *text);
};

struct dialects {
    const struct dialect *const *rows; /* [n], n at most 32 */
    size_t n;
};
/* All that are listened to, whatever the model. The first is taught to models whose template knows
 * no tools. */
extern const struct dialects dialects_known;

/* Is the piece one of the markers? Some models write them as control tokens. */
bool dialects_are_marked_by(const struct dialects *d, const char *piece, size_t n);

/* {"type": "function", "function": {"name", "description", "parameters"}}; NULL: out of memory. */
json_t *dialect_describe_tool(const struct conversation_tool *tool);

extern const struct dialect dialect_hermes, dialect_tools_marker, dialect_mistral;

#endif
