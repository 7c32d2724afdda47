/* See printable.h. UTF-8 as in RFC 3629, so that a lead byte tells the length and the first two
 * bytes rule out surrogates, overlong forms and what is above U+10FFFF. */
#include "base/printable.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes that a character with this first byte has; 0: none begins so. */
static size_t length_of(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

static bool is_second(unsigned char first, unsigned char second)
{
    const unsigned char least = first == 0xe0   ? 0xa0
                                : first == 0xf0 ? 0x90
                                                : 0x80,
                        most = first == 0xed   ? 0x9f
                               : first == 0xf4 ? 0x8f
                                               : 0xbf;
    return second >= least && second <= most;
}

/* How many of the first n bytes belong to one character, n at most its length. */
static size_t n_fitting(const unsigned char *c, size_t n)
{
    size_t k = 1;
    while (k < n && (k == 1 ? is_second(c[0], c[1]) : (c[k] & 0xc0) == 0x80))
        k++;
    return k;
}

static bool may_be_shown(uint32_t c)
{
    const bool is_control = c < 0x20 || (c >= 0x7f && c < 0xa0),
               turns = c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                       (c >= 0x2066 && c <= 0x2069),
               breaks = c == 0x2028 || c == 0x2029;
    return !is_control && !turns && !breaks;
}

size_t printable_char(const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text;
    const size_t length = length_of(c[0]);
    if (!length || length > n || n_fitting(c, length) < length)
        return 0;
    uint32_t value = length == 1 ? c[0] : c[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (c[i] & 0x3f);
    return may_be_shown(value) ? length : 0;
}

bool printable_is_cut(const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text;
    return n && length_of(c[0]) > n && n_fitting(c, n) == n;
}

bool printable_append(struct buf *out, const char *text, size_t n, const char *as_is)
{
    for (size_t i = 0; i < n;) {
        size_t length = printable_char(text + i, n - i);
        if (!length && text[i] && strchr(as_is, text[i]))
            length = 1;
        if (length)
            buf_append(out, text + i, length);
        else
            buf_printf(out, "\\x%02x", (unsigned char)text[i]);
        i += length ? length : 1;
    }
    return !buf_failed(out);
}

static size_t printable_put(char *out, size_t size, const char *text, size_t n, bool escapes)
{
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        char escaped[8];
        const size_t length = printable_char(text + i, n - i);
        const char *piece = length ? text + i : escaped;
        size_t n_piece = length;
        if (!length && escapes)
            n_piece = (size_t)snprintf(escaped, sizeof escaped, "\\x%02x", (unsigned char)text[i]);
        if (at + n_piece >= size)
            break;
        memcpy(out + at, piece, n_piece);
        at += n_piece;
        i += length ? length : 1;
    }
    out[at] = '\0';
    return at;
}

size_t printable_copy(char *out, size_t size, const char *text, size_t n)
{
    return printable_put(out, size, text, n, true);
}

size_t printable_strip(char *out, size_t size, const char *text, size_t n)
{
    return printable_put(out, size, text, n, false);
}
