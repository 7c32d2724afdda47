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

/* Tokens of an answer: the table's, and the writer's while it writes them. */
struct shared {
    uint32_t n_holders;
    int32_t tokens[];
};

struct answer {
    struct record record; /* without its checksum */
    struct shared *shared;
    uint64_t used;
    bool is_written;
};

/* The table is the queue of what is to be written, too: so that is bounded. */
struct history {
    pthread_mutex_t lock;
    pthread_cond_t changed;             /* for the writer */
    struct answer answers[MAX_ANSWERS]; /* [n_answers] */
    uint32_t n_answers;
    size_t n_tokens;
    uint64_t n_uses;
    bool is_closing;

    /* the writer's alone, once it runs */
    char *path; /* or NULL */
    int fd;     /* -1: no file */
    size_t n_file_bytes;
    pthread_t writer;
    bool has_writer;
};

static uint64_t checksum(const struct record *r, const int32_t *tokens)
{
    uint64_t of_head = XXH3_64bits(r->identity, sizeof *r - offsetof(struct record, identity));
    return XXH3_64bits_withSeed(tokens, r->n * sizeof *tokens, of_head);
}

static struct answer *answer_find(struct history *h, uint64_t space, const uint64_t identity[2])
{
    for (uint32_t i = 0; i < h->n_answers; i++) {
        const struct record *r = &h->answers[i].record;
        if (r->identity[0] == identity[0] && r->identity[1] == identity[1] && r->space == space)
            return &h->answers[i];
    }
    return NULL;
}

/* Under the lock. */
static void shared_let_go(struct shared *shared)
{
    if (!--shared->n_holders)
        free(shared);
}

static void answer_forget(struct history *h, struct answer *a)
{
    h->n_tokens -= a->record.n;
    shared_let_go(a->shared);
    *a = h->answers[--h->n_answers];
}

/* The least recently used; of those alone that are not written yet, if so wanted. */
static struct answer *answer_oldest(struct history *h, bool unwritten)
{
    struct answer *least = NULL;
    for (struct answer *a = h->answers; a < h->answers + h->n_answers; a++)
        if ((!least || a->used < least->used) && !(unwritten && a->is_written))
            least = a;
    return least;
}

static struct shared *shared_create(size_t n)
{
    struct shared *shared = malloc(sizeof *shared + n * sizeof *shared->tokens);
    if (shared)
        shared->n_holders = 1;
    return shared;
}

/* Takes the tokens over. */
static void answer_put(struct history *h, const struct record *r, struct shared *shared,
                       bool is_written)
{
    struct answer *old = answer_find(h, r->space, r->identity);
    if (old)
        answer_forget(h, old);
    while (h->n_answers == MAX_ANSWERS || (h->n_answers && h->n_tokens + r->n > MAX_TOKENS))
        answer_forget(h, answer_oldest(h, false));
    h->answers[h->n_answers++] = (struct answer){*r, shared, ++h->n_uses, is_written};
    h->n_tokens += r->n;
}

/* ---- writing ---- */

