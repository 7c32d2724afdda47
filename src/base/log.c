#include "base/log.h"

#include "base/printable.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Atomic enum log_level log_threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&log_threshold, level);
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (level > atomic_load(&log_threshold))
        return;
    char text[1024], line[2048];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    size_t n = strftime(line, sizeof line, "%H:%M:%S", &parts);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ld %-5s ", now.tv_nsec / 1000000,
                          names[level]);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printable_copy(line + n, sizeof line - n, text, strlen(text)); /* names of files, of models */
    fprintf(stderr, "%s\n", line); /* one call, so that lines of several threads stay whole */
}
