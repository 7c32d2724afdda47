/* What the model writes, token by token, into what the client is told: text and tool calls. Holds
 * back what may still become a call or a stop sequence, and no more. The same bytes give the same
 * text and calls however they are cut into tokens. Knows no events and no engine. */
#ifndef PENSIEVE_CHAT_ANSWER_H
#define PENSIEVE_CHAT_ANSWER_H

#include "base/buf.h"
#include "chat/json_stream.h"
#include "chat/matcher.h"
#include "chat/conversation.h"
#include "chat/tool_call.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct answer_sink {
    void *context;
    /* Whole UTF-8 sequences, unless the model wrote broken ones. */
    void (*text)(void *context, const char *bytes, size_t n);
    /* All text before it was handed on. `marked`: between the model's own markers. False: the call
     * is not wanted, and the answer ends before it. */
    bool (*call)(void *context, const char *name, const json_t *arguments, bool marked);
};

struct answer_options {
    struct tool_call_tools tools;          /* borrowed; none: everything is text */
    const struct conversation_text *stops; /* [n_stops], borrowed */
    size_t n_stops;
    bool one_call;         /* the answer ends after the first */
    unsigned own_syntaxes; /* bit i: the model was taught tool_call_syntaxes[i] */
};

struct answer {
    struct answer_options options;
    struct answer_sink sink;
    struct arena arena;
    struct matcher stops, openers;
    struct buf in; /* bytes from the model; all places below are in it */
    size_t from;   /* the first that is not decided about */
    size_t at;     /* the next to look at */
    struct buf
        stopped;      /* text that may become a stop sequence, or is an unfinished UTF-8 sequence */
    uint8_t mode;     /* an enum of answer.c */
    bool line_start;  /* only white space (and what may be a marker) since the line began */
    size_t line_word; /* where that marker begins, or SIZE_MAX */
    uint8_t n_ticks;  /* backticks that the line began with so far, or NO_TICKS of answer.c */
    bool in_fence;    /* a code block was begun: the next fence is its end */
    size_t candidate; /* where it begins */
    size_t payload;   /* where its JSON may begin: behind the marker */
    size_t refused;   /* a bare candidate here turned out to be none; SIZE_MAX: nowhere */
    int syntax;       /* of the candidate or the last call; -1: no marker */
    bool scanning, closed;
    struct json_scan scan;
    int stop; /* index of the stop sequence that was met, or -1 */
    bool has_text, has_ended, failed;
    uint32_t n_calls;
};

/* False: out of memory; then only deinit it. */
bool answer_init(struct answer *a, const struct answer_options *options,
                 const struct answer_sink *sink);
void answer_deinit(struct answer *a);
/* Back to before the first byte. */
void answer_reset(struct answer *a);

/* False: the answer has ended (a stop sequence, a call without the model's own markers, a call that
 * was not wanted, or no memory), and what follows is not wanted. */
bool answer_feed(struct answer *a, const char *bytes, size_t n);
/* The model has ended: hands on what was held. */
void answer_finish(struct answer *a);

/* The next byte may open a call. */
bool answer_may_open_call(const struct answer *a);
/* Nothing was said after the last call. */
bool answer_ends_with_call(const struct answer *a);

#endif
