#include "chat/dialog.h"

#include "base/buf.h"
#include "chat/json_exact.h"

#include <string.h>
#include <xxhash.h>

enum { TEXT_MAX_BYTES = 96 << 20, SHORT_ID_BYTES = 9 };

struct dialog {
    const struct dialog_format *format;
    const struct dialog_options *options;
    json_t *messages;
    const char *role; /* of the message being gathered, or NULL */
    struct marked_text text, thinking;
    json_t *calls;                           /* its tool_calls, or NULL */
    const struct conversation_block *answer; /* the result that a "tool" message is */
    struct marked_text folded;               /* system text that waits for a user message */
    bool is_open;                            /* somebody but the system has spoken */
    bool failed;
};

/* Neighbours of one role: templates see them as one message. */
struct dialog_turn {
    const struct conversation_message *messages; /* [n] */
    size_t n;
};

/* ---- gathering one message ---- */

static void dialog_set(struct dialog *d, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        d->failed = true;
}

static json_t *dialog_string(struct dialog *d, struct marked_text *text)
{
    json_t *string = marked_text_string(text, d->options->notes);
    marked_text_clear(text);
    return string;
}

static bool is_role(const struct dialog *d, const char *role)
{
    return d->role && !strcmp(d->role, role);
}

static void dialog_push(struct dialog *d, json_t *message)
{
    if (json_array_append_new(d->messages, message))
        d->failed = true;
}

static void dialog_add_part(struct dialog *d, json_t *parts, const char *kind,
                            struct marked_text *text)
{
    json_t *part = json_pack("{s:s}", "type", kind);
    dialog_set(d, part, kind, dialog_string(d, text));
    if (json_array_append_new(parts, part))
        d->failed = true;
}

static json_t *dialog_content(struct dialog *d)
{
    const bool thinks = d->format->thoughts == DIALOG_THINKING_PART && d->thinking.bytes.len;
    if (!d->format->parts && !thinks)
        return dialog_string(d, &d->text);
    json_t *parts = json_array();
    if (thinks)
        dialog_add_part(d, parts, "thinking", &d->thinking);
    if (d->text.bytes.len || !thinks)
        dialog_add_part(d, parts, "text", &d->text);
    return parts;
}

static void begin_paragraph(struct marked_text *out)
{
    if (out->bytes.len)
        marked_text_data(out, "\n\n", 2);
}

/* Text beside a call becomes the end of the thoughts. */
static void dialog_join_thoughts(struct dialog *d)
{
    if (!d->format->joins_thoughts || !d->calls || !d->thinking.bytes.len || !d->text.bytes.len)
        return;
    begin_paragraph(&d->thinking);
    marked_text_append(&d->thinking, &d->text);
    marked_text_clear(&d->text);
}

static void dialog_cover(struct dialog *d)
{
    if (!d->options->veil || is_role(d, "system") || is_role(d, "tool"))
        return;
    veil_cover(d->options->veil, &d->text);
    veil_cover(d->options->veil, &d->thinking);
}

/* The id of a call as the template wants it. */
static json_t *dialog_id(const struct dialog *d, const char *id)
{
    char text[SHORT_ID_BYTES];
    if (!d->format->short_ids)
        return json_string(id);
    uint64_t hash = XXH3_64bits(id, strlen(id));
    for (size_t i = 0; i < SHORT_ID_BYTES; i++, hash /= 36)
        text[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36];
    return json_stringn(text, sizeof text);
}

static json_t *dialog_new_message(struct dialog *d)
{
    if (!is_role(d, "tool"))
        return json_pack("{s:s}", "role", d->role);
    const struct conversation_block *b = d->answer;
    return json_pack("{s:s, s:o, s:s}", "role", "tool", "tool_call_id",
                     dialog_id(d, b->call ? b->call->id : b->id), "name",
                     b->call ? b->call->name : b->name);
}

static void dialog_flush(struct dialog *d)
{
    static const char *const fields[] = {[DIALOG_REASONING_CONTENT] = "reasoning_content",
                                         [DIALOG_THINKING] = "thinking",
                                         [DIALOG_REASONING] = "reasoning"};
    if (!d->role)
        return;
    json_t *message = dialog_new_message(d);
    dialog_join_thoughts(d);
    dialog_cover(d);
    dialog_set(d, message, "content", dialog_content(d));
    if (d->thinking.bytes.len)
        dialog_set(d, message, fields[d->format->thoughts], dialog_string(d, &d->thinking));
    if (d->calls)
        dialog_set(d, message, "tool_calls", d->calls);
    d->calls = NULL;
    d->role = NULL;
    dialog_push(d, message);
}

