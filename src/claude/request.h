/* A Messages request as this server understands it: parsed from a JSON body, checked, every error
 * naming its field as Anthropic does. Knows no template, no tokens and no sockets. */
#ifndef PENSIEVE_CLAUDE_REQUEST_H
#define PENSIEVE_CLAUDE_REQUEST_H

#include "base/arena.h"
#include "base/error.h"

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

struct request_text {
    const char *data; /* UTF-8; may hold zeros */
    size_t n;
};

enum request_role { REQUEST_USER, REQUEST_ASSISTANT, REQUEST_SYSTEM };

enum request_block_kind {
    REQUEST_BLOCK_TEXT,
    REQUEST_BLOCK_THINKING,
    REQUEST_BLOCK_TOOL_USE,
    REQUEST_BLOCK_TOOL_RESULT,
};

struct request_block {
    enum request_block_kind kind;
    struct request_text text;           /* of text and thinking, or what a tool gave */
    const char *id, *name;              /* tool_use */
    json_t *input;                      /* tool_use: an object */
    const struct request_block *use;    /* tool_result: the call it answers */
    const struct request_block *result; /* tool_use: its first result, or NULL */
    bool is_error;
};

struct request_message {
    enum request_role role;
    struct request_block *blocks; /* [n_blocks] */
    size_t n_blocks;
};

struct request_tool {
    const char *name, *description; /* "" without one */
    json_t *schema;                 /* an object */
};

enum request_choice {
    REQUEST_CHOICE_AUTO,
    REQUEST_CHOICE_ANY,
    REQUEST_CHOICE_TOOL,
    REQUEST_CHOICE_NONE
};

struct request {
    struct arena arena;
    json_t *root; /* the body; strings point into it */
    json_t *uses; /* ids of tool_use blocks to their addresses, for the parser */
    const char *model;
    struct request_message system;    /* no blocks: none */
    struct request_message *messages; /* [n_messages], as sent: neighbours may have the same role */
    size_t n_messages;
    struct request_tool *tools; /* [n_tools] */
    size_t n_tools;
    enum request_choice choice;
    const struct request_tool *chosen; /* REQUEST_CHOICE_TOOL */
    bool one_call;                     /* disable_parallel_tool_use */
    uint32_t max_tokens;
    bool stream;
    bool has_temperature, has_top_p, has_top_k;
    double temperature, top_p;
    uint32_t top_k;
    struct request_text *stops; /* [n_stops] */
    size_t n_stops;
    json_t *answer_schema; /* output_config.format, or NULL */
};

/* `counts_only`: for count_tokens, where max_tokens may be missing. On failure nothing is held; r
 * may be deinited all the same. */
bool request_parse(struct request *r, const char *body, size_t n_bytes, bool counts_only,
                   struct error *err);
void request_deinit(struct request *r);

/* The tools that the model is offered: none with tool_choice none. */
size_t request_n_offered(const struct request *r);
const struct request_tool *request_find_tool(const struct request *r, const char *name);
/* The last message is the assistant's: its text is the beginning of the answer. */
bool request_is_continued(const struct request *r);

#endif
