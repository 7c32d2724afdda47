/* A message as the client reads it: Server-Sent Events in the documented order, or one JSON object
 * at the end. Knows how the API spells things, and nothing of models. Not thread-safe. */
#ifndef PENSIEVE_CLAUDE_EVENTS_H
#define PENSIEVE_CLAUDE_EVENTS_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/engine.h"
#include "base/random_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENTS_MAX_BYTES = 16 << 20 };

enum events_block { EVENTS_NO_BLOCK, EVENTS_TEXT_BLOCK, EVENTS_THINKING_BLOCK, EVENTS_CALL_BLOCK };

struct events {
    struct buf *out; /* borrowed: where the bytes go */
    bool stream;
    const char *model; /* as the request named it; borrowed */
    char id[RANDOM_ID_BYTES];
    enum events_block open;
    size_t n_blocks; /* begun */
    bool has_started;
    bool is_broken;     /* there was no room or no memory for all of it */
    size_t n_whole;     /* of out, where the event that is being written begins */
    struct buf content; /* of a message that is sent whole: its blocks so far */
};

void events_init(struct events *e, struct buf *out, bool stream, const char *model);
void events_deinit(struct events *e);

/* message_start. Of the usage, what was generated does not matter yet. */
void events_start(struct events *e, const struct engine_usage *usage);
void events_text(struct events *e, const char *bytes, size_t n);
void events_thinking(struct events *e, const char *bytes, size_t n);
/* A tool_use block: its beginning, the bytes of its input (in all, one JSON object in whole UTF-8
 * sequences), its end. */
void events_call_begin(struct events *e, const char *name);
void events_call_bytes(struct events *e, const char *bytes, size_t n);
void events_call_end(struct events *e);
/* The ends: message_delta and message_stop, or the whole message. stop_sequence may be NULL. */
void events_finish(struct events *e, const char *stop_reason, const char *stop_sequence,
                   size_t n_stop_sequence, const struct engine_usage *usage);
void events_fail(struct events *e, const struct error *err, const char *request_id);

/* Signs of life, only in streams. keep_alive is what Claude Code counts as news, and changes
 * nothing in any client's idea of the message. */
void events_ping(struct events *e);
void events_keep_alive(struct events *e);

/* The body of an error that is told with this status, and the status of one of ours. */
void events_error_body(struct buf *out, int status, const struct error *err,
                       const char *request_id);
int events_error_status(enum error_code code);

bool events_failed(const struct events *e);
/* Takes back an event that could not be written whole, before anybody reads it; events_failed stays
 * true, and there may be room for events_fail. */
void events_take_back(struct events *e);

#endif