/* Some templates want a user to speak first. */
static void dialog_open(struct dialog *d, const char *role)
{
    const char *opening = d->format->opening;
    if (d->is_open || !strcmp(role, "system"))
        return;
    d->is_open = true;
    if (!opening || !strcmp(role, "user"))
        return;
    dialog_flush(d);
    d->role = "user";
    marked_text_data(&d->text, opening, strlen(opening));
    dialog_flush(d);
}

static void dialog_begin(struct dialog *d, const char *role)
{
    dialog_open(d, role);
    if (is_role(d, role))
        return;
    dialog_flush(d);
    d->role = role;
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
    if (!d->format->folds_user || !is_role(d, "tool"))
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
    const bool is_first = !json_array_size(d->messages) && (!d->role || is_role(d, "system"));
    struct marked_text *text = &d->text;
    if (is_first ? d->format->system : d->format->mid_system)
        dialog_begin(d, "system");
    else if (!is_role(d, "user"))
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

static json_t *dialog_arguments(const struct dialog *d, json_t *arguments)
{
    struct buf text;
    if (!d->format->arguments_as_text)
        return json_incref(arguments);
    buf_init(&text, TEXT_MAX_BYTES);
    json_exact_write(&text, arguments, JSON_EXACT_SPACED);
    json_t *string = buf_failed(&text) ? NULL : json_stringn(text.data, text.len);
    buf_deinit(&text);
    return string;
}

static void dialog_add_call(struct dialog *d, const struct conversation_block *b)
{
    if (!d->format->tools) {
        dialog_append_call_text(d, b);
        return;
    }
    if (d->format->one_call && d->calls)
        dialog_flush(d);
    dialog_begin(d, "assistant");
    if (!d->calls)
        d->calls = json_array();
    json_t *call =
        json_pack("{s:o, s:s, s:{s:s, s:o}}", "id", dialog_id(d, b->id), "type", "function",
                  "function", "name", b->name, "arguments", dialog_arguments(d, b->arguments));
    if (!call || json_array_append_new(d->calls, call))
        d->failed = true;
}

/* Is it already plain that this is an error? */
static bool says_error(struct conversation_text text)
{
    return (text.n >= 5 && !strncmp(text.data, "Error", 5)) ||
           (text.n >= 16 && !strncmp(text.data, "<tool_use_error>", 16));
}

/* Behind a call, or behind another result. */
static bool may_answer(const struct dialog *d)
{
    return (is_role(d, "assistant") && d->calls) || is_role(d, "tool");
}

static void dialog_add_result(struct dialog *d, const struct conversation_block *b)
{
    const char *label = b->is_error && !says_error(b->text) ? "Error: " : "";
    if (!d->format->tools || (d->format->results_first && !may_answer(d))) {
        dialog_begin_user(d);
        begin_paragraph(&d->text);
        d->format->dialect->write_result(&d->text, label, &b->text);
        return;
    }
    dialog_open(d, "tool");
    dialog_flush(d);
    d->role = "tool";
    d->answer = b;
    marked_text_data(&d->text, label, strlen(label));
    marked_text_data(&d->text, b->text.data, b->text.n);
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

static void dialog_add_mark(struct dialog *d, const char *mark)
{
    dialog_unfold(d);
    dialog_begin(d, "assistant");
    append_paragraph(&d->text, mark, strlen(mark));
}

/* ---- turns ---- */

/* The result of a call in the turn behind it, or NULL. */
static const struct conversation_block *result_in(const struct dialog_turn *turn,
                                                  const struct conversation_block *call)
{
    for (size_t i = 0; i < turn->n; i++) {
        const struct conversation_message *m = &turn->messages[i];
        for (size_t k = 0; k < m->n_blocks; k++)
            if (m->blocks[k].kind == CONVERSATION_RESULT && m->blocks[k].call == call)
                return &m->blocks[k];
    }
    return NULL;
}

static bool has_call(const struct dialog_turn *turn, const struct conversation_block *call)
{
    for (size_t i = 0; i < turn->n; i++)
        for (size_t k = 0; k < turn->messages[i].n_blocks; k++)
            if (&turn->messages[i].blocks[k] == call)
                return true;
    return false;
}

/* `next`: the turn behind it, which has the results. */
static void dialog_add_assistant(struct dialog *d, const struct dialog_turn *turn,
                                 const struct dialog_turn *next)
{
    for (size_t i = 0; i < turn->n; i++)
        for (size_t k = 0; k < turn->messages[i].n_blocks; k++) {
            const struct conversation_block *b = &turn->messages[i].blocks[k], *result;
            dialog_add_block(d, CONVERSATION_ASSISTANT, b);
            if (d->format->one_call && d->format->tools && b->kind == CONVERSATION_CALL &&
                (result = result_in(next, b)))
                dialog_add_result(d, result);
        }
}

/* A result that already stands behind its call. */
static bool was_told(const struct dialog *d, const struct dialog_turn *before,
                     const struct dialog_turn *turn, const struct conversation_block *b)
{
    return d->format->one_call && d->format->tools && b->kind == CONVERSATION_RESULT &&
           has_call(before, b->call) && result_in(turn, b->call) == b;
}

enum dialog_pick { PICK_ALL, PICK_RESULTS, PICK_OTHERS };

static void dialog_add_picked(struct dialog *d, const struct dialog_turn *before,
                              const struct dialog_turn *turn, enum dialog_pick pick)
{
    for (size_t i = 0; i < turn->n; i++)
        for (size_t k = 0; k < turn->messages[i].n_blocks; k++) {
            const struct conversation_block *b = &turn->messages[i].blocks[k];
            const bool is_result = b->kind == CONVERSATION_RESULT;
            if (pick != PICK_ALL && is_result != (pick == PICK_RESULTS))
                continue;
            if (!was_told(d, before, turn, b))
                dialog_add_block(d, turn->messages[i].role, b);
        }
}

/* The calls of the turn before that have no result in this one. */
static void dialog_answer_calls(struct dialog *d, const struct dialog_turn *before,
                                const struct dialog_turn *turn)
{
    static const char nothing[] = "(no result)";
    if (!d->format->answers_calls || !d->format->tools)
        return;
    for (size_t i = 0; i < before->n; i++)
        for (size_t k = 0; k < before->messages[i].n_blocks; k++) {
            const struct conversation_block *b = &before->messages[i].blocks[k];
            if (b->kind != CONVERSATION_CALL || result_in(turn, b))
                continue;
            dialog_flush(d);
            d->role = "tool";
            d->answer = b;
            marked_text_data(&d->text, nothing, sizeof nothing - 1);
        }
}

/* Also of the system's turns. `before` is empty where a mark stands for that turn. */
static void dialog_add_user_turn(struct dialog *d, const struct dialog_turn *before,
                                 const struct dialog_turn *turn)
{
    if (!d->format->results_first && !d->format->answers_calls) {
        dialog_add_picked(d, before, turn, PICK_ALL);
        return;
    }
    dialog_add_picked(d, before, turn, PICK_RESULTS);
    dialog_answer_calls(d, before, turn);
    dialog_add_picked(d, before, turn, PICK_OTHERS);
}

static struct dialog_turn turn_at(const struct conversation *c, size_t from)
{
    struct dialog_turn turn = {.messages = c->messages + from};
    while (from + turn.n < c->n_messages && turn.messages[turn.n].role == turn.messages->role)
        turn.n++;
    return turn;
}

static void dialog_add_turns(struct dialog *d, const struct conversation *c)
{
    const char *const *marks = d->options->marks;
    struct dialog_turn before = {0};
    for (size_t i = 0; i < c->n_messages;) {
        struct dialog_turn turn = turn_at(c, i), next = turn_at(c, i + turn.n);
        const bool is_marked = marks && marks[i];
        if (is_marked)
            dialog_add_mark(d, marks[i]);
        else if (turn.messages->role == CONVERSATION_ASSISTANT)
            dialog_add_assistant(d, &turn, &next);
        else
            dialog_add_user_turn(d, &before, &turn);
        i += turn.n;
        before = is_marked ? (struct dialog_turn){0} : turn;
    }
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
                        const struct dialog_options *options)
{
    static const struct dialog_options none;
    *d = (struct dialog){
        .format = format, .options = options ? options : &none, .messages = json_array()};
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

/* Nobody spoke: some templates want a user all the same. */
static void dialog_end(struct dialog *d, const struct conversation *c)
{
    dialog_unfold(d);
    dialog_add_wishes(d, c);
    dialog_open(d, "nobody");
}

json_t *dialog_messages(const struct conversation *c, const struct dialog_format *format,
                        const struct dialog_options *options)
{
    const struct dialog_turn system = {&c->system, 1}, nothing = {0};
    struct dialog d;
    dialog_init(&d, format, options);
    dialog_add_picked(&d, &nothing, &system, PICK_ALL);
    dialog_add_tools_text(&d, c);
    dialog_add_turns(&d, c);
    if (options && options->tail) {
        dialog_begin(&d, "assistant");
        marked_text_data(&d.text, options->tail, strlen(options->tail));
    } else {
        dialog_end(&d, c);
    }
    dialog_flush(&d);
    return dialog_deinit(&d);
}

json_t *dialog_tools(const struct conversation *c, const struct dialog_format *format)
{
    if (!format->tools || !conversation_n_offered(c))
        return format->empty_tools ? json_array() : json_null();
    json_t *tools = json_array();
    for (size_t i = 0; i < c->n_tools; i++)
        if (json_array_append_new(tools, dialect_describe_tool(&c->tools[i]))) {
            json_decref(tools);
            return NULL;
        }
    return tools;
}
