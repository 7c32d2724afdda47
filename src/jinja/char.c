/* Code points inside UTF-8 text. The tables are utf8proc's; the set of white space is the one that
 * Python's str.isspace documents (bidirectional types WS, B, S, or category Zs). */
#include "jinja/char.h"

#include <utf8proc.h>

size_t jinja_char_decode(const char *text, size_t n, uint32_t *point)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        *point = first;
        return 1;
    }
    utf8proc_int32_t c;
    utf8proc_ssize_t got =
        utf8proc_iterate((const utf8proc_uint8_t *)text, n < 4 ? (utf8proc_ssize_t)n : 4, &c);
    if (got <= 0) {
        *point = 0xFFFD;
        return 1;
    }
    *point = (uint32_t)c;
    return (size_t)got;
}

size_t jinja_char_decode_last(const char *text, size_t n, uint32_t *point)
{
    size_t back = 1;
    while (back < 4 && back < n && ((unsigned char)text[n - back] & 0xC0) == 0x80)
        back++;
    if (jinja_char_decode(text + n - back, back, point) == back)
        return back;
    *point = 0xFFFD;
    return 1;
}

size_t jinja_char_encode(uint32_t point, char *out)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)point, bytes);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (char)bytes[i];
    return n > 0 ? (size_t)n : 0;
}

size_t jinja_char_count(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; count++) {
        uint32_t point;
        i += (unsigned char)text[i] < 0x80 ? 1 : jinja_char_decode(text + i, n - i, &point);
    }
    return count;
}

size_t jinja_char_offset(const char *text, size_t n, size_t index)
{
    size_t at = 0;
    for (; index > 0 && at < n; index--) {
        uint32_t point;
        at += (unsigned char)text[at] < 0x80 ? 1 : jinja_char_decode(text + at, n - at, &point);
    }
    return at;
}

bool jinja_char_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

bool jinja_char_is_printable(uint32_t c)
{
    if (c < 0x7F)
        return c >= ' ';
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

bool jinja_char_is_alpha(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool jinja_char_is_decimal(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_ND;
}

bool jinja_char_is_number(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool jinja_char_is_upper(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LU;
}

bool jinja_char_is_lower(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
}

uint32_t jinja_char_upper(uint32_t c)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
}

uint32_t jinja_char_lower(uint32_t c)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

uint32_t jinja_char_title(uint32_t c)
{
    return (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
}

size_t jinja_char_space_prefix(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint32_t point;
        size_t step = jinja_char_decode(text + at, n - at, &point);
        if (!jinja_char_is_space(point))
            break;
        at += step;
    }
    return at;
}

size_t jinja_char_space_suffix(const char *text, size_t n)
{
    size_t kept = n;
    while (kept > 0) {
        uint32_t point;
        size_t step = jinja_char_decode_last(text, kept, &point);
        if (!jinja_char_is_space(point))
            break;
        kept -= step;
    }
    return n - kept;
}
