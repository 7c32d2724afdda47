/* Messages and their content blocks. Text is kept as it came, except for what must never reach a
 * prompt: the line that Claude Code changes with each session, and cache_control. */
#include "chat/json_exact.h"
#include "claude/request_parse.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 2 * REQUEST_MAX_BYTES };

static const char BILLING[] = "x-anthropic-billing-header";

struct message_parse {
    struct request *r;
    struct conversation_message *message;
    const char *path; /* of the block */
    struct error *err;
};

/* ---- text ---- */

/* The billing line holds a number of its own for each session, which would end every shared prefix.
 */
static struct conversation_text without_billing(struct conversation_text text)
{
    size_t n = sizeof BILLING - 1;
    if (text.n < n || memcmp(text.data, BILLING, n))
        return text;
    const char *end = memchr(text.data, '\n', text.n);
    if (!end)
        return (struct conversation_text){"", 0};
    size_t n_line = (size_t)(end - text.data) + 1;
    return (struct conversation_text){text.data + n_line, text.n - n_line};
}

/* ---- text inside results and documents ---- */

static bool append_document(struct request *r, json_t *block, const char *path, struct buf *out,
                            struct error *err);

static void append_line(struct buf *out, const char *label, json_t *value)
{
    if (json_exact_is_string(value) && json_string_length(value)) {
        buf_puts(out, label);
        buf_append(out, json_string_value(value), json_string_length(value));
        buf_putc(out, '\n');
    }
}

static bool append_search_result(struct request *r, json_t *block, const char *path,
                                 struct buf *out, struct error *err)
{
    struct conversation_text content;
    struct request_path at = request_path_at(path, "content");
    append_line(out, "Title: ", json_object_get(block, "title"));
    append_line(out, "Source: ", json_object_get(block, "source"));
    if (!request_content_text(r, json_object_get(block, "content"), at.text, false, &content, err))
        return false;
    buf_append(out, content.data, content.n);
    return true;
}

/* One block whose meaning is text. */
static bool append_block_text(struct request *r, json_t *block, const char *path, bool in_result,
                              struct buf *out, struct error *err)
{
    const char *type;
    struct conversation_text text;
    if (!json_is_object(block))
        return request_refuse(err, path, NULL, "Input should be an object");
    if (!request_string(block, path, "type", &type, err))
        return false;
    if (!strcmp(type, "text")) {
        if (!request_text_of(block, path, "text", &text, err))
            return false;
        buf_append(out, text.data, text.n);
    } else if (!strcmp(type, "document")) {
        return append_document(r, block, path, out, err);
    } else if (!strcmp(type, "search_result")) {
        return append_search_result(r, block, path, out, err);
    } else if (in_result && !strcmp(type, "image")) {
        buf_puts(out, "[image]"); /* a tool's picture: the model is told that there was one */
    } else if (in_result && !strcmp(type, "tool_reference")) {
        if (!request_text_of(block, path, "tool_name", &text, err))
            return false;
        buf_puts(out, "Tool found: ");
        buf_append(out, text.data, text.n);
    } else {
        return request_refuse(err, path, "type", "a block of type '%.64s' is not supported here",
                              type);
    }
    return true;
}

static bool append_content(struct request *r, json_t *content, const char *path, bool in_result,
                           struct buf *out, struct error *err)
{
    size_t i;
    json_t *block;
    json_array_foreach(content, i, block)
    {
        struct request_path at = request_path_index(path, "", i);
        if (out->len)
            buf_putc(out, '\n');
        if (!append_block_text(r, block, at.text, in_result, out, err))
            return false;
    }
    return true;
}

bool request_content_text(struct request *r, json_t *content, const char *path, bool in_result,
                          struct conversation_text *out, struct error *err)
{
    struct buf text;
    if (!content || json_is_null(content)) {
        *out = (struct conversation_text){"", 0};
        return true;
    }
    if (json_exact_is_string(content)) {
        *out = (struct conversation_text){json_string_value(content), json_string_length(content)};
        return true;
    }
    if (!json_is_array(content))
        return request_refuse(err, path, NULL,
                              "Input should be a valid string or a list of blocks");
    buf_init(&text, TEXT_MAX_BYTES);
    if (!append_content(r, content, path, in_result, &text, err)) {
        buf_deinit(&text);
        return false;
    }
    return request_text_from(r, &text, out, err);
}

static bool append_document(struct request *r, json_t *block, const char *path, struct buf *out,
                            struct error *err)
{
    json_t *source = json_object_get(block, "source");
    struct request_path at = request_path_at(path, "source");
    struct conversation_text text;
    const char *type;
    if (!json_is_object(source))
        return request_refuse(err, path, "source",
                              source ? "Input should be an object" : "Field required");
    if (!request_string(source, at.text, "type", &type, err))
        return false;
    append_line(out, "Title: ", json_object_get(block, "title"));
    append_line(out, "Context: ", json_object_get(block, "context"));
    if (!strcmp(type, "text")) {
        if (!request_text_of(source, at.text, "data", &text, err))
            return false;
    } else if (!strcmp(type, "content")) {
        struct request_path content = request_path_at(at.text, "content");
        if (!request_content_text(r, json_object_get(source, "content"), content.text, false, &text,
                                  err))
            return false;
    } else {
        return request_refuse(err, at.text, "type",
                              "a document of source '%.64s' is not supported: this server reads "
                              "documents of source 'text' or 'content'",
                              type);
    }
    buf_append(out, text.data, text.n);
    return true;
}

