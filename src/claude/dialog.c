#include "claude/dialog.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 96 << 20 };

struct dialog {
    const struct dialog_format *format;
    json_t *messages;
    const char *role; /* of the message being gathered, or NULL */
    struct buf text, thinking;
    json_t *calls;     /* its tool_calls, or NULL */
    struct buf folded; /* system text that waits for a user message */
    bool failed;
};

/* ---- gathering one message ---- */

static void set(struct dialog *d, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        d->failed = true;
}

static void set_text(struct dialog *d, json_t *object, const char *key, struct buf *text)
{
    if (buf_failed(text))
        d->failed = true;
    set(d, object, key, json_stringn(text->data ? text->data : "", text->len));
    buf_clear(text);
}

static void push(struct dialog *d, json_t *message)
{
    if (json_array_append_new(d->messages, message))
        d->failed = true;
}

static void flush(struct dialog *d)
{
    if (!d->role)
        return;
    json_t *message = json_object();
    set(d, message, "role", json_string(d->role));
    set_text(d, message, "content", &d->text);
    if (d->thinking.len)
        set_text(d, message, "reasoning_content", &d->thinking);
    if (d->calls)
        set(d, message, "tool_calls", d->calls);
    d->calls = NULL;
    d->role = NULL;
    push(d, message);
}

static void begin(struct dialog *d, const char *role)
{
    if (d->role && !strcmp(d->role, role))
        return;
    flush(d);
    d->role = role;
}

static void append_paragraph(struct buf *out, const char *bytes, size_t n)
{
    if (out->len && n)
        buf_puts(out, "\n\n");
    buf_append(out, bytes, n);
}

/* ---- what each role says ---- */

static void add_user(struct dialog *d, const char *bytes, size_t n)
{
    begin(d, "user");
    if (d->folded.len) {
        append_paragraph(&d->text, d->folded.data, d->folded.len);
        buf_clear(&d->folded);
    }
    append_paragraph(&d->text, bytes, n);
}

static void add_system(struct dialog *d, const char *bytes, size_t n)
{
    bool is_first = !json_array_size(d->messages) && (!d->role || !strcmp(d->role, "system"));
    if (is_first ? d->format->system : d->format->mid_system) {
        begin(d, "system");
        append_paragraph(&d->text, bytes, n);
    } else if (d->role && !strcmp(d->role, "user")) {
        append_paragraph(&d->text, bytes, n);
    } else {
        append_paragraph(&d->folded, bytes, n);
    }
}

/* Nobody spoke after the system text that waits: it becomes a message by itself. */
static void unfold(struct dialog *d)
{
    if (d->folded.len)
        add_user(d, "", 0);
}

static char *dump(struct dialog *d, const json_t *value)
{
    char *text = json_dumps(value, 0);
    if (!text)
        d->failed = true;
    return text;
}

/* The call as it is written in <tool_call> markers. */
static void append_call_text(struct dialog *d, const struct request_block *b)
{
    char *input = dump(d, b->input);
    begin(d, "assistant");
    if (d->text.len)
        buf_putc(&d->text, '\n');
    buf_puts(&d->text, "<tool_call>\n{\"name\": \"");
    buf_puts(&d->text, b->name);
    buf_puts(&d->text, "\", \"arguments\": ");
    buf_puts(&d->text, input ? input : "");
    buf_puts(&d->text, "}\n</tool_call>");
    free(input);
}

static void add_call(struct dialog *d, const struct request_block *b)
{
    if (!d->format->tools) {
        append_call_text(d, b);
        return;
    }
    begin(d, "assistant");
    if (!d->calls)
        d->calls = json_array();
    json_t *call = json_pack("{s:s, s:s, s:{s:s, s:O}}", "id", b->id, "type", "function",
                             "function", "name", b->name, "arguments", b->input);
    if (!call || json_array_append_new(d->calls, call))
        d->failed = true;
}

/* Is it already plain that this is an error? */
static bool says_error(struct request_text text)
{
    return (text.n >= 5 && !strncmp(text.data, "Error", 5)) ||
           (text.n >= 16 && !strncmp(text.data, "<tool_use_error>", 16));
}

static void add_result(struct dialog *d, const struct request_block *b)
{
    const char *label = b->is_error && !says_error(b->text) ? "Error: " : "";
    if (!d->format->tools) {
        add_user(d, "<tool_response>\n", 16);
        buf_puts(&d->text, label);
        buf_append(&d->text, b->text.data, b->text.n);
        buf_puts(&d->text, "\n</tool_response>");
        return;
    }
    flush(d);
    d->role = "tool";
    buf_puts(&d->text, label);
    buf_append(&d->text, b->text.data, b->text.n);
    json_t *message =
        json_pack("{s:s, s:s, s:s}", "role", "tool", "tool_call_id", b->id, "name", b->use->name);
    set_text(d, message, "content", &d->text);
    d->role = NULL;
    push(d, message);
}

