#include "support/byte_piece.h"

#include <stdbool.h>
#include <stdlib.h>

static bool stands_for_itself(unsigned b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/* The others follow from U+0100 on, in order. */
static unsigned stand_in(unsigned byte)
{
    unsigned n_before = 0;
    for (unsigned b = 0; b < byte; b++)
        n_before += !stands_for_itself(b);
    return stands_for_itself(byte) ? byte : 256 + n_before;
}

void byte_piece_text(char *out, size_t size, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned c = stand_in((unsigned char)bytes[i]);
        if (size < 3)
            abort();
        if (c >= 128)
            *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(c < 128 ? c : 0x80 | (c & 63));
        size -= c < 128 ? 1 : 2;
    }
    *out = '\0';
}
