#include "chat/dialog.h"

#include "base/buf.h"
#include "chat/json_exact.h"

#include <string.h>

enum { TEXT_MAX_BYTES = 96 << 20 };

struct dialog {
    const struct dialog_format *format;
    json_t *messages;
    const char *role;          /* of the message being gathered, or NULL */
    struct jinja_notes *notes; /* or NULL */
    struct marked_text text, thinking;
    json_t *calls;             /* its tool_calls, or NULL */
    struct marked_text folded; /* system text that waits for a user message */
    bool failed;
};

/* ---- gathering one message ---- */

static void dialog_set(struct dialog *d, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        d->failed = true;
}

static void dialog_set_text(struct dialog *d, json_t *object, const char *key,
                            struct marked_text *text)
{
    dialog_set(d, object, key, marked_text_string(text, d->notes));
    marked_text_clear(text);
}

static void dialog_push(struct dialog *d, json_t *message)
{
    if (json_array_append_new(d->messages, message))
        d->failed = true;
}

static void dialog_flush(struct dialog *d)
{
    if (!d->role)
        return;
    json_t *message = json_object();
    dialog_set(d, message, "role", json_string(d->role));
    dialog_set_text(d, message, "content", &d->text);
    if (d->thinking.bytes.len)
        dialog_set_text(d, message, "reasoning_content", &d->thinking);
    if (d->calls)
        dialog_set(d, message, "tool_calls", d->calls);
    d->calls = NULL;
    d->role = NULL;
    dialog_push(d, message);
}

static void dialog_begin(struct dialog *d, const char *role)
{
    if (d->role && !strcmp(d->role, role))
        return;
    dialog_flush(d);
    d->role = role;
}

static void begin_paragraph(struct marked_text *out)
{
    if (out->bytes.len)
        marked_text_data(out, "\n\n", 2);
}

static void append_paragraph(struct marked_text *out, const char *bytes, size_t n)
{
    if (n)
        begin_paragraph(out);
    marked_text_data(out, bytes, n);
}

/* ---- what each role says ---- */

/* What waits is said first. */
static void dialog_begin_user(struct dialog *d)
{
    dialog_begin(d, "user");
    if (d->folded.bytes.len) {
        begin_paragraph(&d->text);
        marked_text_append(&d->text, &d->folded);
        marked_text_clear(&d->folded);
    }
}

static void dialog_add_user(struct dialog *d, const char *bytes, size_t n)
{
    dialog_begin_user(d);
    append_paragraph(&d->text, bytes, n);
}

/* The message in which system text stands here, a new paragraph begun. */
static struct marked_text *dialog_begin_system(struct dialog *d)
{
    const bool is_first = !json_array_size(d->messages) && (!d->role || !strcmp(d->role, "system"));
    struct marked_text *text = &d->text;
    if (is_first ? d->format->system : d->format->mid_system)
        dialog_begin(d, "system");
    else if (!d->role || strcmp(d->role, "user"))
        text = &d->folded;
    begin_paragraph(text);
    return text;
}

/* Nobody spoke after the system text that waits: it becomes a message by itself. */
static void dialog_unfold(struct dialog *d)
{
    if (d->folded.bytes.len)
        dialog_add_user(d, "", 0);
}

static void dialog_append_call_text(struct dialog *d, const struct conversation_block *b)
{
    dialog_begin(d, "assistant");
    if (d->text.bytes.len)
        marked_text_data(&d->text, "\n", 1);
    d->format->dialect->write_call(&d->text, b->name, b->arguments);
}

static void dialog_add_call(struct dialog *d, const struct conversation_block *b)
{
    if (!d->format->tools) {
        dialog_append_call_text(d, b);
        return;
    }
    dialog_begin(d, "assistant");
    if (!d->calls)
        d->calls = json_array();
    json_t *call = json_pack("{s:s, s:s, s:{s:s, s:O}}", "id", b->id, "type", "function",
                             "function", "name", b->name, "arguments", b->arguments);
    if (!call || json_array_append_new(d->calls, call))
        d->failed = true;
}

/* Is it already plain that this is an error? */
static bool says_error(struct conversation_text text)
{
    return (text.n >= 5 && !strncmp(text.data, "Error", 5)) ||
           (text.n >= 16 && !strncmp(text.data, "<tool_use_error>", 16));
}

static void dialog_add_result(struct dialog *d, const struct conversation_block *b)
{
    const char *label = b->is_error && !says_error(b->text) ? "Error: " : "";
    if (!d->format->tools) {
        dialog_begin_user(d);
        begin_paragraph(&d->text);
        d->format->dialect->write_result(&d->text, label, &b->text);
        return;
    }
    dialog_flush(d);
    d->role = "tool";
    marked_text_data(&d->text, label, strlen(label));
    marked_text_data(&d->text, b->text.data, b->text.n);
    json_t *message =
        json_pack("{s:s, s:s, s:s}", "role", "tool", "tool_call_id", b->id, "name", b->call->name);
    dialog_set_text(d, message, "content", &d->text);
    d->role = NULL;
    dialog_push(d, message);
}

