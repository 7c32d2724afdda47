/* UTF-8 validity and GPT-2's byte alphabet, by arithmetic alone: no tables, no state. */
#include "text/unicode.h"

#include "base/utf8.h"

#include <string.h>

size_t unicode_valid_bytes(const char *text, size_t n_bytes)
{
    size_t i = 0;
    while (i < n_bytes) {
        uint64_t word;
        if (n_bytes - i >= sizeof word) { /* eight ASCII characters at a time */
            memcpy(&word, text + i, sizeof word);
            if (!(word & 0x8080808080808080)) {
                i += sizeof word;
                continue;
            }
        }
        size_t n = utf8_char_bytes(text + i, n_bytes - i);
        if (!n)
            break;
        i += n;
    }
    return i;
}

size_t unicode_invalid_bytes(const char *text, size_t n_bytes)
{
    size_t i = 0;
    while (i < n_bytes && !utf8_char_bytes(text + i, n_bytes - i))
        i++;
    return i;
}

size_t unicode_decode(const char *text, uint32_t *c)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *c = s[0];
        return 1;
    }
    size_t n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    *c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (s[i] & 0x3fu);
    return n;
}

size_t unicode_encode(uint32_t c, char out[4])
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[n] | c);
    return n;
}

bool unicode_is_space(uint32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* The bytes without a printable form of their own, in order: 0…32, 127…160, 173. */
enum { N_LOW = 33, N_MIDDLE = 34, FIRST_STAND_IN = 256 };

size_t unicode_from_byte(uint8_t byte, char out[2])
{
    unsigned shown = byte;
    if (byte < N_LOW)
        shown = FIRST_STAND_IN + byte;
    else if (byte >= 127 && byte <= 160)
        shown = FIRST_STAND_IN + N_LOW + (byte - 127u);
    else if (byte == 173)
        shown = FIRST_STAND_IN + N_LOW + N_MIDDLE;
    if (shown < 0x80) {
        out[0] = (char)shown;
        return 1;
    }
    out[0] = (char)(0xc0 | shown >> 6);
    out[1] = (char)(0x80 | (shown & 0x3f));
    return 2;
}

int unicode_to_byte(const char *text, size_t n_bytes, size_t *n_char)
{
    *n_char = utf8_char_bytes(text, n_bytes);
    if (!*n_char)
        *n_char = 1;
    unsigned first = (unsigned char)text[0], shown = first;
    if (*n_char == 2)
        shown = (first & 0x1f) << 6 | ((unsigned char)text[1] & 0x3f);
    else if (*n_char > 2 || first >= 0x80)
        return -1;
    if (shown >= FIRST_STAND_IN + N_LOW + N_MIDDLE + 1)
        return -1;
    if (shown == FIRST_STAND_IN + N_LOW + N_MIDDLE)
        return 173;
    if (shown >= FIRST_STAND_IN + N_LOW)
        return (int)(127 + shown - FIRST_STAND_IN - N_LOW);
    if (shown >= FIRST_STAND_IN)
        return (int)(shown - FIRST_STAND_IN);
    bool itself = (shown >= 33 && shown < 127) || (shown > 160 && shown != 173);
    return itself ? (int)shown : -1;
}
