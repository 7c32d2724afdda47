/* What the model writes, token by token, into what a client is told: text, thoughts and calls, in
 * segments. Holds back what may still become a call or a stop sequence, and no more; the arguments
 * of a call between markers are handed on while they are written. The same bytes give the same
 * segments however they are cut into tokens, but for the pieces in which each is told. Knows no API
 * and no engine.
 *
 * What has been handed on cannot be taken back. A call that breaks off after its beginning was told
 * (the answer is cut, or what follows is no JSON) is closed, so that its arguments can be read, its
 * end says that it is not whole, and the answer ends there with `is_cut`: nobody should run it. */
#ifndef PENSIEVE_CHAT_ANSWER_H
#define PENSIEVE_CHAT_ANSWER_H

#include "base/arena.h"
#include "base/buf.h"
#include "chat/dialect.h"
#include "chat/json_stream.h"
#include "chat/matcher.h"
#include "chat/repeat_guard.h"

#include <stdbool.h>
#include <stddef.h>

struct answer_sink {
    void *context;
    /* Whole UTF-8 sequences, unless the model wrote broken ones. */
    void (*text)(void *context, const char *bytes, size_t n);
    void (*thinking)(void *context, const char *bytes, size_t n); /* NULL: not wanted */
    /* A call: its beginning, the bytes of its arguments (one JSON object, valid UTF-8), its end.
     * All text before it was handed on. `marked`: between the model's own markers. */
    void (*call_begin)(void *context, const char *name, bool marked);
    void (*call_bytes)(void *context, const char *bytes, size_t n);
    void (*call_end)(void *context, bool is_whole);
    /* The model repeats a guarded call, which is not handed on; the answer ends before it. */
    void (*repeats)(void *context, const char *name);
};

struct answer_options {
    struct dialect_tools tools;            /* borrowed; none: no calls */
    const struct conversation_text *stops; /* [n_stops], borrowed */
    size_t n_stops;
    bool one_call;                    /* the answer ends after the first */
    const struct dialects *dialects;  /* that are listened to */
    unsigned own_dialects;            /* bit i: the model was taught dialects->rows[i] */
    const struct repeat_guard *guard; /* borrowed; NULL: none */
};

struct answer {
    struct answer_options options;
    struct answer_sink sink;
    struct arena arena;
    struct matcher stops, openers, thought_ends;
    int *opens;    /* [openers]: the row of dialect, or -1: a thought */
    bool listens;  /* to anything but stop sequences */
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
    size_t payload;   /* where its call may begin: behind the marker */
    size_t refused;   /* a bare candidate here turned out to be none; SIZE_MAX: nowhere */
    int dialect;      /* row of the candidate or the last call; -1: no marker */
    bool closed;      /* behind the closing marker, or there is none */
    bool scanning;    /* a bare candidate's JSON has begun */
    struct json_stream scan;
    struct dialect_call call;
    struct repeat_guard_watch watch; /* of the call */
    bool is_told;                    /* the call's beginning was handed on */
    size_t n_told;        /* bytes of call.json that were handed on, or precede the arguments */
    bool thought_is_told; /* something of this thought was */
    int stop;             /* index of the stop sequence that was met, or -1 */
    bool has_text, has_ended, failed;
    bool is_cut; /* the last call is not whole */
    uint32_t n_calls;
};

/* False: out of memory; then only deinit it. */
bool answer_init(struct answer *a, const struct answer_options *options,
                 const struct answer_sink *sink);
void answer_deinit(struct answer *a);
/* Back to before the first byte. */
void answer_reset(struct answer *a);

/* False: the answer has ended (a stop sequence, a call without the model's own markers or that is
 * not whole, a guarded call, or no memory), and what follows is not wanted. */
bool answer_feed(struct answer *a, const char *bytes, size_t n);
/* The model has ended: hands on what was held. */
void answer_finish(struct answer *a);

/* The next byte may open a call. */
bool answer_may_open_call(const struct answer *a);
/* Nothing was said after the last call, and it is whole. */
bool answer_ends_with_call(const struct answer *a);

#endif
