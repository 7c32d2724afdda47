#include "claude/request.h"

#include "chat/json_exact.h"
#include "claude/request_parse.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_MAX_BYTES = 256 << 20 };

/* ---- refusals ---- */

struct request_path request_path_at(const char *path, const char *name)
{
    struct request_path out;
    snprintf(out.text, sizeof out.text, "%s%s%s", path, *path ? "." : "", name);
    return out;
}

struct request_path request_path_index(const char *path, const char *name, size_t index)
{
    struct request_path out;
    snprintf(out.text, sizeof out.text, "%s%s%s.%zu", path, *path && *name ? "." : "", name, index);
    return out;
}

bool request_refuse(struct error *err, const char *path, const char *name, const char *format, ...)
{
    char what[240];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    struct request_path where = name ? request_path_at(path, name) : request_path_at("", path);
    return error_set(err, ERROR_INPUT, "%s: %s", where.text, what);
}

bool request_no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for the request");
}

/* ---- members ---- */

json_t *request_member(json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

bool request_text_of(json_t *object, const char *path, const char *name,
                     struct conversation_text *out, struct error *err)
{
    json_t *value = json_object_get(object, name);
    if (!value)
        return request_refuse(err, path, name, "Field required");
    if (!json_exact_is_string(value))
        return request_refuse(err, path, name, "Input should be a valid string");
    *out = (struct conversation_text){json_string_value(value), json_string_length(value)};
    return true;
}

bool request_string(json_t *object, const char *path, const char *name, const char **out,
                    struct error *err)
{
    struct conversation_text text;
    if (!request_text_of(object, path, name, &text, err))
        return false;
    if (!text.n)
        return request_refuse(err, path, name, "String should have at least 1 character");
    if (strlen(text.data) != text.n)
        return request_refuse(err, path, name, "String should not hold the character U+0000");
    *out = text.data;
    return true;
}

bool request_bool(json_t *object, const char *path, const char *name, bool *out, struct error *err)
{
    json_t *value = request_member(object, name);
    if (value && !json_is_boolean(value))
        return request_refuse(err, path, name, "Input should be a valid boolean");
    if (value)
        *out = json_is_true(value);
    return true;
}

static bool optional_number(json_t *object, const char *name, double most, bool *has, double *out,
                            struct error *err)
{
    json_t *value = request_member(object, name);
    if (!value)
        return true;
    if (!json_exact_is_number(value))
        return request_refuse(err, name, NULL, "Input should be a valid number");
    *out = json_exact_number(value);
    if (!(*out >= 0))
        return request_refuse(err, name, NULL, "Input should be greater than or equal to 0");
    if (!(*out <= most))
        return request_refuse(err, name, NULL, "Input should be less than or equal to %g", most);
    *has = true;
    return true;
}

bool request_text_from(struct request *r, struct buf *b, struct conversation_text *out,
                       struct error *err)
{
    char *copy =
        buf_failed(b) ? NULL : arena_copy(&r->conversation.arena, b->data ? b->data : "", b->len);
    *out = (struct conversation_text){copy, b->len};
    buf_deinit(b);
    return copy || request_no_memory(err);
}

/* ---- the body's size ---- */

/* Counts what the JSON parser would have to build, before it does: a few bytes of body can cost a
 * hundred of memory, and nesting costs stack. */
static bool check_shape(const char *body, size_t n, struct error *err)
{
    size_t depth = 0, n_values = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = body[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            n_values++;
            depth++;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        } else if (c == ',') {
            n_values++;
        }
        if (depth > REQUEST_MAX_DEPTH)
            return error_at(err, ERROR_INPUT, (int64_t)i,
                            "the request body is nested deeper than %d levels", REQUEST_MAX_DEPTH);
        if (n_values > REQUEST_MAX_VALUES)
            return error_at(err, ERROR_TOO_LARGE, (int64_t)i,
                            "the request body has more than %d JSON values", REQUEST_MAX_VALUES);
    }
    return true;
}