static void dialog_add_block(struct dialog *d, enum conversation_role role,
                             const struct conversation_block *b)
{
    if (role == CONVERSATION_ASSISTANT && b->kind != CONVERSATION_RESULT)
        dialog_unfold(d);
    switch (b->kind) {
    case CONVERSATION_CALL:
        dialog_add_call(d, b);
        break;
    case CONVERSATION_RESULT:
        dialog_add_result(d, b);
        break;
    case CONVERSATION_THINKING:
        dialog_begin(d, "assistant");
        append_paragraph(&d->thinking, b->text.data, b->text.n);
        break;
    case CONVERSATION_TEXT:
        if (role == CONVERSATION_SYSTEM) {
            marked_text_data(dialog_begin_system(d), b->text.data, b->text.n);
        } else if (role == CONVERSATION_USER) {
            dialog_add_user(d, b->text.data, b->text.n);
        } else {
            dialog_begin(d, "assistant");
            append_paragraph(&d->text, b->text.data, b->text.n);
        }
    }
}

static void dialog_add_message(struct dialog *d, const struct conversation_message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        dialog_add_block(d, m->role, &m->blocks[i]);
}

static void dialog_add_mark(struct dialog *d, const char *mark)
{
    dialog_unfold(d);
    dialog_begin(d, "assistant");
    append_paragraph(&d->text, mark, strlen(mark));
}

/* ---- instructions in words ---- */

static void dialog_add_tools_text(struct dialog *d, const struct conversation *c)
{
    if (!d->format->tools && conversation_n_offered(c))
        d->format->dialect->write_tools(dialog_begin_system(d), c);
}

/* What the API promises and a mask will one day enforce is asked for at the end, where it leaves
 * the prefix that other requests share as it is. */
static void dialog_add_wishes(struct dialog *d, const struct conversation *c)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    if (c->choice == CONVERSATION_CHOICE_TOOL)
        buf_printf(&text, "Answer with a call of the tool %s.", c->chosen->name);
    else if (c->choice == CONVERSATION_CHOICE_ANY)
        buf_puts(&text, "Answer with a call of one of the tools.");
    if (c->answer_schema) {
        buf_puts(&text, text.len ? "\n\n" : "");
        buf_puts(&text, "Answer with one JSON object and nothing else. Its JSON schema: ");
        json_exact_write(&text, c->answer_schema, JSON_EXACT_SPACED);
    }
    d->failed |= buf_failed(&text);
    if (text.len)
        dialog_add_user(d, text.data, text.len);
    buf_deinit(&text);
}

/* ---- the whole ---- */

static void dialog_init(struct dialog *d, const struct dialog_format *format,
                        struct jinja_notes *notes)
{
    *d = (struct dialog){.format = format, .notes = notes, .messages = json_array()};
    d->failed = !d->messages;
    marked_text_init(&d->text, TEXT_MAX_BYTES);
    marked_text_init(&d->thinking, TEXT_MAX_BYTES);
    marked_text_init(&d->folded, TEXT_MAX_BYTES);
}

static json_t *dialog_deinit(struct dialog *d)
{
    d->failed |= marked_text_failed(&d->folded);
    marked_text_deinit(&d->text);
    marked_text_deinit(&d->thinking);
    marked_text_deinit(&d->folded);
    json_decref(d->calls);
    if (!d->failed)
        return d->messages;
    json_decref(d->messages);
    return NULL;
}

json_t *dialog_messages(const struct conversation *c, const struct dialog_format *format,
                        const char *const *marks, const char *tail, struct jinja_notes *notes)
{
    struct dialog d;
    dialog_init(&d, format, notes);
    dialog_add_message(&d, &c->system);
    dialog_add_tools_text(&d, c);
    for (size_t i = 0; i < c->n_messages; i++) {
        if (marks && marks[i])
            dialog_add_mark(&d, marks[i]);
        else
            dialog_add_message(&d, &c->messages[i]);
    }
    if (tail) {
        dialog_begin(&d, "assistant");
        marked_text_data(&d.text, tail, strlen(tail));
    } else {
        dialog_unfold(&d);
        dialog_add_wishes(&d, c);
    }
    dialog_flush(&d);
    return dialog_deinit(&d);
}

json_t *dialog_tools(const struct conversation *c, const struct dialog_format *format)
{
    if (!format->tools || !conversation_n_offered(c))
        return json_null();
    json_t *tools = json_array();
    for (size_t i = 0; i < c->n_tools; i++)
        if (json_array_append_new(tools, dialect_describe_tool(&c->tools[i]))) {
            json_decref(tools);
            return NULL;
        }
    return tools;
}
