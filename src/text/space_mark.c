#include "text/space_mark.h"

#include <string.h>

size_t space_mark_next(const char *text, size_t n_bytes)
{
    size_t n = 0;
    while (n_bytes - n >= SPACE_MARK_BYTES && !memcmp(text + n, SPACE_MARK, SPACE_MARK_BYTES))
        n += SPACE_MARK_BYTES;
    const char *mark =
        n < n_bytes ? memmem(text + n, n_bytes - n, SPACE_MARK, SPACE_MARK_BYTES) : NULL;
    return mark ? (size_t)(mark - text) : n_bytes;
}

bool space_mark_is_inside(const char *text, size_t n_bytes)
{
    return space_mark_next(text, n_bytes) < n_bytes;
}
