/* See file_reply.h. */
#include "server/file_reply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    int fd;
    const char *content_type;
    int64_t n_bytes, n_read;
};

static bool file_head(void *reply, struct reply_head *out)
{
    const struct file *f = reply;
    out->n_bytes = f->n_bytes;
    reply_header(out, "Content-Type", f->content_type);
    return true;
}

/* A file that became shorter is a failure: its length was promised. */
static ptrdiff_t file_read(void *reply, char *dst, size_t max)
{
    struct file *f = reply;
    const int64_t left = f->n_bytes - f->n_read;
    if (!left)
        return REPLY_END;
    ssize_t n;
    do
        n = read(f->fd, dst, (int64_t)max < left ? max : (size_t)left);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return REPLY_FAILED;
    f->n_read += n;
    return n;
}

static void file_end(void *reply)
{
    struct file *f = reply;
    close(f->fd);
    free(f);
}

static bool file_open(struct file *f, const char *path, struct error *err)
{
    struct stat info;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 && errno != ENOENT && errno != ENOTDIR)
        return error_set(err, ERROR_IO, "cannot open the file: %s", strerror(errno));
    if (f->fd < 0 || fstat(f->fd, &info) || !S_ISREG(info.st_mode)) {
        if (f->fd >= 0)
            close(f->fd);
        return error_set(err, ERROR_NOT_FOUND, "there is no such file");
    }
    f->n_bytes = info.st_size;
    return true;
}

bool file_reply(struct reply *out, const char *path, const char *content_type, struct error *err)
{
    static const struct reply_ops ops = {.head = file_head, .read = file_read, .end = file_end};
    struct file *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the answer");
    f->content_type = content_type;
    if (!file_open(f, path, err)) {
        free(f);
        return false;
    }
    *out = (struct reply){&ops, f};
    return true;
}
