#include "chat/json_stream.h"

#include "chat/json_text.h"

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

/* Where in a number; those that it may not end at come first. */
enum number {
    NUMBER_SIGN,
    NUMBER_POINT,
    NUMBER_EXPONENT,
    NUMBER_EXPONENT_SIGN,
    NUMBER_ZERO,
    NUMBER_WHOLE,
    NUMBER_FRACTION,
    NUMBER_POWER,
};

void json_stream_init(struct json_stream *s)
{
    *s = (struct json_stream){.expects = EXPECTS_START};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool in_object(const struct json_stream *s)
{
    return s->depth && (s->is_object >> (s->depth - 1) & 1);
}

/* ---- containers and scalars ---- */

static void write_comma(struct json_stream *s, struct buf *out)
{
    if (s->has_comma)
        buf_putc(out, ',');
    s->has_comma = false;
}

static enum json_stream_verdict stream_open(struct json_stream *s, char c, struct buf *out)
{
    const bool is_object = c == '{';
    uint64_t bit = (uint64_t)1 << s->depth++;
    s->is_object = is_object ? s->is_object | bit : s->is_object & ~bit;
    s->expects = is_object ? EXPECTS_KEY_OR_END : EXPECTS_VALUE_OR_END;
    buf_putc(out, c);
    return JSON_STREAM_MORE;
}

static enum json_stream_verdict stream_close(struct json_stream *s, char c, struct buf *out)
{
    if ((c == '}') != in_object(s))
        return JSON_STREAM_BAD;
    s->depth--;
    s->expects = EXPECTS_COMMA_OR_END;
    buf_putc(out, c);
    return s->depth ? JSON_STREAM_MORE : JSON_STREAM_DONE;
}

static enum json_stream_verdict begin_string(struct json_stream *s, bool is_key, struct buf *out)
{
    s->is_key = is_key;
    s->expects = IN_STRING;
    buf_putc(out, '"');
    return JSON_STREAM_MORE;
}

static enum json_stream_verdict begin_literal(struct json_stream *s, char c, const char *rest,
                                              struct buf *out)
{
    s->literal = rest;
    s->expects = IN_LITERAL;
    buf_putc(out, c);
    return JSON_STREAM_MORE;
}

static enum json_stream_verdict begin_number(struct json_stream *s, char c, struct buf *out)
{
    s->number = c == '-' ? NUMBER_SIGN : c == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
    s->expects = IN_NUMBER;
    buf_putc(out, c);
    return JSON_STREAM_MORE;
}

static bool may_begin_value(const struct json_stream *s, char c)
{
    if (c == '{' || c == '[')
        return s->depth < JSON_STREAM_MAX_DEPTH;
    return is_digit(c) || (c && strchr("-\"tfn", c));
}

static enum json_stream_verdict begin_value(struct json_stream *s, char c, struct buf *out)
{
    if (!may_begin_value(s, c))
        return JSON_STREAM_BAD;
    write_comma(s, out);
    switch (c) {
    case '{':
    case '[':
        return stream_open(s, c, out);
    case '"':
        return begin_string(s, false, out);
    case 't':
        return begin_literal(s, c, "rue", out);
    case 'f':
        return begin_literal(s, c, "alse", out);
    case 'n':
        return begin_literal(s, c, "ull", out);
    default:
        return begin_number(s, c, out);
    }
}

static enum json_stream_verdict begin_key(struct json_stream *s, char c, struct buf *out)
{
    if (c != '"')
        return JSON_STREAM_BAD;
    write_comma(s, out);
    return begin_string(s, true, out);
}

static enum json_stream_verdict in_literal(struct json_stream *s, char c, struct buf *out)
{
    if (c != *s->literal)
        return JSON_STREAM_BAD;
    buf_putc(out, c);
    if (!*++s->literal)
        s->expects = EXPECTS_COMMA_OR_END;
    return JSON_STREAM_MORE;
}

/* The place behind `c`, or -1: it does not go on like this. */
static int number_after(enum number at, char c)
{
    const bool digit = is_digit(c), exponent = c == 'e' || c == 'E';
    switch (at) {
    case NUMBER_SIGN:
        return c == '0' ? NUMBER_ZERO : digit ? NUMBER_WHOLE : -1;
    case NUMBER_ZERO:
    case NUMBER_WHOLE:
        if (digit && at == NUMBER_WHOLE)
            return NUMBER_WHOLE;
        return c == '.' ? NUMBER_POINT : exponent ? NUMBER_EXPONENT : -1;
    case NUMBER_POINT:
        return digit ? NUMBER_FRACTION : -1;
    case NUMBER_FRACTION:
        return digit ? NUMBER_FRACTION : exponent ? NUMBER_EXPONENT : -1;
    case NUMBER_EXPONENT:
        return digit ? NUMBER_POWER : c == '+' || c == '-' ? NUMBER_EXPONENT_SIGN : -1;
    default:
        return digit ? NUMBER_POWER : -1;
    }
}

/* ---- strings ---- */

static void write_point(struct buf *out, uint32_t point)
{
    char bytes[4];
    size_t n = 0;
    if (point < 0x80) {
        bytes[n++] = (char)point;
        json_text_escape(out, bytes, n);
        return;
    }
    if (point < 0x800) {
        bytes[n++] = (char)(0xc0 | point >> 6);
    } else if (point < 0x10000) {
        bytes[n++] = (char)(0xe0 | point >> 12);
        bytes[n++] = (char)(0x80 | (point >> 6 & 0x3f));
    } else {
        bytes[n++] = (char)(0xf0 | point >> 18);
        bytes[n++] = (char)(0x80 | (point >> 12 & 0x3f));
        bytes[n++] = (char)(0x80 | (point >> 6 & 0x3f));
    }
    bytes[n++] = (char)(0x80 | (point & 0x3f));
    buf_append(out, bytes, n);
}

/* A surrogate without its other half says nothing: what was written stays, as text. */
static void write_lone(struct buf *out, uint32_t surrogate)
{
    buf_printf(out, "\\\\u%04x", (unsigned)surrogate);
}

static void write_high(struct json_stream *s, struct buf *out)
{
    if (s->high)
        write_lone(out, s->high);
    s->high = 0;
}

static enum json_stream_verdict in_string(struct json_stream *s, char c, struct buf *out)
{
    if (c == '\\') {
        s->expects = IN_ESCAPE;
        return JSON_STREAM_MORE;
    }
    write_high(s, out);
    if (c == '"') {
        buf_putc(out, c);
        s->expects = s->is_key ? EXPECTS_COLON : EXPECTS_COMMA_OR_END;
    } else if ((unsigned char)c < 0x80) {
        json_text_escape(out, &c, 1);
    } else {
        buf_putc(out, c);
    }
    return JSON_STREAM_MORE;
}

static enum json_stream_verdict in_escape(struct json_stream *s, char c, struct buf *out)
{
    static const char names[] = "\"\\/bfnrt'", meanings[] = "\"\\/\b\f\n\r\t'";
    const char *name = c ? strchr(names, c) : NULL;
    s->expects = IN_STRING;
    if (c == 'u') {
        s->n_hex = 0;
        s->expects = IN_HEX;
        return JSON_STREAM_MORE;
    }
    write_high(s, out);
    if (name) {
        json_text_escape(out, meanings + (name - names), 1);
        return JSON_STREAM_MORE;
    }
    buf_puts(out, "\\\\"); /* \d, \s, \U: the backslash was meant */
    return in_string(s, c, out);
}

static void take_point(struct json_stream *s, uint32_t point, struct buf *out)
{
    if (s->high && point >= 0xdc00 && point < 0xe000) {
        write_point(out, 0x10000 + ((uint32_t)(s->high - 0xd800) << 10) + (point - 0xdc00));
        s->high = 0;
        return;
    }
    write_high(s, out);
    if (point >= 0xd800 && point < 0xdc00)
        s->high = (uint16_t)point;
    else if (point >= 0xdc00 && point < 0xe000)
        write_lone(out, point);
    else
        write_point(out, point);
}

static uint32_t hex_value(char c)
{
    return (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
}

static enum json_stream_verdict in_hex(struct json_stream *s, char c, struct buf *out)
{
    if (!c || !strchr("0123456789abcdefABCDEF", c)) { /* \user: the backslash was meant */
        write_high(s, out);
        buf_puts(out, "\\\\u");
        buf_append(out, s->hex, s->n_hex);
        s->expects = IN_STRING;
        return in_string(s, c, out);
    }
    s->hex[s->n_hex++] = c;
    if (s->n_hex < 4)
        return JSON_STREAM_MORE;
    uint32_t point = 0;
    for (int i = 0; i < 4; i++)
        point = point << 4 | hex_value(s->hex[i]);
    take_point(s, point, out);
    s->expects = IN_STRING;
    return JSON_STREAM_MORE;
}

/* ---- the whole ---- */

static enum json_stream_verdict comma_or_end(struct json_stream *s, char c, struct buf *out)
{
    if (c == '}' || c == ']')
        return stream_close(s, c, out);
    if (c != ',')
        return JSON_STREAM_BAD;
    s->expects = in_object(s) ? EXPECTS_KEY : EXPECTS_VALUE;
    s->has_comma = true;
    return JSON_STREAM_MORE;
}

static enum json_stream_verdict between(struct json_stream *s, char c, struct buf *out)
{
    if (is_space(c))
        return JSON_STREAM_MORE;
    switch (s->expects) {
    case EXPECTS_START:
        return c == '{' || c == '[' ? stream_open(s, c, out) : JSON_STREAM_BAD;
    case EXPECTS_VALUE_OR_END:
        return c == ']' ? stream_close(s, c, out) : begin_value(s, c, out);
    case EXPECTS_VALUE:
        return begin_value(s, c, out);
    case EXPECTS_KEY_OR_END:
        return c == '}' ? stream_close(s, c, out) : begin_key(s, c, out);
    case EXPECTS_KEY:
        return begin_key(s, c, out);
    case EXPECTS_COLON:
        if (c != ':')
            return JSON_STREAM_BAD;
        buf_putc(out, c);
        s->expects = EXPECTS_VALUE;
        return JSON_STREAM_MORE;
    default:
        return comma_or_end(s, c, out);
    }
}

static enum json_stream_verdict in_number(struct json_stream *s, char c, struct buf *out)
{
    const int next = number_after((enum number)s->number, c);
    if (next >= 0) {
        s->number = (uint8_t)next;
        buf_putc(out, c);
        return JSON_STREAM_MORE;
    }
    if (s->number < NUMBER_ZERO)
        return JSON_STREAM_BAD;
    s->expects = EXPECTS_COMMA_OR_END;
    return between(s, c, out);
}

enum json_stream_verdict json_stream_byte(struct json_stream *s, char c, struct buf *out)
{
    switch (s->expects) {
    case IN_STRING:
        return in_string(s, c, out);
    case IN_ESCAPE:
        return in_escape(s, c, out);
    case IN_HEX:
        return in_hex(s, c, out);
    case IN_LITERAL:
        return in_literal(s, c, out);
    case IN_NUMBER:
        return in_number(s, c, out);
    default:
        return between(s, c, out);
    }
}

/* Ends the scalar that is being written. */
static void close_scalar(struct json_stream *s, struct buf *out)
{
    if (s->expects == IN_STRING || s->expects == IN_ESCAPE || s->expects == IN_HEX) {
        buf_putc(out, '"');
        s->expects = s->is_key ? EXPECTS_COLON : EXPECTS_COMMA_OR_END;
    } else if (s->expects == IN_LITERAL) {
        buf_puts(out, s->literal);
    } else if (s->expects == IN_NUMBER && s->number < NUMBER_ZERO) {
        buf_putc(out, '0');
    }
}

void json_stream_close(struct json_stream *s, uint32_t depth, struct buf *out)
{
    close_scalar(s, out);
    if (s->expects == EXPECTS_COLON)
        buf_puts(out, ":null");
    else if (s->expects == EXPECTS_VALUE && in_object(s))
        buf_puts(out, "null");
    for (; s->depth > depth; s->depth--)
        buf_putc(out, in_object(s) ? '}' : ']');
    s->expects = EXPECTS_COMMA_OR_END;
    s->has_comma = false;
}
