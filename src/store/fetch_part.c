/* Writing the part: where bytes go, how a full disk is said, and the progress that somebody
 * watches. */
#include "store/fetch_part.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* No file is larger. */
static const uint64_t FETCH_MAX_BYTES = (uint64_t)1 << 42;

void fetch_note(const struct fetch_sink *sink, const char *format, ...)
{
    if (!sink->note)
        return;
    char line[640];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sink->note(sink->context, line);
}

const char *fetch_part_name(const struct fetch_part *part)
{
    return part->model->is_folder ? part->file->name : part->model->name;
}

bool fetch_part_open(struct fetch_part *part, struct error *err)
{
    struct stat st;
    part->fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (part->fd < 0 || fstat(part->fd, &st))
        return error_set(err, ERROR_IO, "cannot write %s: %s", part->path, strerror(errno));
    part->n_bytes = (uint64_t)st.st_size;
    fetch_part_begin(part);
    return !part->n_total || part->n_bytes <= part->n_total || fetch_part_restart(part, err);
}

void fetch_part_close(struct fetch_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    part->fd = -1;
}

void fetch_part_begin(struct fetch_part *part)
{
    part->n_at_start = part->n_bytes;
    part->start_ms = clock_now_ms();
}

static void fetch_part_tell(const struct fetch_part *part)
{
    if (!part->sink->progress)
        return;
    int64_t ms = clock_now_ms() - part->start_ms;
    const uint64_t n_done = part->n_before + part->n_bytes,
                   n_known = part->n_before + part->n_total;
    struct fetch_progress progress = {
        .n_done = n_done,
        .n_total = part->model->n_bytes > n_known ? part->model->n_bytes
                   : n_known > n_done             ? n_known
                                                  : n_done,
        .bytes_per_second =
            ms > 0 ? (double)(part->n_bytes - part->n_at_start) * 1000.0 / (double)ms : 0,
    };
    part->sink->progress(part->sink->context, &progress);
}

static bool fetch_part_refused(struct fetch_part *part, int error, struct error *err)
{
    part->disk_failed = true;
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return error_set(
            err, ERROR_IO,
            "the disk is full (%s): %s needs %" PRIu64 " MB more; make room or set "
            "PENSIEVE_HOME to a folder on another disk, and pull again: what was "
            "fetched is kept",
            strerror(error), part->model->name,
            part->n_total > part->n_bytes ? (part->n_total - part->n_bytes) / 1000000 + 1 : 1);
    return error_set(err, ERROR_IO, "cannot write %s: %s", part->path, strerror(error));
}

bool fetch_part_write(struct fetch_part *part, uint64_t at, const void *bytes, size_t n,
                      struct error *err)
{
    const uint64_t most = part->n_total ? part->n_total : FETCH_MAX_BYTES;
    if (n > most || at > most - n)
        return error_set(err, ERROR_FORMAT, "sends more than the %" PRIu64 " bytes of %s", most,
                         fetch_part_name(part));
    const char *next = bytes;
    uint64_t have = part->n_bytes > at ? part->n_bytes - at : 0;
    size_t skip = have < n ? (size_t)have : n;
    next += skip;
    n -= skip;
    while (n) {
        ssize_t written = pwrite(part->fd, next, n, (off_t)part->n_bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fetch_part_refused(part, written ? errno : ENOSPC, err);
        part->n_bytes += (uint64_t)written;
        next += written;
        n -= (size_t)written;
    }
    fetch_part_tell(part);
    return true;
}

bool fetch_part_restart(struct fetch_part *part, struct error *err)
{
    if (ftruncate(part->fd, 0))
        return fetch_part_refused(part, errno, err);
    part->n_bytes = 0;
    fetch_part_begin(part);
    return true;
}
