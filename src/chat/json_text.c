#include "chat/json_text.h"

#include <stdint.h>

/* Length of the well-formed sequence at bytes[0..n), 0 if it is wrong, -1 if it is right so far but
 * cut (Unicode 15, table 3-7). */
static int sequence_length(const uint8_t *bytes, size_t n)
{
    uint8_t c = bytes[0], least = 0x80, most = 0xbf;
    int length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (c == 0xe0)
        least = 0xa0;
    else if (c == 0xed)
        most = 0x9f;
    else if (c == 0xf0)
        least = 0x90;
    else if (c == 0xf4)
        most = 0x8f;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= n)
            return -1;
        if (bytes[i] < least || bytes[i] > most)
            return 0;
        least = 0x80;
        most = 0xbf;
    }
    return length;
}

static void escape_ascii(struct buf *out, char c)
{
    switch (c) {
    case '"':
        buf_append(out, "\\\"", 2);
        break;
    case '\\':
        buf_append(out, "\\\\", 2);
        break;
    case '\n':
        buf_append(out, "\\n", 2);
        break;
    case '\r':
        buf_append(out, "\\r", 2);
        break;
    case '\t':
        buf_append(out, "\\t", 2);
        break;
    default:
        if ((unsigned char)c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", (unsigned)c);
        else
            buf_putc(out, c);
    }
}

void json_text_escape(struct buf *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        int length = sequence_length((const uint8_t *)bytes + i, n - i);
        if (length == 1)
            escape_ascii(out, bytes[i]);
        else if (length > 1)
            buf_append(out, bytes + i, (size_t)length);
        else
            buf_append(out, "\xef\xbf\xbd", 3);
        i += length > 1 ? (size_t)length : 1;
    }
}

void json_text_mend(struct buf *out, const char *bytes, size_t n)
{
    for (size_t i = 0, step; i < n; i += step) {
        int length = sequence_length((const uint8_t *)bytes + i, n - i);
        step = length > 0 ? (size_t)length : 1;
        if (length > 0)
            buf_append(out, bytes + i, step);
        else
            buf_append(out, "\xef\xbf\xbd", 3);
    }
}

void json_text_string(struct buf *out, const char *bytes, size_t n)
{
    buf_putc(out, '"');
    json_text_escape(out, bytes, n);
    buf_putc(out, '"');
}

bool json_text_is_whole(const char *bytes, size_t n)
{
    int length = 1;
    for (size_t i = 0; i < n && length > 0; i += (size_t)length)
        length = sequence_length((const uint8_t *)bytes + i, n - i);
    return length > 0;
}

size_t json_text_unfinished(const char *bytes, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        uint8_t c = (uint8_t)bytes[n - k];
        if (c >= 0x80 && c < 0xc0)
            continue; /* in the middle of one */
        return sequence_length((const uint8_t *)bytes + n - k, k) < 0 ? k : 0;
    }
    return 0;
}
