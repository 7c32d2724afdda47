#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_fill(struct error *err, enum error_code code, int64_t position,
                       const char *format, va_list args)
{
    if (!err)
        return;
    err->code = code;
    err->position = position;
    vsnprintf(err->message, sizeof err->message, format, args);
}

bool error_set(struct error *err, enum error_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_fill(err, code, -1, format, args);
    va_end(args);
    return false;
}

bool error_at(struct error *err, enum error_code code, int64_t position, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_fill(err, code, position, format, args);
    va_end(args);
    return false;
}

bool error_prefix(struct error *err, const char *format, ...)
{
    if (!err)
        return false;
    char rest[sizeof err->message];
    memcpy(rest, err->message, sizeof rest);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n + 2 < sizeof err->message) {
        size_t room = sizeof err->message - (size_t)n;
        char *at = err->message + n;
        *at++ = ':';
        *at++ = ' ';
        size_t n_rest = strnlen(rest, room - 3);
        memcpy(at, rest, n_rest);
        at[n_rest] = '\0';
    }
    return false;
}

const char *error_code_name(enum error_code code)
{
    static const char *const names[] = {
#define X(name, text) text,
        ERROR_CODES(X)
#undef X
    };
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