static bool write_all(int fd, const void *data, size_t n)
{
    for (const char *at = data; n;) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static bool write_answer(int fd, const struct answer *a, size_t *n_bytes)
{
    struct record r = a->record;
    const size_t n = r.n * sizeof *a->shared->tokens;
    r.checksum = checksum(&r, a->shared->tokens);
    *n_bytes += sizeof r + n;
    return write_all(fd, &r, sizeof r) && write_all(fd, a->shared->tokens, n);
}

/* Takes an answer to write it: the table may forget it meanwhile. Under the lock. */
static struct answer answer_take(struct answer *a)
{
    a->is_written = true;
    a->shared->n_holders++;
    return *a;
}

/* All that is known. NULL: out of memory. */
static struct answer *take_all(struct history *h, uint32_t *n)
{
    struct answer *all = malloc(sizeof h->answers);
    pthread_mutex_lock(&h->lock);
    *n = all ? h->n_answers : 0;
    for (uint32_t i = 0; i < *n; i++)
        all[i] = answer_take(&h->answers[i]);
    pthread_mutex_unlock(&h->lock);
    return all;
}

static void give_back(struct history *h, struct answer *answers, uint32_t n)
{
    pthread_mutex_lock(&h->lock);
    for (uint32_t i = 0; i < n; i++)
        shared_let_go(answers[i].shared);
    pthread_mutex_unlock(&h->lock);
}

static int by_use(const void *a, const void *b)
{
    const struct answer *x = a, *y = b;
    return (x->used > y->used) - (x->used < y->used);
}

/* What is known, the oldest first, into a new file. */
static int write_new_file(struct history *h, const char *path, size_t *n_bytes)
{
    uint32_t n;
    struct answer *all = take_all(h, &n);
    int fd = all ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    bool ok = fd >= 0;
    if (!all)
        errno = ENOMEM;
    else
        qsort(all, n, sizeof *all, by_use);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = write_answer(fd, &all[i], n_bytes);
    give_back(h, all, n);
    free(all);
    if (ok || fd < 0)
        return fd;
    close(fd);
    return -1;
}

/* A new file in the place of the old one; without it nothing is written any more. */
static void write_anew(struct history *h)
{
    char path[4200];
    int n = snprintf(path, sizeof path, "%s.new", h->path);
    size_t n_bytes = 0;
    int fd = n < (int)sizeof path ? write_new_file(h, path, &n_bytes) : -1;
    close(h->fd);
    h->fd = fd;
    h->n_file_bytes = n_bytes;
    if (fd >= 0 && !rename(path, h->path))
        return;
    log_info("%s cannot be written: %s", h->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    h->fd = -1;
}

static void *writer_thread(void *arg)
{
    struct history *h = arg;
    while (h->fd >= 0) {
        struct answer *next;
        pthread_mutex_lock(&h->lock);
        while (!(next = answer_oldest(h, true)) && !h->is_closing)
            pthread_cond_wait(&h->changed, &h->lock);
        struct answer a = next ? answer_take(next) : (struct answer){0};
        pthread_mutex_unlock(&h->lock);
        if (!next)
            break;
        bool ok = write_answer(h->fd, &a, &h->n_file_bytes);
        give_back(h, &a, 1);
        if (!ok || h->n_file_bytes > MAX_FILE_BYTES)
            write_anew(h);
    }
    return NULL;
}

/* ---- reading ---- */

/* The next record; false at the end, or where it is not whole. */
static bool read_answer(struct history *h)
{
    struct record r;
    if (read(h->fd, &r, sizeof r) != (ssize_t)sizeof r || !r.n || r.n > MAX_ANSWER)
        return false;
    struct shared *shared = shared_create(r.n);
    const size_t n = r.n * sizeof *shared->tokens;
    if (!shared || read(h->fd, shared->tokens, n) != (ssize_t)n ||
        checksum(&r, shared->tokens) != r.checksum) {
        free(shared);
        return false;
    }
    answer_put(h, &r, shared, true);
    h->n_file_bytes += sizeof r + n;
    return true;
}

static void open_file(struct history *h)
{
    h->fd = open(h->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (h->fd < 0) {
        log_info("%s cannot be opened: %s", h->path, strerror(errno));
        return;
    }
    while (read_answer(h))
        ;
    /* what is behind is torn */
    if (ftruncate(h->fd, (off_t)h->n_file_bytes) ||
        lseek(h->fd, (off_t)h->n_file_bytes, SEEK_SET) < 0) {
        log_info("%s cannot be written: %s", h->path, strerror(errno));
        close(h->fd);
        h->fd = -1;
    }
}

/* ---- from outside ---- */

static bool open_history(struct history *h, const char *path, struct error *err)
{
    h->path = strdup(path);
    if (!h->path)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the history");
    open_file(h);
    if (h->fd < 0)
        return true; /* it works without */
    h->has_writer = !pthread_create(&h->writer, NULL, writer_thread, h);
    return h->has_writer ||
           error_set(err, ERROR_NO_MEMORY, "cannot start the thread that writes the history");
}

struct history *history_create(const char *path, struct error *err)
{
    struct history *h = calloc(1, sizeof *h);
    if (!h) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the history");
        return NULL;
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->fd = -1;
    if (!path || open_history(h, path, err))
        return h;
    history_destroy(h);
    return NULL;
}

void history_destroy(struct history *h)
{
    if (!h)
        return;
    if (h->has_writer) {
        pthread_mutex_lock(&h->lock);
        h->is_closing = true;
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->writer, NULL);
    }
    for (uint32_t i = 0; i < h->n_answers; i++)
        free(h->answers[i].shared);
    if (h->fd >= 0)
        close(h->fd);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
    free(h->path);
    free(h);
}

void history_remember(struct history *h, uint64_t space, const uint64_t identity[2],
                      const int32_t *tokens, size_t n)
{
    struct shared *shared = n && n <= MAX_ANSWER ? shared_create(n) : NULL;
    if (!shared)
        return;
    memcpy(shared->tokens, tokens, n * sizeof *tokens);
    const struct record r = {.identity = {identity[0], identity[1]}, .space = space, .n = n};
    pthread_mutex_lock(&h->lock);
    answer_put(h, &r, shared, false);
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

int32_t *history_recall(struct history *h, uint64_t space, const uint64_t identity[2], size_t *n)
{
    int32_t *copy = NULL;
    pthread_mutex_lock(&h->lock);
    struct answer *a = answer_find(h, space, identity);
    if (a)
        copy = malloc(a->record.n * sizeof *copy);
    if (copy) {
        a->used = ++h->n_uses;
        *n = a->record.n;
        memcpy(copy, a->shared->tokens, *n * sizeof *copy);
    }
    pthread_mutex_unlock(&h->lock);
    return copy;
}