static bool read_body(struct request *r, const char *body, size_t n, struct error *err)
{
    json_error_t at;
    if (n > REQUEST_MAX_BYTES)
        return error_set(err, ERROR_TOO_LARGE,
                         "the request body has %zu bytes, more than the maximum of %d", n,
                         REQUEST_MAX_BYTES);
    if (!check_shape(body, n, err))
        return false;
    r->root = json_exact_load(body, n, &at);
    if (!r->root && json_error_code(&at) == json_error_out_of_memory)
        return request_no_memory(err);
    if (!r->root)
        return error_at(err, ERROR_INPUT, at.position,
                        "the request body is not valid JSON: %s (line %d column %d)", at.text,
                        at.line, at.column);
    if (!json_is_object(r->root))
        return error_set(err, ERROR_INPUT, "the request body should be a JSON object");
    return true;
}

/* ---- members at the top ---- */

static bool parse_max_tokens(struct request *r, bool counts_only, struct error *err)
{
    json_t *value = json_object_get(r->root, "max_tokens");
    if (!value && counts_only)
        return true;
    if (!value)
        return request_refuse(err, "max_tokens", NULL, "Field required");
    double number = json_exact_number(value);
    if (!json_exact_is_number(value) || number != floor(number))
        return request_refuse(err, "max_tokens", NULL, "Input should be a valid integer");
    if (number < 1)
        return request_refuse(err, "max_tokens", NULL,
                              "Input should be greater than or equal to 1");
    r->max_tokens = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
    return true;
}

static bool parse_sampling(struct request *r, struct error *err)
{
    json_t *top_k = request_member(r->root, "top_k");
    /* Anthropic's ends at 1; other clients of local models go further */
    if (!optional_number(r->root, "temperature", 2, &r->has_temperature, &r->temperature, err) ||
        !optional_number(r->root, "top_p", 1, &r->has_top_p, &r->top_p, err))
        return false;
    if (!top_k)
        return true;
    double k = json_exact_number(top_k);
    if (!json_exact_is_number(top_k) || k != floor(k))
        return request_refuse(err, "top_k", NULL, "Input should be a valid integer");
    if (k < -1)
        return request_refuse(err, "top_k", NULL, "Input should be greater than or equal to 0");
    r->has_top_k = true; /* -1 means off, as it always did */
    r->top_k = k < 0 ? 0 : k < UINT32_MAX ? (uint32_t)k : UINT32_MAX;
    return true;
}

static bool parse_stops(struct request *r, struct error *err)
{
    json_t *stops = request_member(r->root, "stop_sequences");
    size_t n = json_array_size(stops);
    if (stops && !json_is_array(stops))
        return request_refuse(err, "stop_sequences", NULL, "Input should be a valid list");
    if (n > REQUEST_MAX_STOPS)
        return request_refuse(err, "stop_sequences", NULL, "List should have at most %d items",
                              REQUEST_MAX_STOPS);
    r->stops = arena_array(&r->conversation.arena, n, sizeof *r->stops);
    if (n && !r->stops)
        return request_no_memory(err);
    for (; r->n_stops < n; r->n_stops++) {
        json_t *stop = json_array_get(stops, r->n_stops);
        struct request_path path = request_path_index("", "stop_sequences", r->n_stops);
        if (!json_exact_is_string(stop))
            return request_refuse(err, path.text, NULL, "Input should be a valid string");
        if (!json_string_length(stop))
            return request_refuse(err, path.text, NULL, "String should have at least 1 character");
        if (json_string_length(stop) > REQUEST_MAX_STOP_BYTES)
            return request_refuse(err, path.text, NULL, "String should have at most %d bytes",
                                  REQUEST_MAX_STOP_BYTES);
        r->stops[r->n_stops] =
            (struct conversation_text){json_string_value(stop), json_string_length(stop)};
    }
    return true;
}

