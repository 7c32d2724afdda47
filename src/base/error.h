/* Errors as values. A function that can fail returns false (or NULL) and fills a `struct error`;
 * only the outermost layer prints or turns it into an HTTP status. Knows nothing of who reports it.
 */
#ifndef PENSIEVE_BASE_ERROR_H
#define PENSIEVE_BASE_ERROR_H

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, "name"): the kinds of failure, by what the reader can do about them. */
#define ERROR_CODES(X)                                                                             \
    X(NONE, "none")                                                                                \
    X(USAGE, "usage")             /* the command line is wrong */                                  \
    X(INPUT, "input")             /* a request, schema or text is wrong */                         \
    X(FORMAT, "format")           /* a file's content is wrong; `position` says where */           \
    X(UNSUPPORTED, "unsupported") /* right, but not something this build can do */                 \
    X(NOT_FOUND, "not found")                                                                      \
    X(TOO_LARGE, "too large")                                                                      \
    X(NO_MEMORY, "out of memory")                                                                  \
    X(IO, "i/o") /* the system refused: errno's text is in the message */                          \
    X(NETWORK, "network")                                                                          \
    X(BUSY, "busy")                                                                                \
    X(CANCELLED, "cancelled")                                                                      \
    X(INTERNAL, "internal")

enum error_code {
#define X(name, text) ERROR_##name,
    ERROR_CODES(X)
#undef X
};

struct error {
    enum error_code code;
    int64_t position;  /* byte offset the message speaks of, or -1 */
    char message[320]; /* one sentence without a full stop; always terminated */
};

/* Fills `err` (may be NULL) and returns false, so that `return error_set(err, …);` reads well. */
bool error_set(struct error *err, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the byte offset of what is wrong. */
bool error_at(struct error *err, enum error_code code, int64_t position, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<prefix>: " before the message that `err` already holds. Returns false. */
bool error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *error_code_name(enum error_code code);

#endif
