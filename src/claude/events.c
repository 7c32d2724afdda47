#include "claude/events.h"

#include "chat/json_text.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_PIECE_BYTES = 64 }; /* of a tool's input in one input_json_delta, at least */

/* ---- errors ---- */

/* An error of ours has its status, and any status its type: those that a server in front of us
 * makes as well. */
static const struct {
    enum error_code code;
    int status;
} status_rows[] = {
    {ERROR_USAGE, 400},     {ERROR_INPUT, 400},     {ERROR_FORMAT, 400}, {ERROR_UNSUPPORTED, 400},
    {ERROR_NOT_FOUND, 404}, {ERROR_TOO_LARGE, 413}, {ERROR_BUSY, 529},
};

static const struct {
    int status;
    const char *type;
} type_rows[] = {
    {401, "authentication_error"}, {403, "permission_error"},  {404, "not_found_error"},
    {408, "timeout_error"},        {413, "request_too_large"}, {429, "rate_limit_error"},
    {503, "overloaded_error"},     {504, "timeout_error"},     {529, "overloaded_error"},
};

int events_error_status(enum error_code code)
{
    for (size_t i = 0; i < sizeof status_rows / sizeof *status_rows; i++)
        if (status_rows[i].code == code)
            return status_rows[i].status;
    return 500;
}

static const char *error_type(int status)
{
    for (size_t i = 0; i < sizeof type_rows / sizeof *type_rows; i++)
        if (type_rows[i].status == status)
            return type_rows[i].type;
    return status < 500 ? "invalid_request_error" : "api_error";
}

