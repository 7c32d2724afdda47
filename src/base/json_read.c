/* See json_read.h. A machine of seven states and a stack of one bit for each level. */
#include "base/json_read.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What may come next. */
enum {
    EXPECTS_VALUE,
    EXPECTS_ITEM_OR_END, /* of an array that has begun */
    EXPECTS_KEY_OR_END,  /* of an object that has begun */
    EXPECTS_KEY,
    EXPECTS_MORE_OR_END, /* a comma or the container's end */
    EXPECTS_NOTHING,
    EXPECTS_FAILED,
};

void json_read_init(struct json_reader *r, const char *text, size_t len, struct error *err)
{
    *r = (struct json_reader){.text = text, .len = len, .err = err};
}

static enum json_read_event json_failed_at(struct json_reader *r, size_t at, const char *what)
{
    error_at(r->err, ERROR_FORMAT, (int64_t)at, "byte %zu: %s", at, what);
    r->expects = EXPECTS_FAILED;
    return JSON_READ_FAILED;
}

bool json_read_fail(struct json_reader *r, const char *format, ...)
{
    char text[224];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_failed_at(r, r->value_at, text);
    return false;
}

static void skip_blanks(struct json_reader *r)
{
    while (r->at < r->len && r->text[r->at] && strchr(" \t\n\r", r->text[r->at]))
        r->at++;
}

static bool is_digit(const struct json_reader *r, size_t at)
{
    return at < r->len && r->text[at] >= '0' && r->text[at] <= '9';
}

