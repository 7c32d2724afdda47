/* See path.h. */
#include "base/path.h"

struct path_word path_last_word(const char *path, size_t *len)
{
    size_t end = *len;
    while (end && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/')
        begin--;
    *len = begin;
    return (struct path_word){path + begin, end - begin};
}
