#include "chat/tool_call.h"

#include "base/buf.h"
#include "chat/json_exact.h"
#include "chat/json_stream.h"

#include <string.h>

enum {
    START_MAX_BYTES = 1024, /* a call's beginning with all its white space */
    CALL_MAX_BYTES = 16 << 20,
};

const char *const tool_call_argument_keys[] = {"arguments", "parameters", "input"};
const size_t tool_call_n_argument_keys = 3;

static const char *const fence_languages[] = {"json", "JSON", "jsonc", "tool_call", "tool", ""};
enum { N_FENCE_LANGUAGES = 6 };

/* ---- how one begins ---- */

struct cursor {
    const char *bytes;
    size_t n, at;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->n && is_space(c->bytes[c->at]))
        c->at++;
}

/* As much as there is of it must agree. */
static enum tool_call_start literal(struct cursor *c, const char *text)
{
    size_t left = c->n - c->at, length = strlen(text);
    if (memcmp(c->bytes + c->at, text, left < length ? left : length) != 0)
        return TOOL_CALL_NO;
    if (left < length)
        return TOOL_CALL_MAYBE;
    c->at += length;
    return TOOL_CALL_YES;
}

static enum tool_call_start spaced(struct cursor *c, const char *text)
{
    skip_space(c);
    return literal(c, text);
}

/* The best of several literals followed by `end`. */
static enum tool_call_start one_of(struct cursor *c, const char *const *texts, size_t n,
                                   const char *end)
{
    enum tool_call_start best = TOOL_CALL_NO;
    for (size_t i = 0; i < n && best != TOOL_CALL_YES; i++) {
        struct cursor trial = *c;
        enum tool_call_start found = literal(&trial, texts[i]);
        if (found == TOOL_CALL_YES)
            found = literal(&trial, end);
        if (found == TOOL_CALL_YES)
            *c = trial;
        if (found > best)
            best = found;
    }
    return best;
}

static enum tool_call_start fence(struct cursor *c)
{
    enum tool_call_start found = literal(c, "```");
    for (size_t i = 0; found == TOOL_CALL_YES && i < N_FENCE_LANGUAGES; i++) {
        struct cursor trial = *c;
        enum tool_call_start language = literal(&trial, fence_languages[i]);
        if (language == TOOL_CALL_MAYBE)
            return TOOL_CALL_MAYBE;
        if (language == TOOL_CALL_NO)
            continue;
        while (trial.at < trial.n && is_space(trial.bytes[trial.at]) &&
               trial.bytes[trial.at] != '\n')
            trial.at++;
        enum tool_call_start end = literal(&trial, "\n");
        if (end != TOOL_CALL_NO) {
            *c = trial;
            return end;
        }
        if (i + 1 == N_FENCE_LANGUAGES)
            return TOOL_CALL_NO;
    }
    return found;
}

static enum tool_call_start tool_name(struct cursor *c, const struct dialect_tools *tools)
{
    enum tool_call_start best = TOOL_CALL_NO;
    for (size_t i = 0; i < tools->n && best != TOOL_CALL_YES; i++) {
        enum tool_call_start found = one_of(c, &tools->tools[i].name, 1, "\"");
        if (found > best)
            best = found;
    }
    return best;
}

/* {"name": "<tool>", "arguments": { */
static enum tool_call_start call_members(struct cursor *c, const struct dialect_tools *tools)
{
    enum tool_call_start found = spaced(c, "\"name\"");
    if (found == TOOL_CALL_YES)
        found = spaced(c, ":");
    if (found == TOOL_CALL_YES)
        found = spaced(c, "\"");
    if (found == TOOL_CALL_YES)
        found = tool_name(c, tools);
    if (found == TOOL_CALL_YES)
        found = spaced(c, ",");
    if (found == TOOL_CALL_YES)
        found = spaced(c, "\"");
    if (found == TOOL_CALL_YES)
        found = one_of(c, tool_call_argument_keys, tool_call_n_argument_keys, "\"");
    if (found == TOOL_CALL_YES)
        found = spaced(c, ":");
    skip_space(c);
    if (found != TOOL_CALL_YES)
        return found;
    if (c->at == c->n)
        return TOOL_CALL_MAYBE;
    return c->bytes[c->at] == '{' || c->bytes[c->at] == '"' ? TOOL_CALL_YES : TOOL_CALL_NO;
}