/* output_config.format, and output_format as it was called before. */
static bool parse_answer_schema(struct request *r, struct error *err)
{
    const char *path = "output_config.format";
    json_t *format = request_member(request_member(r->root, "output_config"), "format");
    if (!format) {
        path = "output_format";
        format = request_member(r->root, "output_format");
    }
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format)
        return true;
    if (!type || strcmp(type, "json_schema"))
        return request_refuse(err, path, "type", "Input should be 'json_schema'");
    r->conversation.answer_schema = json_object_get(format, "schema");
    return json_is_object(r->conversation.answer_schema) ||
           request_refuse(err, path, "schema", "Input should be an object");
}

/* Words that this server does not know leave it to the model. */
static void parse_wishes(struct request *r)
{
    static const char *const thinking[] = {
        [CONVERSATION_THINKING_OFF] = "disabled",
        [CONVERSATION_THINKING_ADAPTIVE] = "adaptive",
        [CONVERSATION_THINKING_ON] = "enabled",
    };
    static const char *const efforts[] = {
        [CONVERSATION_EFFORT_LOW] = "low",   [CONVERSATION_EFFORT_MEDIUM] = "medium",
        [CONVERSATION_EFFORT_HIGH] = "high", [CONVERSATION_EFFORT_XHIGH] = "xhigh",
        [CONVERSATION_EFFORT_MAX] = "max",
    };
    const json_t *type = json_object_get(request_member(r->root, "thinking"), "type"),
                 *effort = json_object_get(request_member(r->root, "output_config"), "effort");
    for (size_t i = 1; json_exact_is_string(type) && i <= CONVERSATION_THINKING_ON; i++)
        if (!strcmp(json_string_value(type), thinking[i]))
            r->conversation.thinking = (enum conversation_thinking)i;
    for (size_t i = 1; json_exact_is_string(effort) && i < CONVERSATION_EFFORTS; i++)
        if (!strcmp(json_string_value(effort), efforts[i]))
            r->conversation.effort = (enum conversation_effort)i;
}

/* What needs a cloud behind it is refused by name; all else that is unknown is harmless. */
static bool refuse_cloud_fields(struct request *r, struct error *err)
{
    json_t *servers = request_member(r->root, "mcp_servers");
    if (servers && (!json_is_array(servers) || json_array_size(servers)))
        return request_refuse(err, "mcp_servers", NULL,
                              "this server does not connect to MCP servers; let the client do it");
    if (request_member(r->root, "container"))
        return request_refuse(err, "container", NULL, "this server has no containers");
    return true;
}

static bool parse_members(struct request *r, bool counts_only, struct error *err)
{
    json_t *root = r->root;
    parse_wishes(r);
    return request_string(root, "", "model", &r->model, err) &&
           parse_max_tokens(r, counts_only, err) &&
           request_parse_system(r, request_member(root, "system"), err) &&
           request_parse_messages(r, json_object_get(root, "messages"), err) &&
           request_parse_tools(r, request_member(root, "tools"), err) &&
           request_parse_choice(r, request_member(root, "tool_choice"), err) &&
           request_bool(root, "", "stream", &r->stream, err) && parse_sampling(r, err) &&
           parse_stops(r, err) && parse_answer_schema(r, err) && refuse_cloud_fields(r, err);
}

bool request_parse(struct request *r, const char *body, size_t n_bytes, bool counts_only,
                   struct error *err)
{
    *r = (struct request){0};
    conversation_init(&r->conversation, ARENA_MAX_BYTES);
    bool ok = read_body(r, body, n_bytes, err) && parse_members(r, counts_only, err);
    if (!ok)
        request_deinit(r);
    return ok;
}

void request_deinit(struct request *r)
{
    conversation_deinit(&r->conversation);
    json_decref(r->uses);
    json_decref(r->root);
    *r = (struct request){0};
}