void events_error_body(struct buf *out, int status, const struct error *err, const char *request_id)
{
    buf_printf(out,
               "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_type(status));
    json_text_string(out, err->message, strlen(err->message));
    buf_puts(out, "},\"request_id\":");
    if (request_id)
        json_text_string(out, request_id, strlen(request_id));
    else
        buf_puts(out, "null");
    buf_putc(out, '}');
}

/* ---- pieces ---- */

void events_init(struct events *e, struct buf *out, bool stream, const char *model)
{
    *e = (struct events){.out = out, .stream = stream, .model = model};
    random_id_make(e->id, "msg_");
    buf_init(&e->content, EVENTS_MAX_BYTES);
}

void events_deinit(struct events *e)
{
    buf_deinit(&e->content);
}

bool events_failed(const struct events *e)
{
    return e->is_broken || buf_failed(e->out) || buf_failed(&e->content);
}

void events_take_back(struct events *e)
{
    if (!buf_failed(e->out))
        return;
    const size_t n_whole = e->stream ? e->n_whole : 0;
    e->is_broken = true;
    e->out->failed = false;
    buf_truncate(e->out, n_whole);
}

static void note_begin(struct events *e)
{
    if (!buf_failed(e->out))
        e->n_whole = e->out->len;
}

static void begin_event(struct events *e, const char *type)
{
    note_begin(e);
    buf_printf(e->out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void end_event(struct events *e)
{
    buf_puts(e->out, "}\n\n");
}

/* Parts of the prompt that an earlier request computed were read from the cache. */
static void put_usage(struct buf *out, const struct engine_usage *usage, unsigned n_output)
{
    buf_printf(out,
               "\"usage\":{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%u,\"output_tokens\":%u}",
               usage->n_prompt - usage->n_cached, usage->n_cached, n_output);
}

/* The message's members that are known from the start. */
static void put_head(struct buf *out, const struct events *e)
{
    buf_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", e->id);
    json_text_string(out, e->model, strlen(e->model));
}

static void put_stop(struct buf *out, const char *reason, const char *sequence, size_t n_sequence)
{
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (sequence)
        json_text_string(out, sequence, n_sequence);
    else
        buf_puts(out, "null");
}

static void put_tool_head(struct buf *out, const char *name)
{
    char id[RANDOM_ID_BYTES];
    random_id_make(id, "toolu_");
    buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", id);
    json_text_string(out, name, strlen(name));
    buf_puts(out, ",\"input\":");
}

/* ---- blocks ---- */

static void put_block_start(struct events *e)
{
    begin_event(e, "content_block_start");
    buf_printf(e->out, ",\"index\":%zu,\"content_block\":", e->n_blocks);
}

/* The first block is followed by the ping that Anthropic's own streams have. */
static void end_block_start(struct events *e)
{
    end_event(e);
    if (!e->n_blocks++)
        events_ping(e);
}

static void put_delta(struct events *e, const char *type, const char *member, const char *bytes,
                      size_t n)
{
    begin_event(e, "content_block_delta");
    buf_printf(e->out, ",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":", e->n_blocks - 1, type,
               member);
    json_text_string(e->out, bytes, n);
    buf_putc(e->out, '}');
    end_event(e);
}

static void put_block_stop(struct events *e)
{
    begin_event(e, "content_block_stop");
    buf_printf(e->out, ",\"index\":%zu", e->n_blocks - 1);
    end_event(e);
}

/* How a block whose content is a string is spelt. A thought has a signature, which nobody here
 * checks. */
static const struct {
    const char *begin, *end; /* around the string's inside */
    const char *delta, *member;
} string_blocks[] = {
    [EVENTS_TEXT_BLOCK] = {"{\"type\":\"text\",\"text\":\"", "\"}", "text_delta", "text"},
    [EVENTS_THINKING_BLOCK] = {"{\"type\":\"thinking\",\"thinking\":\"", "\",\"signature\":\"\"}",
                               "thinking_delta", "thinking"},
};

static void close_block(struct events *e)
{
    if (e->open != EVENTS_NO_BLOCK && e->stream)
        put_block_stop(e);
    else if (e->open == EVENTS_CALL_BLOCK)
        buf_putc(&e->content, '}');
    else if (e->open != EVENTS_NO_BLOCK)
        buf_puts(&e->content, string_blocks[e->open].end);
    e->open = EVENTS_NO_BLOCK;
}

static void begin_string(struct events *e, enum events_block kind)
{
    if (e->open == kind)
        return;
    close_block(e);
    e->open = kind;
    if (!e->stream) {
        buf_puts(&e->content, e->n_blocks++ ? "," : "");
        buf_puts(&e->content, string_blocks[kind].begin);
        return;
    }
    put_block_start(e);
    buf_puts(e->out, string_blocks[kind].begin);
    buf_puts(e->out, string_blocks[kind].end);
    end_block_start(e);
}

static void put_string(struct events *e, enum events_block kind, const char *bytes, size_t n)
{
    begin_string(e, kind);
    if (e->stream)
        put_delta(e, string_blocks[kind].delta, string_blocks[kind].member, bytes, n);
    else
        json_text_escape(&e->content, bytes, n);
}

void events_text(struct events *e, const char *bytes, size_t n)
{
    put_string(e, EVENTS_TEXT_BLOCK, bytes, n);
}

void events_thinking(struct events *e, const char *bytes, size_t n)
{
    put_string(e, EVENTS_THINKING_BLOCK, bytes, n);
}

/* How much of text[n] goes into one delta: some bytes and the rest of the character. */
static size_t piece_of(const char *text, size_t n)
{
    size_t length = n < INPUT_PIECE_BYTES ? n : INPUT_PIECE_BYTES;
    while (length < n && ((unsigned char)text[length] & 0xc0) == 0x80)
        length++;
    return length;
}

void events_call_begin(struct events *e, const char *name)
{
    close_block(e);
    e->open = EVENTS_CALL_BLOCK;
    if (!e->stream) {
        buf_puts(&e->content, e->n_blocks++ ? "," : "");
        put_tool_head(&e->content, name);
        return;
    }
    put_block_start(e);
    put_tool_head(e->out, name);
    buf_puts(e->out, "{}}");
    end_block_start(e);
    put_delta(e, "input_json_delta", "partial_json", "", 0);
}

void events_call_bytes(struct events *e, const char *bytes, size_t n)
{
    if (!e->stream)
        buf_append(&e->content, bytes, n);
    for (size_t at = 0; e->stream && at < n;) {
        size_t length = piece_of(bytes + at, n - at);
        put_delta(e, "input_json_delta", "partial_json", bytes + at, length);
        at += length;
    }
}

void events_call_end(struct events *e)
{
    close_block(e);
}

/* ---- beginning and end ---- */

void events_start(struct events *e, const struct engine_usage *usage)
{
    e->has_started = true;
    if (!e->stream)
        return;
    begin_event(e, "message_start");
    buf_puts(e->out, ",\"message\":");
    put_head(e->out, e);
    buf_puts(e->out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
    put_usage(e->out, usage, 1);
    buf_putc(e->out, '}');
    end_event(e);
}

static void put_whole(struct events *e, const char *stop_reason, const char *stop_sequence,
                      size_t n_stop_sequence, const struct engine_usage *usage)
{
    put_head(e->out, e);
    buf_puts(e->out, ",\"content\":[");
    buf_append(e->out, e->content.data ? e->content.data : "", e->content.len);
    buf_puts(e->out, "],");
    put_stop(e->out, stop_reason, stop_sequence, n_stop_sequence);
    buf_putc(e->out, ',');
    put_usage(e->out, usage, usage->n_generated);
    buf_putc(e->out, '}');
}

void events_finish(struct events *e, const char *stop_reason, const char *stop_sequence,
                   size_t n_stop_sequence, const struct engine_usage *usage)
{
    close_block(e);
    if (!e->stream) {
        put_whole(e, stop_reason, stop_sequence, n_stop_sequence, usage);
        return;
    }
    begin_event(e, "message_delta");
    buf_puts(e->out, ",\"delta\":{");
    put_stop(e->out, stop_reason, stop_sequence, n_stop_sequence);
    buf_puts(e->out, "},");
    put_usage(e->out, usage, usage->n_generated);
    end_event(e);
    begin_event(e, "message_stop");
    end_event(e);
}

void events_fail(struct events *e, const struct error *err, const char *request_id)
{
    if (!e->stream) {
        events_error_body(e->out, events_error_status(err->code), err, request_id);
        return;
    }
    note_begin(e);
    buf_puts(e->out, "event: error\ndata: ");
    events_error_body(e->out, events_error_status(err->code), err, request_id);
    buf_puts(e->out, "\n\n");
}

void events_ping(struct events *e)
{
    if (!e->stream)
        return;
    begin_event(e, "ping");
    end_event(e);
}

/* Both official SDKs overwrite stop_reason, stop_sequence and output_tokens with each
 * message_delta, so the one at the end wins. Inside a block an empty delta says as little. */
void events_keep_alive(struct events *e)
{
    if (!e->stream || !e->has_started)
        return;
    if (e->open == EVENTS_CALL_BLOCK) {
        put_delta(e, "input_json_delta", "partial_json", "", 0);
        return;
    }
    if (e->open != EVENTS_NO_BLOCK) {
        put_delta(e, string_blocks[e->open].delta, string_blocks[e->open].member, "", 0);
        return;
    }
    begin_event(e, "message_delta");
    buf_puts(e->out, ",\"delta\":{\"stop_reason\":null,\"stop_sequence\":null},"
                     "\"usage\":{\"output_tokens\":0}");
    end_event(e);
}