static void add_block(struct dialog *d, enum request_role role, const struct request_block *b)
{
    if (role == REQUEST_ASSISTANT && b->kind != REQUEST_BLOCK_TOOL_RESULT)
        unfold(d);
    switch (b->kind) {
    case REQUEST_BLOCK_TOOL_USE:
        add_call(d, b);
        break;
    case REQUEST_BLOCK_TOOL_RESULT:
        add_result(d, b);
        break;
    case REQUEST_BLOCK_THINKING:
        begin(d, "assistant");
        append_paragraph(&d->thinking, b->text.data, b->text.n);
        break;
    case REQUEST_BLOCK_TEXT:
        if (role == REQUEST_SYSTEM) {
            add_system(d, b->text.data, b->text.n);
        } else if (role == REQUEST_USER) {
            add_user(d, b->text.data, b->text.n);
        } else {
            begin(d, "assistant");
            append_paragraph(&d->text, b->text.data, b->text.n);
        }
    }
}

static void add_message(struct dialog *d, const struct request_message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        add_block(d, m->role, &m->blocks[i]);
}

static void add_mark(struct dialog *d, const char *mark)
{
    unfold(d);
    begin(d, "assistant");
    append_paragraph(&d->text, mark, strlen(mark));
}

/* ---- instructions in words ---- */

static json_t *describe_tool(const struct request_tool *tool)
{
    return json_pack("{s:s, s:{s:s, s:s, s:O}}", "type", "function", "function", "name", tool->name,
                     "description", tool->description, "parameters", tool->schema);
}

static void add_tools_text(struct dialog *d, const struct request *r)
{
    struct buf text;
    if (d->format->tools || !request_n_offered(r))
        return;
    buf_init(&text, TEXT_MAX_BYTES);
    buf_puts(&text, "# Tools\n\nYou may call these tools to help the user:\n<tools>\n");
    for (size_t i = 0; i < r->n_tools; i++) {
        json_t *tool = describe_tool(&r->tools[i]);
        char *line = dump(d, tool);
        buf_puts(&text, line ? line : "");
        buf_putc(&text, '\n');
        free(line);
        json_decref(tool);
    }
    buf_puts(&text, "</tools>\n\nTo call one, write its name and its arguments as JSON between "
                    "<tool_call> and </tool_call>:\n<tool_call>\n{\"name\": <name>, \"arguments\": "
                    "<object>}\n</tool_call>");
    d->failed |= buf_failed(&text);
    add_system(d, text.data ? text.data : "", text.len);
    buf_deinit(&text);
}

/* What the API promises and a mask will one day enforce is asked for at the end, where it leaves
 * the prefix that other requests share as it is. */
static void add_wishes(struct dialog *d, const struct request *r)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    if (r->choice == REQUEST_CHOICE_TOOL)
        buf_printf(&text, "Answer with a call of the tool %s.", r->chosen->name);
    else if (r->choice == REQUEST_CHOICE_ANY)
        buf_puts(&text, "Answer with a call of one of the tools.");
    if (r->answer_schema) {
        char *schema = dump(d, r->answer_schema);
        buf_puts(&text, text.len ? "\n\n" : "");
        buf_puts(&text, "Answer with one JSON object and nothing else. Its JSON schema: ");
        buf_puts(&text, schema ? schema : "");
        free(schema);
    }
    d->failed |= buf_failed(&text);
    if (text.len)
        add_user(d, text.data, text.len);
    buf_deinit(&text);
}

/* ---- the whole ---- */

static void init(struct dialog *d, const struct dialog_format *format)
{
    *d = (struct dialog){.format = format, .messages = json_array()};
    d->failed = !d->messages;
    buf_init(&d->text, TEXT_MAX_BYTES);
    buf_init(&d->thinking, TEXT_MAX_BYTES);
    buf_init(&d->folded, TEXT_MAX_BYTES);
}

static json_t *deinit(struct dialog *d)
{
    d->failed |= buf_failed(&d->folded);
    buf_deinit(&d->text);
    buf_deinit(&d->thinking);
    buf_deinit(&d->folded);
    json_decref(d->calls);
    if (!d->failed)
        return d->messages;
    json_decref(d->messages);
    return NULL;
}

json_t *dialog_messages(const struct request *r, const struct dialog_format *format,
                        const char *const *marks, const char *tail)
{
    struct dialog d;
    init(&d, format);
    add_message(&d, &r->system);
    add_tools_text(&d, r);
    for (size_t i = 0; i < r->n_messages; i++) {
        if (marks && marks[i])
            add_mark(&d, marks[i]);
        else
            add_message(&d, &r->messages[i]);
    }
    if (tail) {
        begin(&d, "assistant");
        buf_puts(&d.text, tail);
    } else {
        unfold(&d);
        add_wishes(&d, r);
    }
    flush(&d);
    return deinit(&d);
}

json_t *dialog_tools(const struct request *r, const struct dialog_format *format)
{
    if (!format->tools || !request_n_offered(r))
        return json_null();
    json_t *tools = json_array();
    for (size_t i = 0; i < r->n_tools; i++)
        if (json_array_append_new(tools, describe_tool(&r->tools[i]))) {
            json_decref(tools);
            return NULL;
        }
    return tools;
}
