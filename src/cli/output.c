/* See output.h. */
#include "cli/output.h"

#include "base/printable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT_BLOCK = 4096, MOST_OF_A_CHARACTER = 4 };

void output_guard_descriptors(void)
{
    /* Opened the wrong way round: reading the one and writing the others says EBADF, as ever. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

bool output_flush(struct error *err)
{
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return true;
    if (errno == EPIPE)
        return error_set(err, ERROR_CANCELLED, "nobody reads the output any more");
    return error_set(err, ERROR_IO, "cannot write the output: %s",
                     errno ? strerror(errno) : "some of it was lost");
}

static void write_printable(const char *text, size_t n, const char *as_is)
{
    struct buf shown;
    for (size_t at = 0; at < n;) {
        size_t n_block = n - at < OUTPUT_BLOCK ? n - at : OUTPUT_BLOCK;
        /* the block ends between two characters */
        for (size_t k = 1; at + n_block < n && k < MOST_OF_A_CHARACTER; k++)
            if (printable_is_cut(text + at + n_block - k, k)) {
                n_block -= k;
                break;
            }
        buf_init(&shown, OUTPUT_BLOCK * sizeof "\\xNN");
        printable_append(&shown, text + at, n_block, as_is);
        fwrite(shown.data ? shown.data : "", 1, shown.len, stdout);
        buf_deinit(&shown);
        at += n_block;
    }
}

void output_text(const char *text, size_t n)
{
    if (isatty(STDOUT_FILENO))
        write_printable(text, n, "\n\t");
    else
        fwrite(text, 1, n, stdout);
}

void output_line(const char *text, size_t n)
{
    write_printable(text, n, "");
}

/* Bytes at the end of the text that begin a character without ending it. */
static size_t n_unfinished(const char *text, size_t n)
{
    for (size_t k = 1; k < MOST_OF_A_CHARACTER && k <= n; k++)
        if (printable_is_cut(text + n - k, k))
            return k;
    return 0;
}

bool output_piece(struct output_stream *s, const char *text, size_t n, struct error *err)
{
    while (s->n_pending && n) {
        s->pending[s->n_pending++] = *text++;
        n--;
        if (s->n_pending < sizeof s->pending && printable_is_cut(s->pending, s->n_pending))
            continue;
        output_text(s->pending, s->n_pending);
        s->n_pending = 0;
    }
    const size_t rest = n_unfinished(text, n);
    output_text(text, n - rest);
    memcpy(s->pending + s->n_pending, text + n - rest, rest);
    s->n_pending += rest;
    return output_flush(err);
}

bool output_end(struct output_stream *s, struct error *err)
{
    output_text(s->pending, s->n_pending);
    s->n_pending = 0;
    return output_flush(err);
}
