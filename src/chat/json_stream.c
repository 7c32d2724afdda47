#include "chat/json_stream.h"

#include <string.h>

enum expects {
    EXPECTS_START, /* { or [ */
    EXPECTS_VALUE,
    EXPECTS_VALUE_OR_END,
    EXPECTS_KEY,
    EXPECTS_KEY_OR_END,
    EXPECTS_COLON,
    EXPECTS_COMMA_OR_END,
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_NUMBER,
    IN_LITERAL,
};

void json_scan_init(struct json_scan *s)
{
    *s = (struct json_scan){.expects = EXPECTS_START};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool in_object(const struct json_scan *s)
{
    return s->depth && (s->is_object >> (s->depth - 1) & 1);
}

static enum json_scan_verdict open(struct json_scan *s, bool is_object)
{
    if (s->depth == JSON_SCAN_MAX_DEPTH)
        return JSON_SCAN_BAD;
    uint64_t bit = (uint64_t)1 << s->depth++;
    s->is_object = is_object ? s->is_object | bit : s->is_object & ~bit;
    s->expects = is_object ? EXPECTS_KEY_OR_END : EXPECTS_VALUE_OR_END;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict close(struct json_scan *s, char c)
{
    if ((c == '}') != in_object(s))
        return JSON_SCAN_BAD;
    s->depth--;
    s->expects = EXPECTS_COMMA_OR_END;
    return s->depth ? JSON_SCAN_MORE : JSON_SCAN_DONE;
}

static enum json_scan_verdict begin_string(struct json_scan *s, bool is_key)
{
    s->is_key = is_key;
    s->expects = IN_STRING;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict begin_literal(struct json_scan *s, const char *rest)
{
    s->literal = rest;
    s->expects = IN_LITERAL;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict begin_value(struct json_scan *s, char c)
{
    switch (c) {
    case '{':
    case '[':
        return open(s, c == '{');
    case '"':
        return begin_string(s, false);
    case 't':
        return begin_literal(s, "rue");
    case 'f':
        return begin_literal(s, "alse");
    case 'n':
        return begin_literal(s, "ull");
    default:
        s->expects = IN_NUMBER;
        return c == '-' || (c >= '0' && c <= '9') ? JSON_SCAN_MORE : JSON_SCAN_BAD;
    }
}

static enum json_scan_verdict in_string(struct json_scan *s, char c)
{
    if (c == '\\')
        s->expects = IN_ESCAPE;
    else if (c == '"')
        s->expects = s->is_key ? EXPECTS_COLON : EXPECTS_COMMA_OR_END;
    else if ((unsigned char)c < 0x20 && c != '\n' && c != '\r' && c != '\t')
        return JSON_SCAN_BAD;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict in_escape(struct json_scan *s, char c)
{
    s->expects = c == 'u' ? IN_HEX : IN_STRING;
    s->n_hex = 4;
    /* \' is no JSON, but says one thing only */
    return c && strchr("\"\\/bfnrtu'", c) ? JSON_SCAN_MORE : JSON_SCAN_BAD;
}

static enum json_scan_verdict in_hex(struct json_scan *s, char c)
{
    if (!c || !strchr("0123456789abcdefABCDEF", c))
        return JSON_SCAN_BAD;
    if (!--s->n_hex)
        s->expects = IN_STRING;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict in_literal(struct json_scan *s, char c)
{
    if (c != *s->literal)
        return JSON_SCAN_BAD;
    if (!*++s->literal)
        s->expects = EXPECTS_COMMA_OR_END;
    return JSON_SCAN_MORE;
}

static enum json_scan_verdict comma_or_end(struct json_scan *s, char c)
{
    if (c == '}' || c == ']')
        return close(s, c);
    s->expects = in_object(s) ? EXPECTS_KEY : EXPECTS_VALUE;
    return c == ',' ? JSON_SCAN_MORE : JSON_SCAN_BAD;
}

static enum json_scan_verdict between(struct json_scan *s, char c)
{
    if (is_space(c))
        return JSON_SCAN_MORE;
    switch (s->expects) {
    case EXPECTS_START:
        return c == '{' || c == '[' ? open(s, c == '{') : JSON_SCAN_BAD;
    case EXPECTS_VALUE_OR_END:
        return c == ']' ? close(s, c) : begin_value(s, c);
    case EXPECTS_VALUE:
        return begin_value(s, c);
    case EXPECTS_KEY_OR_END:
        if (c == '}')
            return close(s, c);
        return c == '"' ? begin_string(s, true) : JSON_SCAN_BAD;
    case EXPECTS_KEY:
        return c == '"' ? begin_string(s, true) : JSON_SCAN_BAD;
    case EXPECTS_COLON:
        s->expects = EXPECTS_VALUE;
        return c == ':' ? JSON_SCAN_MORE : JSON_SCAN_BAD;
    default:
        return comma_or_end(s, c);
    }
}

enum json_scan_verdict json_scan_byte(struct json_scan *s, char c)
{
    switch (s->expects) {
    case IN_STRING:
        return in_string(s, c);
    case IN_ESCAPE:
        return in_escape(s, c);
    case IN_HEX:
        return in_hex(s, c);
    case IN_LITERAL:
        return in_literal(s, c);
    case IN_NUMBER:
        if (c && strchr("0123456789+-.eE", c))
            return JSON_SCAN_MORE;
        s->expects = EXPECTS_COMMA_OR_END;
        return between(s, c);
    default:
        return between(s, c);
    }
}
