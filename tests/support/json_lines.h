/* Programs that scripts ask: a line of JSON in, a line of JSON out. */
#ifndef PENSIEVE_TESTS_SUPPORT_JSON_LINES_H
#define PENSIEVE_TESTS_SUPPORT_JSON_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Writes a reply, which it takes, as a line. */
static inline bool json_lines_write(json_t *reply)
{
    const bool written =
        reply && json_dumpf(reply, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
    json_decref(reply);
    return written;
}

/* Answers each line of standard input, an object, until one fails; returns main's. */
static inline int json_lines_serve(bool (*answer)(const json_t *request))
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    bool ok = true;
    while (ok && (n = getline(&line, &cap, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        ok = json_is_object(request) && answer(request);
        json_decref(request);
    }
    free(line);
    return ok ? 0 : 1;
}

#endif
