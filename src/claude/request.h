/* A Messages request as this server understands it: parsed from a JSON body, checked, every error
 * naming its field as Anthropic does. What was said is a conversation
 * like any other (chat/conversation.h). Knows no template, no tokens and no sockets. */
#ifndef PENSIEVE_CLAUDE_REQUEST_H
#define PENSIEVE_CLAUDE_REQUEST_H

#include "base/error.h"
#include "chat/conversation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REQUEST_MAX_BYTES = 32 << 20,
    REQUEST_MAX_DEPTH = 128,
    REQUEST_MAX_VALUES = 1 << 20, /* JSON values in a body: each costs memory */
    REQUEST_MAX_STOPS = 64,
    REQUEST_MAX_STOP_BYTES = 1024,
    REQUEST_MAX_NAME_BYTES = 128,
    REQUEST_MAX_TOOLS = 2048,
};

struct request {
    struct conversation conversation;
    json_t *root; /* the body; strings point into it */
    json_t *uses; /* ids of tool_use blocks to their addresses, for the parser */
    const char *model;
    uint32_t max_tokens;
    bool stream;
    bool has_temperature, has_top_p, has_top_k;
    double temperature, top_p;
    uint32_t top_k;
    struct conversation_text *stops; /* [n_stops] */
    size_t n_stops;
};

/* `counts_only`: for count_tokens, where max_tokens may be missing. On failure nothing is held; r
 * may be deinited all the same. */
bool request_parse(struct request *r, const char *body, size_t n_bytes, bool counts_only,
                   struct error *err);
void request_deinit(struct request *r);

#endif
