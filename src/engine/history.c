#include "engine/history.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    MAX_ANSWERS = 4096,
    MAX_TOKENS = 1 << 21, /* of all of them */
    MAX_ANSWER = 1 << 17, /* of one */
    MAX_FILE_BYTES = 32 << 20, /* then it is written anew */
};

/* In the file as in memory: see docs/kv-store.md. */
struct record {
    uint64_t checksum; /* XXH3-64 of what follows, with the tokens */
    uint64_t identity[2];
    uint64_t space;
    uint64_t n; /* tokens, which follow */
};

struct answer {
    struct record record;
    int32_t *tokens;
    uint64_t used;
};

struct history {
    pthread_mutex_t lock;
    struct answer answers[MAX_ANSWERS]; /* [n_answers] */
    uint32_t n_answers;
    size_t n_tokens;
    uint64_t n_uses;
    char *path; /* or NULL */
    int fd;     /* -1: no file */
    size_t n_file_bytes;
};

static uint64_t checksum(const struct record *r, const int32_t *tokens)
{
    uint64_t of_head = XXH3_64bits(r->identity, sizeof *r - offsetof(struct record, identity));
    return XXH3_64bits_withSeed(tokens, r->n * sizeof *tokens, of_head);
}

static struct answer *find(struct history *h, uint64_t space, const uint64_t identity[2])
{
    for (uint32_t i = 0; i < h->n_answers; i++) {
        const struct record *r = &h->answers[i].record;
        if (r->identity[0] == identity[0] && r->identity[1] == identity[1] && r->space == space)
            return &h->answers[i];
    }
    return NULL;
}

static void forget(struct history *h, struct answer *a)
{
    h->n_tokens -= a->record.n;
    free(a->tokens);
    *a = h->answers[--h->n_answers];
}

static void forget_oldest(struct history *h)
{
    struct answer *oldest = h->answers;
    for (uint32_t i = 1; i < h->n_answers; i++)
        if (h->answers[i].used < oldest->used)
            oldest = &h->answers[i];
    forget(h, oldest);
}

/* Takes the tokens over. */
static struct answer *put(struct history *h, const struct record *r, int32_t *tokens)
{
    struct answer *old = find(h, r->space, r->identity);
    if (old)
        forget(h, old);
    while (h->n_answers == MAX_ANSWERS || (h->n_answers && h->n_tokens + r->n > MAX_TOKENS))
        forget_oldest(h);
    struct answer *a = &h->answers[h->n_answers++];
    *a = (struct answer){*r, tokens, ++h->n_uses};
    h->n_tokens += r->n;
    return a;
}

/* ---- the file ---- */

static bool write_answer(int fd, const struct answer *a, size_t *n_bytes)
{
    const size_t n = a->record.n * sizeof *a->tokens;
    *n_bytes += sizeof a->record + n;
    return write(fd, &a->record, sizeof a->record) == (ssize_t)sizeof a->record &&
           write(fd, a->tokens, n) == (ssize_t)n;
}

/* What is known, into a new file in the place of the old one. */
static void write_anew(struct history *h)
{
    char path[4200];
    int n = snprintf(path, sizeof path, "%s.new", h->path);
    int fd = n < (int)sizeof path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    size_t n_bytes = 0;
    bool ok = fd >= 0;
    for (uint32_t i = 0; ok && i < h->n_answers; i++)
        ok = write_answer(fd, &h->answers[i], &n_bytes);
    if (ok && !rename(path, h->path)) {
        close(h->fd);
        h->fd = fd;
        h->n_file_bytes = n_bytes;
        return;
    }
    log_info("%s cannot be written: %s", h->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    close(h->fd);
    h->fd = -1;
}

/* The next record; false at the end, or where it is not whole. */
static bool read_answer(struct history *h)
{
    struct record r;
    if (read(h->fd, &r, sizeof r) != (ssize_t)sizeof r || !r.n || r.n > MAX_ANSWER)
        return false;
    int32_t *tokens = malloc(r.n * sizeof *tokens);
    const size_t n = r.n * sizeof *tokens;
    if (!tokens || read(h->fd, tokens, n) != (ssize_t)n || checksum(&r, tokens) != r.checksum) {
        free(tokens);
        return false;
    }
    put(h, &r, tokens);
    h->n_file_bytes += sizeof r + n;
    return true;
}

static void open_file(struct history *h, const char *path)
{
    h->path = strdup(path);
    h->fd = h->path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (h->fd < 0)
        return;
    while (read_answer(h))
        ;
    /* what is behind is torn */
    if (ftruncate(h->fd, (off_t)h->n_file_bytes) ||
        lseek(h->fd, (off_t)h->n_file_bytes, SEEK_SET) < 0) {
        close(h->fd);
        h->fd = -1;
    }
}

/* ---- from outside ---- */

struct history *history_create(const char *path)
{
    struct history *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    h->fd = -1;
    if (path)
        open_file(h, path);
    return h;
}

void history_destroy(struct history *h)
{
    if (!h)
        return;
    for (uint32_t i = 0; i < h->n_answers; i++)
        free(h->answers[i].tokens);
    if (h->fd >= 0)
        close(h->fd);
    pthread_mutex_destroy(&h->lock);
    free(h->path);
    free(h);
}

void history_remember(struct history *h, uint64_t space, const uint64_t identity[2],
                      const int32_t *tokens, size_t n)
{
    if (!n || n > MAX_ANSWER)
        return;
    int32_t *copy = malloc(n * sizeof *copy);
    if (!copy)
        return;
    memcpy(copy, tokens, n * sizeof *copy);
    struct record r = {.identity = {identity[0], identity[1]}, .space = space, .n = n};
    r.checksum = checksum(&r, copy);
    pthread_mutex_lock(&h->lock);
    const struct answer *a = put(h, &r, copy);
    if (h->fd >= 0 && (!write_answer(h->fd, a, &h->n_file_bytes) ||
                       h->n_file_bytes > MAX_FILE_BYTES))
        write_anew(h);
    pthread_mutex_unlock(&h->lock);
}

int32_t *history_recall(struct history *h, uint64_t space, const uint64_t identity[2], size_t *n)
{
    int32_t *copy = NULL;
    pthread_mutex_lock(&h->lock);
    struct answer *a = find(h, space, identity);
    if (a)
        copy = malloc(a->record.n * sizeof *copy);
    if (copy) {
        a->used = ++h->n_uses;
        *n = a->record.n;
        memcpy(copy, a->tokens, *n * sizeof *copy);
    }
    pthread_mutex_unlock(&h->lock);
    return copy;
}