/* ---- blocks ---- */

static struct conversation_block *add_block(struct message_parse *p, enum conversation_kind kind)
{
    struct conversation_block *b = &p->message->blocks[p->message->n_blocks++];
    b->kind = kind;
    return b;
}

static bool parse_text(struct message_parse *p, json_t *block)
{
    struct conversation_text text;
    if (!request_text_of(block, p->path, "text", &text, p->err))
        return false;
    if (p->message->role == CONVERSATION_SYSTEM)
        text = without_billing(text);
    if (text.n)
        add_block(p, CONVERSATION_TEXT)->text = text;
    return true;
}

static bool parse_thinking(struct message_parse *p, json_t *block)
{
    struct conversation_text text;
    if (!request_text_of(block, p->path, "thinking", &text, p->err))
        return false;
    if (text.n)
        add_block(p, CONVERSATION_THINKING)->text = text;
    return true;
}

static bool parse_redacted_thinking(struct message_parse *p, json_t *block)
{
    (void)p, (void)block; /* unreadable by design */
    return true;
}

static bool parse_as_text(struct message_parse *p, json_t *block)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    if (!append_block_text(p->r, block, p->path, false, &text, p->err)) {
        buf_deinit(&text);
        return false;
    }
    return request_text_from(p->r, &text, &add_block(p, CONVERSATION_TEXT)->text, p->err);
}

static bool parse_image(struct message_parse *p, json_t *block)
{
    (void)block;
    return request_refuse(p->err, p->path, "type",
                          "'image' blocks are not supported: the loaded model reads text alone");
}

static bool parse_tool_use(struct message_parse *p, json_t *block)
{
    struct conversation_block *b = add_block(p, CONVERSATION_CALL);
    if (!request_string(block, p->path, "id", &b->id, p->err) ||
        !request_string(block, p->path, "name", &b->name, p->err))
        return false;
    b->arguments = json_object_get(block, "input");
    if (!b->arguments)
        return request_refuse(p->err, p->path, "input", "Field required");
    if (!json_is_object(b->arguments))
        return request_refuse(p->err, p->path, "input", "Input should be an object");
    return !json_object_set_new(p->r->uses, b->id, json_integer((json_int_t)(intptr_t)b)) ||
           request_no_memory(p->err);
}

static bool parse_tool_result(struct message_parse *p, json_t *block)
{
    struct conversation_block *b = add_block(p, CONVERSATION_RESULT);
    struct request_path content = request_path_at(p->path, "content");
    if (!request_string(block, p->path, "tool_use_id", &b->id, p->err) ||
        !request_bool(block, p->path, "is_error", &b->is_error, p->err))
        return false;
    json_t *use = json_object_get(p->r->uses, b->id);
    if (!use)
        return request_refuse(p->err, p->path, NULL,
                              "unexpected `tool_use_id` found in `tool_result` blocks: %.64s. Each "
                              "`tool_result` block must have a corresponding `tool_use` block in "
                              "the previous message.",
                              b->id);
    struct conversation_block *call =
        (struct conversation_block *)(intptr_t)json_integer_value(use);
    b->call = call;
    if (!call->result)
        call->result = b;
    return request_content_text(p->r, json_object_get(block, "content"), content.text, true,
                                &b->text, p->err);
}

enum {
    BY_USER = 1 << CONVERSATION_USER,
    BY_ASSISTANT = 1 << CONVERSATION_ASSISTANT,
    BY_SYSTEM = 1 << CONVERSATION_SYSTEM
};

static const struct {
    const char *type;
    unsigned roles;
    bool (*parse)(struct message_parse *p, json_t *block);
} block_rows[] = {
    {"text", BY_USER | BY_ASSISTANT | BY_SYSTEM, parse_text},
    {"image", BY_USER, parse_image},
    {"document", BY_USER, parse_as_text},
    {"search_result", BY_USER, parse_as_text},
    {"tool_result", BY_USER, parse_tool_result},
    {"tool_use", BY_ASSISTANT, parse_tool_use},
    {"thinking", BY_ASSISTANT, parse_thinking},
    {"redacted_thinking", BY_ASSISTANT, parse_redacted_thinking},
};

static const char *role_name(enum conversation_role role)
{
    return role == CONVERSATION_USER        ? "user"
           : role == CONVERSATION_ASSISTANT ? "assistant"
                                            : "system";
}

static bool parse_block(struct message_parse *p, json_t *block)
{
    const char *type;
    if (!json_is_object(block))
        return request_refuse(p->err, p->path, NULL, "Input should be an object");
    if (!request_string(block, p->path, "type", &type, p->err))
        return false;
    for (size_t i = 0; i < sizeof block_rows / sizeof *block_rows; i++) {
        if (strcmp(block_rows[i].type, type))
            continue;
        if (!(block_rows[i].roles & 1u << p->message->role))
            return request_refuse(p->err, p->path, "type", "`%s` blocks cannot be in `%s` messages",
                                  type, role_name(p->message->role));
        return block_rows[i].parse(p, block);
    }
    return request_refuse(p->err, p->path, "type",
                          "a block of type '%.64s' is not supported by this server", type);
}

