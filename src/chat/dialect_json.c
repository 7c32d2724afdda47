/* The dialects whose calls are JSON, {"name": …, "arguments": {…}}, between markers: Hermes' (Qwen,
 * too), what small Qwens make of it, and Mistral's. Where the name comes first, as taught, the
 * arguments are known while they are written; otherwise once the object is whole. */
#include "chat/dialect.h"
#include "chat/json_exact.h"
#include "chat/json_stream.h"
#include "chat/tool_call.h"

#include <stdint.h>
#include <string.h>

struct json_call {
    struct json_stream stream;
    bool has_begun;
};

/* ---- reading ---- */

/* Takes `text` from the front of *at, if it is there. */
static bool take_text(const char **at, const char *end, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(end - *at) < n || memcmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* The arguments' brace was just written: do the members before it say which tool is called? */
static void find_head(struct dialect_call *call)
{
    const char *at = call->json.data, *end = at + call->json.len;
    if (!take_text(&at, end, "{\"name\":\""))
        return;
    const char *name = at, *quote = memchr(at, '"', (size_t)(end - at));
    at = quote ? quote : end;
    if (!take_text(&at, end, "\",\""))
        return;
    for (size_t i = 0; i < tool_call_n_argument_keys; i++) {
        const char *key = at;
        if (take_text(&key, end, tool_call_argument_keys[i]) && take_text(&key, end, "\":{") &&
            key == end) {
            call->tool = dialect_tool(call->tools, name, (size_t)(quote - name));
            call->arguments = call->json.len - 1;
            return;
        }
    }
}

/* The object is whole, and was written otherwise than it is taught. */
static enum dialect_verdict read_whole(struct dialect_call *call)
{
    json_t *calls = tool_call_read(call->json.data, call->json.len, true, call->tools);
    json_t *first = json_array_get(calls, 0);
    if (first) {
        const json_t *name = json_object_get(first, "name");
        call->tool = dialect_tool(call->tools, json_string_value(name), json_string_length(name));
        buf_clear(&call->json);
        call->arguments = 0;
        json_exact_write(&call->json, json_object_get(first, "arguments"), 0);
        call->end = call->json.len;
    }
    json_decref(calls);
    return first ? DIALECT_CALL : DIALECT_NONE;
}

static enum dialect_verdict read_object(struct dialect_call *call, char c)
{
    struct json_call *j = call->state;
    const uint32_t depth = j->stream.depth;
    enum json_stream_verdict verdict = json_stream_byte(&j->stream, c, &call->json);
    if (verdict == JSON_STREAM_BAD || buf_failed(&call->json))
        return DIALECT_NONE;
    if (!call->tool && c == '{' && depth == 1 && j->stream.depth == 2)
        find_head(call);
    else if (call->tool && call->end == SIZE_MAX && j->stream.depth == 1)
        call->end = call->json.len;
    if (verdict == JSON_STREAM_MORE)
        return DIALECT_MORE;
    return call->tool ? DIALECT_CALL : read_whole(call);
}

static enum dialect_verdict json_read(struct dialect_call *call, const char *bytes, size_t n)
{
    struct json_call *j = call->state;
    size_t json_at;
    if (j->has_begun)
        return read_object(call, bytes[n - 1]);
    switch (tool_call_begins(bytes, n, true, call->tools, &json_at)) {
    case TOOL_CALL_YES: /* with the object's brace */
        call->in_list |= bytes[json_at] == '[';
        j->has_begun = true;
        json_stream_init(&j->stream);
        return read_object(call, bytes[n - 1]);
    case TOOL_CALL_NO:
        return DIALECT_NONE;
    default:
        return DIALECT_MORE;
    }
}

static bool json_end(struct dialect_call *call)
{
    struct json_call *j = call->state;
    if (call->end != SIZE_MAX)
        return true;
    json_stream_close(&j->stream, 1, &call->json);
    call->end = call->json.len;
    return false;
}

/* ---- writing ---- */

static void write_tools(struct marked_text *out, const struct conversation *c)
{
    marked_text_own(out, "# Tools\n\nYou may call these tools to help the user:\n<tools>\n");
    for (size_t i = 0; i < c->n_tools; i++) {
        json_t *tool = dialect_describe_tool(&c->tools[i]);
        marked_text_json(out, tool);
        marked_text_own(out, "\n");
        json_decref(tool);
    }
    marked_text_own(out,
                    "</tools>\n\nTo call one, write its name and its arguments as JSON between "
                    "<tool_call> and </tool_call>:\n<tool_call>\n{\"name\": <name>, "
                    "\"arguments\": <object>}\n</tool_call>");
}

static void write_call(struct marked_text *out, const char *name, const json_t *arguments)
{
    marked_text_own(out, "<tool_call>\n{\"name\": \"");
    marked_text_data(out, name, strlen(name));
    marked_text_own(out, "\", \"arguments\": ");
    marked_text_json(out, arguments);
    marked_text_own(out, "}\n</tool_call>");
}

static void write_result(struct marked_text *out, const char *label,
                         const struct conversation_text *text)
{
    marked_text_own(out, "<tool_response>\n");
    marked_text_data(out, label, strlen(label));
    marked_text_data(out, text->data, text->n);
    marked_text_own(out, "\n</tool_response>");
}

#define JSON_CALLS                                                                                 \
    .skips = "},`]", .opens = "{[", .state_bytes = sizeof(struct json_call), .read = json_read,    \
    .end = json_end, .write_tools = write_tools, .write_call = write_call,                         \
    .write_result = write_result

const struct dialect dialect_hermes = {
    .name = "hermes", .open = "<tool_call>", .close = "</tool_call>", JSON_CALLS};
const struct dialect dialect_tools_marker = {
    .name = "tools", .open = "<tools>", .close = "</tools>", JSON_CALLS};
const struct dialect dialect_mistral = {.name = "mistral", .open = "[TOOL_CALLS]", JSON_CALLS};