static bool is_one_of(const struct json_reader *r, size_t at, const char *set)
{
    return at < r->len && r->text[at] && strchr(set, r->text[at]);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The unit of "\uXXXX" at s, or -1. */
static int32_t utf16_unit(const char *s, size_t n)
{
    int32_t unit = 0;
    if (n < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* The character of "\uXXXX", or of two that are a pair, at s, and the bytes that it takes; -1 for a
 * surrogate alone. */
static int32_t utf16_escape(const char *s, size_t n, size_t *n_bytes)
{
    int32_t unit = utf16_unit(s, n);
    *n_bytes = 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return unit;
    int32_t low = unit < 0xdc00 && n > 6 ? utf16_unit(s + 6, n - 6) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    *n_bytes = 12;
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/* Steps over one escape of a string; false when it is none. */
static bool skip_escape(struct json_reader *r)
{
    size_t n = r->len - r->at, n_bytes = 2;
    if (n < 2)
        return false;
    if (r->text[r->at + 1] == 'u') {
        if (utf16_escape(r->text + r->at, n, &n_bytes) < 0)
            return false;
    } else if (!is_one_of(r, r->at + 1, "\"\\/bfnrt")) {
        return false;
    }
    r->at += n_bytes;
    r->has_escapes = true;
    return true;
}

/* A string or a key, at its first quote. */
static enum json_read_event json_string(struct json_reader *r, enum json_read_event event)
{
    r->value = r->text + ++r->at;
    r->has_escapes = false;
    while (r->at < r->len) {
        unsigned char c = (unsigned char)r->text[r->at];
        size_t n = 1;
        if (c == '"') {
            r->value_len = (size_t)(r->text + r->at++ - r->value);
            return event;
        }
        if (c == '\\') {
            if (!skip_escape(r))
                return json_failed_at(r, r->at, "this is no escape of JSON");
            continue;
        }
        if (c < 0x20)
            return json_failed_at(r, r->at, "a control character in a string");
        if (c > 0x7f)
            n = utf8_char_bytes(r->text + r->at, r->len - r->at);
        if (!n)
            return json_failed_at(r, r->at, "a string is not UTF-8");
        r->at += n;
    }
    return json_failed_at(r, r->value_at, "a string does not end");
}

static size_t skip_digits(const struct json_reader *r, size_t at)
{
    while (is_digit(r, at))
        at++;
    return at;
}

/* Where the number at `at` ends; `at` itself when there is none. */
static size_t number_end(const struct json_reader *r, size_t at)
{
    size_t begin = at, end = at + (is_one_of(r, at, "-") ? 1 : 0);
    if (!is_digit(r, end))
        return begin;
    end = r->text[end] == '0' ? end + 1 : skip_digits(r, end);
    if (is_one_of(r, end, ".")) {
        if (!is_digit(r, end + 1))
            return begin;
        end = skip_digits(r, end + 1);
    }
    if (is_one_of(r, end, "eE")) {
        size_t digits = end + (is_one_of(r, end + 1, "+-") ? 2 : 1);
        if (!is_digit(r, digits))
            return begin;
        end = skip_digits(r, digits);
    }
    return end;
}

static bool take_word(struct json_reader *r, const char *word)
{
    size_t n = strlen(word);
    if (r->len - r->at < n || memcmp(r->text + r->at, word, n) != 0)
        return false;
    r->value = r->text + r->at;
    r->value_len = n;
    r->at += n;
    return true;
}

static enum json_read_event json_number(struct json_reader *r)
{
    if (take_word(r, "NaN") || take_word(r, "Infinity") || take_word(r, "-Infinity"))
        return JSON_READ_NUMBER;
    size_t end = number_end(r, r->at);
    if (end == r->at)
        return json_failed_at(r, r->at, "here a value should begin");
    if (end - r->at > JSON_READ_MAX_NUMBER)
        return json_failed_at(r, r->at, "a number of that many digits");
    r->value = r->text + r->at;
    r->value_len = end - r->at;
    r->at = end;
    return JSON_READ_NUMBER;
}

static enum json_read_event json_open(struct json_reader *r, bool is_object)
{
    if (r->depth == JSON_READ_MAX_DEPTH)
        return json_failed_at(r, r->at, "values lie too deep in each other");
    r->at++;
    r->objects = (r->objects & ~(UINT64_C(1) << r->depth)) | (uint64_t)is_object << r->depth;
    r->depth++;
    r->expects = is_object ? EXPECTS_KEY_OR_END : EXPECTS_ITEM_OR_END;
    return is_object ? JSON_READ_OBJECT : JSON_READ_ARRAY;
}

static enum json_read_event json_value(struct json_reader *r)
{
    char c = r->text[r->at];
    if (c == '{' || c == '[')
        return json_open(r, c == '{');
    r->expects = r->depth ? EXPECTS_MORE_OR_END : EXPECTS_NOTHING;
    if (c == '"')
        return json_string(r, JSON_READ_STRING);
    if (take_word(r, "true"))
        return JSON_READ_TRUE;
    if (take_word(r, "false"))
        return JSON_READ_FALSE;
    if (take_word(r, "null"))
        return JSON_READ_NULL;
    return json_number(r);
}

static bool json_is_in_object(const struct json_reader *r)
{
    return r->objects >> (r->depth - 1) & 1;
}

static enum json_read_event json_close(struct json_reader *r)
{
    bool is_object = json_is_in_object(r);
    r->at++;
    r->depth--;
    r->expects = r->depth ? EXPECTS_MORE_OR_END : EXPECTS_NOTHING;
    return is_object ? JSON_READ_OBJECT_END : JSON_READ_ARRAY_END;
}

static enum json_read_event json_key(struct json_reader *r)
{
    if (r->text[r->at] != '"')
        return json_failed_at(r, r->at, "here a name in quotes should begin");
    r->expects = EXPECTS_VALUE;
    if (!json_string(r, JSON_READ_KEY))
        return JSON_READ_FAILED;
    skip_blanks(r);
    if (!is_one_of(r, r->at, ":"))
        return json_failed_at(r, r->at, "a colon is missing behind a name");
    r->at++;
    return JSON_READ_KEY;
}

/* Behind a value in a container: its end, or a comma and what follows. */
static enum json_read_event json_more(struct json_reader *r)
{
    bool is_object = json_is_in_object(r);
    if (r->text[r->at] == (is_object ? '}' : ']'))
        return json_close(r);
    if (r->text[r->at] != ',')
        return json_failed_at(
            r, r->at, is_object ? "a comma or } is missing here" : "a comma or ] is missing here");
    r->at++;
    skip_blanks(r);
    r->value_at = r->at;
    if (r->at == r->len)
        return json_failed_at(r, r->at, "the text is cut here");
    return is_object ? json_key(r) : json_value(r);
}

enum json_read_event json_read_next(struct json_reader *r)
{
    if (r->expects == EXPECTS_FAILED)
        return JSON_READ_FAILED;
    skip_blanks(r);
    r->value_at = r->at;
    if (r->expects == EXPECTS_NOTHING)
        return r->at == r->len ? JSON_READ_END
                               : json_failed_at(r, r->at, "something follows the value");
    if (r->at == r->len)
        return json_failed_at(r, r->at, "the text is cut here");
    char c = r->text[r->at];
    switch (r->expects) {
    case EXPECTS_KEY_OR_END:
        return c == '}' ? json_close(r) : json_key(r);
    case EXPECTS_ITEM_OR_END:
        return c == ']' ? json_close(r) : json_value(r);
    case EXPECTS_MORE_OR_END:
        return json_more(r);
    default:
        return json_value(r);
    }
}

bool json_read_skip(struct json_reader *r, enum json_read_event event)
{
    uint32_t depth = r->depth;
    if (event == JSON_READ_KEY)
        event = json_read_next(r);
    else if (event == JSON_READ_OBJECT || event == JSON_READ_ARRAY)
        depth--;
    while (r->depth > depth && event != JSON_READ_FAILED)
        event = json_read_next(r);
    return event != JSON_READ_FAILED;
}

static size_t put_utf8(int32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

size_t json_read_unescape(const char *value, size_t len, char *out)
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    char *to = out;
    for (size_t i = 0; i < len;) {
        if (value[i] != '\\' || len - i < 2) {
            *to++ = value[i++];
            continue;
        }
        size_t n_bytes = 2;
        const char *letter = strchr(letters, value[i + 1]);
        if (value[i + 1] == 'u')
            to += put_utf8(utf16_escape(value + i, len - i, &n_bytes), to);
        else
            *to++ = letter ? meanings[letter - letters] : value[i + 1];
        i += n_bytes;
    }
    return (size_t)(to - out);
}

bool json_read_uint(const char *value, size_t len, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        if (value[i] < '0' || value[i] > '9' || __builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(value[i] - '0'), &n))
            return false;
    *out = n;
    return len > 0;
}

bool json_read_int(const char *value, size_t len, int64_t *out)
{
    uint64_t n;
    bool is_negative = len && value[0] == '-';
    if (!json_read_uint(value + is_negative, len - is_negative, &n) ||
        n > (uint64_t)INT64_MAX + is_negative)
        return false;
    *out = is_negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

double json_read_double(const char *value, size_t len)
{
    char text[JSON_READ_MAX_NUMBER + 1];
    if (len > JSON_READ_MAX_NUMBER)
        len = JSON_READ_MAX_NUMBER;
    memcpy(text, value, len);
    text[len] = '\0';
    return strtod(text, NULL);
}