/* ---- messages ---- */

static bool parse_blocks(struct message_parse *p, json_t *content, const char *path)
{
    size_t i;
    json_t *block;
    p->message->blocks = arena_array(&p->r->conversation.arena, json_array_size(content),
                                     sizeof *p->message->blocks);
    if (!p->message->blocks)
        return request_no_memory(p->err);
    json_array_foreach(content, i, block)
    {
        struct request_path at = request_path_index(path, "", i);
        p->path = at.text;
        if (!parse_block(p, block))
            return false;
    }
    return true;
}

static bool parse_content(struct request *r, struct conversation_message *m, json_t *content,
                          const char *path, struct error *err)
{
    struct message_parse p = {.r = r, .message = m, .err = err};
    if (json_is_array(content))
        return !json_array_size(content) || parse_blocks(&p, content, path);
    if (!json_exact_is_string(content))
        return request_refuse(err, path, NULL,
                              "Input should be a valid string or a list of blocks");
    struct conversation_text text = {json_string_value(content), json_string_length(content)};
    if (m->role == CONVERSATION_SYSTEM)
        text = without_billing(text);
    if (!text.n)
        return true;
    m->blocks = arena_alloc(&r->conversation.arena, sizeof *m->blocks);
    if (!m->blocks)
        return request_no_memory(err);
    add_block(&p, CONVERSATION_TEXT)->text = text;
    return true;
}

bool request_parse_system(struct request *r, json_t *value, struct error *err)
{
    r->conversation.system.role = CONVERSATION_SYSTEM;
    return !value || parse_content(r, &r->conversation.system, value, "system", err);
}

static bool parse_role(json_t *message, const char *path, enum conversation_role *out,
                       struct error *err)
{
    const char *role;
    if (!request_string(message, path, "role", &role, err))
        return false;
    for (int i = CONVERSATION_USER; i <= CONVERSATION_SYSTEM; i++)
        if (!strcmp(role, role_name((enum conversation_role)i))) {
            *out = (enum conversation_role)i;
            return true;
        }
    return request_refuse(err, path, "role", "Input should be 'user', 'assistant' or 'system'");
}

static bool parse_message(struct request *r, json_t *value, const char *path, struct error *err)
{
    struct conversation_message *m = &r->conversation.messages[r->conversation.n_messages];
    struct request_path content = request_path_at(path, "content");
    if (!json_is_object(value))
        return request_refuse(err, path, NULL, "Input should be an object");
    if (!parse_role(value, path, &m->role, err))
        return false;
    if (!json_object_get(value, "content"))
        return request_refuse(err, content.text, NULL, "Field required");
    if (!parse_content(r, m, json_object_get(value, "content"), content.text, err))
        return false;
    if (m->role == CONVERSATION_USER && !m->n_blocks)
        return request_refuse(err, path, NULL, "user messages must have non-empty content");
    r->conversation.n_messages++;
    return true;
}

/* An answer that goes on from given text needs an end to go on from. */
static bool check_continuation(const struct request *r, struct error *err)
{
    const struct conversation_message *m =
        &r->conversation.messages[r->conversation.n_messages - 1];
    struct request_path path = request_path_index("", "messages", r->conversation.n_messages - 1);
    if (!conversation_is_continued(&r->conversation))
        return true;
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].kind == CONVERSATION_CALL)
            return request_refuse(err, path.text, NULL,
                                  "`tool_use` ids were found without `tool_result` blocks "
                                  "immediately after: %.64s",
                                  m->blocks[i].id);
    const struct conversation_block *last = &m->blocks[m->n_blocks - 1];
    if (last->kind != CONVERSATION_TEXT)
        return request_refuse(err, path.text, NULL,
                              "the final block of a final assistant message cannot be `thinking`");
    if (memchr(" \t\r\n", last->text.data[last->text.n - 1], 4))
        return request_refuse(err, "messages", NULL,
                              "final assistant content cannot end with trailing whitespace");
    return true;
}

bool request_parse_messages(struct request *r, json_t *value, struct error *err)
{
    size_t i;
    json_t *message;
    if (!value)
        return request_refuse(err, "messages", NULL, "Field required");
    if (!json_is_array(value))
        return request_refuse(err, "messages", NULL, "Input should be a valid list");
    if (!json_array_size(value))
        return request_refuse(err, "messages", NULL, "at least one message is required");
    r->uses = json_object();
    r->conversation.messages = arena_array(&r->conversation.arena, json_array_size(value),
                                           sizeof *r->conversation.messages);
    if (!r->conversation.messages || !r->uses)
        return request_no_memory(err);
    json_array_foreach(value, i, message)
    {
        struct request_path path = request_path_index("", "messages", i);
        if (!parse_message(r, message, path.text, err))
            return false;
    }
    return check_continuation(r, err);
}
