/* What was said, whatever the API: messages of blocks, the tools that are offered and the choice
 * among them. A reader of an API's JSON fills one in; everything after that (templates, tokens, the
 * reader of the answer) knows conversations alone. JSON inside it is exact (json_exact.h). Knows no
 * API, no template and no tokens. Not thread-safe while it is filled. */
#ifndef PENSIEVE_CHAT_CONVERSATION_H
#define PENSIEVE_CHAT_CONVERSATION_H

#include "base/arena.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct conversation_text {
    const char *data; /* UTF-8; may hold zeros */
    size_t n;
};

enum conversation_role { CONVERSATION_USER, CONVERSATION_ASSISTANT, CONVERSATION_SYSTEM };

enum conversation_kind {
    CONVERSATION_TEXT,
    CONVERSATION_THINKING,
    CONVERSATION_CALL,
    CONVERSATION_RESULT,
};

struct conversation_block {
    enum conversation_kind kind;
    struct conversation_text text;           /* of text and thinking, or what a tool gave */
    const char *id, *name;                   /* of a call; id: of a result, too */
    json_t *arguments;                       /* of a call: an object, borrowed */
    const struct conversation_block *call;   /* of a result: the call that it answers */
    const struct conversation_block *result; /* of a call: its first result, or NULL */
    bool is_error;
};

struct conversation_message {
    enum conversation_role role;
    struct conversation_block *blocks; /* [n_blocks] */
    size_t n_blocks;
};

struct conversation_tool {
    const char *name;
    struct conversation_text description; /* "" without one */
    json_t *schema;                       /* an object; owned by the conversation */
};

enum conversation_choice {
    CONVERSATION_CHOICE_AUTO,
    CONVERSATION_CHOICE_ANY,
    CONVERSATION_CHOICE_TOOL,
    CONVERSATION_CHOICE_NONE
};

/* Whether the model is to think before it answers, and how much. */
enum conversation_thinking {
    CONVERSATION_THINKING_UNSAID,
    CONVERSATION_THINKING_OFF,
    CONVERSATION_THINKING_ADAPTIVE, /* as the model likes */
    CONVERSATION_THINKING_ON
};
enum conversation_effort {
    CONVERSATION_EFFORT_UNSAID,
    CONVERSATION_EFFORT_LOW,
    CONVERSATION_EFFORT_MEDIUM,
    CONVERSATION_EFFORT_HIGH,
    CONVERSATION_EFFORT_XHIGH,
    CONVERSATION_EFFORT_MAX,
    CONVERSATION_EFFORTS
};

struct conversation {
    struct arena arena;                    /* all that it points to, but JSON */
    struct conversation_message system;    /* no blocks: none */
    struct conversation_message *messages; /* [n_messages]; neighbours may have the same role */
    size_t n_messages;
    struct conversation_tool *tools; /* [n_tools] */
    size_t n_tools;
    enum conversation_choice choice;
    const struct conversation_tool *chosen; /* CONVERSATION_CHOICE_TOOL */
    bool one_call;                          /* the answer may make one call only */
    enum conversation_thinking thinking;
    enum conversation_effort effort;
    json_t *answer_schema; /* the answer is to be JSON of this, or NULL; borrowed */
};

void conversation_init(struct conversation *c, size_t max_bytes);
void conversation_deinit(struct conversation *c);

/* The tools that the model is offered: none with CONVERSATION_CHOICE_NONE. */
size_t conversation_n_offered(const struct conversation *c);
const struct conversation_tool *conversation_find_tool(const struct conversation *c,
                                                       const char *name);
/* The last message is the assistant's: its text is the beginning of the answer. */
bool conversation_is_continued(const struct conversation *c);

/* The two messages of a plain question; system may be NULL. The texts are borrowed. False: out of
 * memory. */
bool conversation_ask(struct conversation *c, const struct conversation_text *system,
                      const struct conversation_text *question);

#endif