enum tool_call_start tool_call_begins(const char *bytes, size_t n, bool marked,
                                      const struct dialect_tools *tools, size_t *json_at)
{
    struct cursor c = {bytes, n, 0};
    enum tool_call_start found = TOOL_CALL_YES;
    skip_space(&c);
    if (c.at < n && bytes[c.at] == '`')
        found = fence(&c);
    skip_space(&c);
    *json_at = c.at;
    if (found == TOOL_CALL_YES && c.at < n && bytes[c.at] == '[') {
        c.at++;
        skip_space(&c);
    }
    if (found == TOOL_CALL_YES)
        found = literal(&c, "{");
    if (found == TOOL_CALL_YES && !marked)
        found = call_members(&c, tools);
    return found == TOOL_CALL_MAYBE && n > START_MAX_BYTES ? TOOL_CALL_NO : found;
}

/* ---- what a whole one says ---- */

/* The object in bytes[n], mended as json_stream.h does. */
static json_t *read_inner(const char *bytes, size_t n)
{
    struct json_stream stream;
    struct buf out;
    json_t *value = NULL;
    enum json_stream_verdict verdict = JSON_STREAM_MORE;
    buf_init(&out, CALL_MAX_BYTES);
    json_stream_init(&stream);
    for (size_t i = 0; i < n && verdict == JSON_STREAM_MORE; i++)
        verdict = json_stream_byte(&stream, bytes[i], &out);
    if (verdict == JSON_STREAM_DONE && !buf_failed(&out))
        value = json_exact_load(out.data, out.len, NULL);
    buf_deinit(&out);
    return value;
}

/* The arguments, owned by the caller; some models write them as a string that holds JSON. */
static json_t *read_arguments(json_t *call, bool marked)
{
    json_t *arguments = NULL;
    for (size_t i = 0; !arguments && i < tool_call_n_argument_keys; i++)
        arguments = json_object_get(call, tool_call_argument_keys[i]);
    if (!arguments)
        return marked ? json_object() : NULL;
    if (json_is_object(arguments))
        return json_incref(arguments);
    if (!json_exact_is_string(arguments))
        return NULL;
    json_t *inner = read_inner(json_string_value(arguments), json_string_length(arguments));
    if (json_is_object(inner))
        return inner;
    json_decref(inner);
    return NULL;
}

static bool append_call(json_t *calls, json_t *value, bool marked,
                        const struct dialect_tools *tools)
{
    json_t *name = json_object_get(value, "name");
    bool is_tool = json_exact_is_string(name) &&
                   dialect_tool(tools, json_string_value(name), json_string_length(name));
    json_t *arguments = is_tool ? read_arguments(value, marked) : NULL;
    return arguments && !json_array_append_new(
                            calls, json_pack("{s:O, s:o}", "name", name, "arguments", arguments));
}

json_t *tool_call_read(const char *bytes, size_t n, bool marked, const struct dialect_tools *tools)
{
    json_t *value = json_exact_load(bytes, n, NULL), *calls = json_array(), *element;
    size_t i;
    bool ok = value && calls;
    if (ok && json_is_object(value))
        ok = append_call(calls, value, marked, tools);
    else if (ok && json_array_size(value))
        json_array_foreach(value, i, element) ok = ok && append_call(calls, element, marked, tools);
    else
        ok = false;
    json_decref(value);
    if (ok)
        return calls;
    json_decref(calls);
    return NULL;
}

bool tool_call_opens(const char *bytes, size_t n, const struct dialects *dialects)
{
    size_t at = 0;
    while (at < n && is_space(bytes[at]))
        at++;
    if (at == n)
        return n > 0; /* white space alone: a call may follow it */
    if (strchr("{[`", bytes[at]) && bytes[at])
        return true;
    for (size_t i = 0; i < dialects->n; i++) {
        struct cursor c = {bytes, n, at};
        if (literal(&c, dialects->rows[i]->open) != TOOL_CALL_NO)
            return true;
    }
    return false;
}
