/* A dialect unlike all that models are known to speak here, whole in this file: calls are elements,
 * their arguments elements inside, with bare text for strings and JSON for the rest.
 *
 *     <call name="Write"><arg name="path">a.txt</arg><arg name="n">3</arg></call> */
#include "chat/json_exact.h"
#include "chat/json_text.h"
#include "dialect_xml.h"

#include <stdint.h>
#include <string.h>

enum place { IN_NAME, BETWEEN, IN_KEY, IN_STRING, IN_OTHER };

struct xml_call {
    uint8_t place; /* enum place */
    size_t from;   /* in the bytes: where the name, tag, key or value begins */
    bool has_arguments;
};

static bool begins(const char *bytes, size_t n, const char *text)
{
    return n <= strlen(text) && !memcmp(bytes, text, n);
}

static bool ends(const char *bytes, size_t n, const char *text)
{
    size_t length = strlen(text);
    return n >= length && !memcmp(bytes + n - length, text, length);
}

static void go_to(struct xml_call *x, enum place place, size_t from)
{
    x->place = (uint8_t)place;
    x->from = from;
}

static enum dialect_verdict read_name(struct dialect_call *call, const char *bytes, size_t n)
{
    if (!ends(bytes, n, "\">"))
        return DIALECT_MORE;
    call->tool = dialect_tool(call->tools, bytes, n - 2);
    if (!call->tool)
        return DIALECT_NONE;
    buf_putc(&call->json, '{');
    go_to(call->state, BETWEEN, n);
    return DIALECT_MORE;
}

static enum dialect_verdict read_tag(struct dialect_call *call, const char *bytes, size_t n)
{
    struct xml_call *x = call->state;
    const char *tag = bytes + x->from;
    size_t length = n - x->from;
    if (length == 1 && (*tag == ' ' || *tag == '\n')) {
        x->from = n;
    } else if (length == 7 && !memcmp(tag, "</call>", 7)) {
        buf_putc(&call->json, '}');
        call->end = call->json.len;
        return DIALECT_CALL;
    } else if (length == 11 && !memcmp(tag, "<arg name=\"", 11)) {
        go_to(x, IN_KEY, n);
    } else if (!begins(tag, length, "</call>") && !begins(tag, length, "<arg name=\"")) {
        return DIALECT_NONE;
    }
    return DIALECT_MORE;
}

static bool is_string(const struct conversation_tool *tool, const char *key, size_t n)
{
    json_t *properties = json_object_get(tool->schema, "properties");
    json_t *type = json_object_get(json_object_getn(properties, key, n), "type");
    return !type || !strcmp(json_string_value(type), "string");
}

static enum dialect_verdict read_key(struct dialect_call *call, const char *bytes, size_t n)
{
    struct xml_call *x = call->state;
    if (!ends(bytes, n, "\">"))
        return DIALECT_MORE;
    const char *key = bytes + x->from;
    size_t length = n - x->from - 2;
    bool string = is_string(call->tool, key, length);
    if (x->has_arguments)
        buf_putc(&call->json, ',');
    x->has_arguments = true;
    json_text_string(&call->json, key, length);
    buf_puts(&call->json, string ? ":\"" : ":");
    go_to(x, string ? IN_STRING : IN_OTHER, n);
    return DIALECT_MORE;
}

static void put_byte(struct buf *out, char c)
{
    if ((unsigned char)c < 0x80)
        json_text_escape(out, &c, 1);
    else
        buf_putc(out, c);
}

/* Text goes out at once, but for what may be its end. */
static enum dialect_verdict read_string(struct dialect_call *call, const char *bytes, size_t n)
{
    struct xml_call *x = call->state;
    while (x->from < n && !begins(bytes + x->from, n - x->from, "</arg>"))
        put_byte(&call->json, bytes[x->from++]);
    if (n - x->from == 6) {
        buf_putc(&call->json, '"');
        go_to(x, BETWEEN, n);
    }
    return DIALECT_MORE;
}

static enum dialect_verdict read_other(struct dialect_call *call, const char *bytes, size_t n)
{
    struct xml_call *x = call->state;
    if (!ends(bytes + x->from, n - x->from, "</arg>"))
        return DIALECT_MORE;
    /* any value, in an array that makes it a whole text */
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_putc(&text, '[');
    buf_append(&text, bytes + x->from, n - x->from - 6);
    buf_putc(&text, ']');
    json_t *value = json_exact_load(text.data, text.len, NULL);
    if (json_array_size(value) == 1)
        json_exact_write(&call->json, json_array_get(value, 0), 0);
    else
        json_text_string(&call->json, bytes + x->from, n - x->from - 6);
    json_decref(value);
    buf_deinit(&text);
    go_to(x, BETWEEN, n);
    return DIALECT_MORE;
}

static enum dialect_verdict xml_read(struct dialect_call *call, const char *bytes, size_t n)
{
    static enum dialect_verdict (*const readers[])(struct dialect_call *, const char *, size_t) = {
        [IN_NAME] = read_name,     [BETWEEN] = read_tag,    [IN_KEY] = read_key,
        [IN_STRING] = read_string, [IN_OTHER] = read_other,
    };
    return readers[((const struct xml_call *)call->state)->place](call, bytes, n);
}

static bool xml_end(struct dialect_call *call)
{
    const struct xml_call *x = call->state;
    buf_puts(&call->json, x->place == IN_STRING ? "\"}" : x->place == IN_OTHER ? "null}" : "}");
    call->end = call->json.len;
    return false;
}

static void xml_write_tools(struct marked_text *out, const struct conversation *c)
{
    marked_text_own(out, "You may call:");
    for (size_t i = 0; i < c->n_tools; i++) {
        marked_text_own(out, " ");
        marked_text_data(out, c->tools[i].name, strlen(c->tools[i].name));
    }
    marked_text_own(out, "\nas <call name=\"…\"><arg name=\"…\">…</arg></call>");
}

static void xml_write_call(struct marked_text *out, const char *name, const json_t *arguments)
{
    const char *key;
    json_t *value;
    marked_text_own(out, "<call name=\"");
    marked_text_data(out, name, strlen(name));
    marked_text_own(out, "\">");
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        marked_text_own(out, "<arg name=\"");
        marked_text_data(out, key, strlen(key));
        marked_text_own(out, "\">");
        struct buf text;
        buf_init(&text, 1 << 20);
        json_exact_write(&text, value, 0);
        if (json_exact_is_string(value))
            marked_text_data(out, json_string_value(value), json_string_length(value));
        else
            marked_text_data(out, text.data, text.len);
        buf_deinit(&text);
        marked_text_own(out, "</arg>");
    }
    marked_text_own(out, "</call>");
}

static void xml_write_result(struct marked_text *out, const char *label,
                             const struct conversation_text *text)
{
    marked_text_own(out, "<result>");
    marked_text_data(out, label, strlen(label));
    marked_text_data(out, text->data, text->n);
    marked_text_own(out, "</result>");
}

const struct dialect dialect_xml = {
    .name = "xml",
    .open = "<call name=\"",
    .skips = "",
    .opens = "",
    .think_open = "<think>",
    .think_close = "</think>",
    .state_bytes = sizeof(struct xml_call),
    .read = xml_read,
    .end = xml_end,
    .write_tools = xml_write_tools,
    .write_call = xml_write_call,
    .write_result = xml_write_result,
};
