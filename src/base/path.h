/* Paths by their words, from behind: "/a/b.gguf" ends with "b.gguf", and "a" before it. Looks at
 * no file. */
#ifndef PENSIEVE_BASE_PATH_H
#define PENSIEVE_BASE_PATH_H

#include <stddef.h>

/* A part of a path, not terminated; empty when there was none left. */
struct path_word {
    const char *text;
    size_t len;
};

/* Takes the last word off the first *len bytes of a path, and the slashes behind it. */
struct path_word path_last_word(const char *path, size_t *len);

#endif
