#include "engine/disk_tier.h"

#include "base/folder.h"
#include "base/log.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    P = BACKEND_PAGE_TOKENS,
    VERSION = 1,
    BLOCK_BYTES = 4096,
    SEGMENT_BYTES = 64 << 20, /* about */
    MAX_SLOTS = 1024,         /* of a segment */
    MAX_SEGMENTS = 1 << 16,
    QUEUE = 256, /* slots being written or cleared, or written and not asked for */
    IDENTITY_DIGITS = 32,
};

static const uint64_t default_max_bytes = 8ull << 30;
static const char magic[8] = "PNSVKV\r\n";

/* ---- the format: see docs/kv-store.md ---- */

struct header {
    char magic[8];
    uint32_t version, n_slots;
    uint64_t page_bytes, slot_bytes, first_slot; /* offset of slot 0 */
    uint64_t identity[2];                        /* XXH3-128 of the identity's text */
    uint64_t checksum;                           /* XXH3-64 of what stands before */
};

struct entry {
    uint64_t checksum; /* XXH3-64 of what follows */
    uint64_t payload;  /* XXH3-64 of the page */
    int64_t used;
    uint64_t reserved;
    struct disk_label label;
};

_Static_assert(sizeof(struct header) == 64, "no padding");
_Static_assert(sizeof(struct entry) == P * sizeof(int32_t) + 64, "no padding but the label's own");

static uint64_t header_checksum(const struct header *h)
{
    return XXH3_64bits(h, offsetof(struct header, checksum));
}

static uint64_t entry_checksum(const struct entry *e)
{
    return XXH3_64bits(&e->payload, sizeof *e - offsetof(struct entry, payload));
}

uint64_t disk_root_key(uint64_t space)
{
    return XXH3_64bits_withSeed(&space, sizeof space, (uint64_t)VERSION);
}

uint64_t disk_key(uint64_t parent, const int32_t *tokens)
{
    return XXH3_64bits_withSeed(tokens, P * sizeof *tokens, parent);
}

/* ---- the state ---- */

struct segment {
    int fd; /* -1: no file yet; the writer makes it */
    uint32_t number;
};

struct slot {
    uint64_t payload;
    bool is_taken;
};

struct job {
    struct disk_done done;
    struct entry entry;
    const void *(*bytes)(void *owner); /* NULL: the slot was freed, and its entry goes */
};

struct disk_tier {
    char folder[PATH_MAX]; /* of this identity */
    int lock_fd;
    struct header header; /* that of every segment */
    struct segment *segments; /* [n_segments], room for max_segments; the writer opens them */
    uint32_t n_segments, max_segments, next_number;
    struct slot *slots; /* [n_segments * header.n_slots] */
    uint32_t first_free; /* none before it is free */
    struct disk_found *found;
    size_t n_found;
    void (*done)(void *context);
    void *context;

    /* shared with the writer, under the lock */
    pthread_t writer;
    bool has_writer;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *jobs; /* [QUEUE] a ring: [n_given, n_done) handed out, [n_done, n_asked) waiting */
    uint64_t n_given, n_done, n_asked;
    bool closing;
};

static uint32_t n_slots(const struct disk_tier *d)
{
    return d->n_segments * d->header.n_slots;
}

static uint64_t segment_bytes(const struct header *h)
{
    return h->first_slot + h->n_slots * h->slot_bytes;
}

static struct segment *segment_of(const struct disk_tier *d, uint32_t slot)
{
    return &d->segments[slot / d->header.n_slots];
}

static off_t entry_offset(const struct disk_tier *d, uint32_t slot)
{
    return (off_t)(BLOCK_BYTES + slot % d->header.n_slots * sizeof(struct entry));
}

static off_t page_offset(const struct disk_tier *d, uint32_t slot)
{
    return (off_t)(d->header.first_slot + slot % d->header.n_slots * d->header.slot_bytes);
}

/* ---- bytes ---- */

static bool write_all(int fd, const void *data, size_t n, off_t at)
{
    for (const char *p = data; n;) {
        ssize_t done = pwrite(fd, p, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* How many of n bytes there are. */
static size_t read_up_to(int fd, void *data, size_t n, off_t at)
{
    size_t sum = 0;
    while (sum < n) {
        ssize_t done = pread(fd, (char *)data + sum, n - sum, at + (off_t)sum);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break;
        sum += (size_t)done;
    }
    return sum;
}

/* ---- the writer ---- */

static void segment_path(const struct disk_tier *d, uint32_t number, char *path, size_t size)
{
    int n = snprintf(path, size, "%s/%08" PRIx32 ".kv", d->folder, number);
    if (n < 0 || (size_t)n >= size)
        path[0] = 0; /* no file has that name */
}

/* A new file, as long as it will be but without content, if there is none yet. */
static bool segment_open(const struct disk_tier *d, struct segment *segment)
{
    char path[PATH_MAX + 16], block[BLOCK_BYTES] = {0};
    if (segment->fd >= 0)
        return true;
    segment_path(d, segment->number, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    memcpy(block, &d->header, sizeof d->header);
    if (ftruncate(fd, (off_t)segment_bytes(&d->header)) ||
        !write_all(fd, block, sizeof block, 0)) {
        close(fd);
        unlink(path);
        return false;
    }
    segment->fd = fd;
    return true;
}

/* The page before its entry, and the old entry away before the page: at no moment does an entry
 * stand for a page that is not there. */
static bool write_page(struct disk_tier *d, const struct job *job, const void *page)
{
    static const struct entry nothing;
    const uint32_t slot = job->done.slot;
    struct segment *segment = segment_of(d, slot);
    return segment_open(d, segment) &&
           write_all(segment->fd, &nothing, sizeof nothing, entry_offset(d, slot)) &&
           write_all(segment->fd, page, d->header.page_bytes, page_offset(d, slot)) &&
           write_all(segment->fd, &job->entry, sizeof job->entry, entry_offset(d, slot));
}

static bool clear_slot(const struct disk_tier *d, uint32_t slot)
{
    static const struct entry nothing;
    const int fd = segment_of(d, slot)->fd;
    return fd < 0 || write_all(fd, &nothing, sizeof nothing, entry_offset(d, slot));
}

/* False, and *is_disk, when it is the disk that failed. */
static bool write_slot(struct disk_tier *d, struct job *job, bool *is_disk)
{
    *is_disk = true;
    if (!job->bytes)
        return clear_slot(d, job->done.slot);
    const void *page = job->bytes(job->done.owner);
    *is_disk = page;
    if (!page)
        return false;
    job->entry.payload = XXH3_64bits(page, d->header.page_bytes);
    job->entry.checksum = entry_checksum(&job->entry);
    return write_page(d, job, page);
}

static void *writer_thread(void *arg)
{
    struct disk_tier *d = arg;
    bool has_complained = false;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (d->n_done == d->n_asked && !d->closing)
            pthread_cond_wait(&d->work, &d->lock);
        if (d->n_done == d->n_asked)
            break;
        struct job *job = &d->jobs[d->n_done % QUEUE];
        pthread_mutex_unlock(&d->lock);
        const bool is_page = job->bytes;
        bool is_disk;
        job->done.ok = write_slot(d, job, &is_disk);
        if (!job->done.ok && is_disk && !has_complained) {
            log_info("the KV store %s cannot be written: %s", d->folder, strerror(errno));
            has_complained = true;
        }
        pthread_mutex_lock(&d->lock);
        d->n_done++;
        pthread_mutex_unlock(&d->lock);
        if (is_page && d->done)
            d->done(d->context);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* Under the lock: the next job that is done and of which somebody wants to hear, or NULL. */
static struct job *next_done(struct disk_tier *d)
{
    for (; d->n_given < d->n_done; d->n_given++)
        if (d->jobs[d->n_given % QUEUE].bytes)
            return &d->jobs[d->n_given % QUEUE];
    return NULL;
}

static bool ask(struct disk_tier *d, const struct job *job)
{
    pthread_mutex_lock(&d->lock);
    next_done(d);
    const bool has_room = d->n_asked - d->n_given < QUEUE;
    if (has_room) {
        d->jobs[d->n_asked++ % QUEUE] = *job;
        pthread_cond_signal(&d->work);
    }
    pthread_mutex_unlock(&d->lock);
    return has_room;
}

bool disk_tier_write(struct disk_tier *d, uint32_t slot, const struct disk_label *label,
                     const void *(*bytes)(void *owner), void *owner)
{
    const struct job job = {
        .done = {owner, slot, false},
        .entry = {.used = time(NULL), .label = *label},
        .bytes = bytes,
    };
    return ask(d, &job);
}

bool disk_tier_done(struct disk_tier *d, struct disk_done *out)
{
    pthread_mutex_lock(&d->lock);
    const struct job *job = next_done(d);
    if (job) {
        *out = job->done;
        d->slots[out->slot].payload = job->entry.payload;
        d->n_given++;
    }
    pthread_mutex_unlock(&d->lock);
    return job;
}

bool disk_tier_read(struct disk_tier *d, uint32_t slot, void *page)
{
    const size_t n = d->header.page_bytes;
    return read_up_to(segment_of(d, slot)->fd, page, n, page_offset(d, slot)) == n &&
           XXH3_64bits(page, n) == d->slots[slot].payload;
}

/* ---- slots ---- */

uint32_t disk_tier_take(struct disk_tier *d)
{
    while (d->first_free < n_slots(d) && d->slots[d->first_free].is_taken)
        d->first_free++;
    if (d->first_free == n_slots(d)) {
        if (d->n_segments == d->max_segments)
            return DISK_NO_SLOT;
        d->segments[d->n_segments++] = (struct segment){-1, d->next_number++};
    }
    d->slots[d->first_free].is_taken = true;
    return d->first_free;
}

void disk_tier_free(struct disk_tier *d, uint32_t slot)
{
    assert(d->slots[slot].is_taken);
    if (!ask(d, &(struct job){.done = {NULL, slot, false}}))
        log_debug("the KV store: slot %u was not cleared", slot);
    d->slots[slot].is_taken = false;
    if (slot < d->first_free)
        d->first_free = slot;
}

const char *disk_tier_folder(const struct disk_tier *d)
{
    return d->folder;
}

uint64_t disk_tier_bytes(const struct disk_tier *d)
{
    return d->n_segments * segment_bytes(&d->header);
}

/* ---- opening ---- */

static bool is_identity(const char *name)
{
    return strlen(name) == IDENTITY_DIGITS && strspn(name, "0123456789abcdef") == IDENTITY_DIGITS;
}

/* A folder's segment files: what they take on the disk; or away with them. */
static uint64_t count_files(int folder, bool removes)
{
    uint64_t sum = 0;
    DIR *dir = folder < 0 ? NULL : fdopendir(folder);
    for (const struct dirent *item; dir && (item = readdir(dir));) {
        struct stat st;
        const char *dot = strrchr(item->d_name, '.');
        if (!dot || strcmp(dot, ".kv") || fstatat(dirfd(dir), item->d_name, &st, 0))
            continue;
        sum += (uint64_t)st.st_blocks * 512;
        if (removes)
            unlinkat(dirfd(dir), item->d_name, 0);
    }
    if (dir)
        closedir(dir);
    return sum;
}

/* The folder of another identity. */
struct other {
    char name[IDENTITY_DIGITS + 1];
    uint64_t n_bytes;
    int64_t used; /* when it was last opened */
};

static size_t list_others(const char *folder, const char *own, struct other *others, size_t max)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *item; dir && n < max && (item = readdir(dir));) {
        struct stat st;
        char lock[IDENTITY_DIGITS + 8];
        if (!is_identity(item->d_name) || !strcmp(item->d_name, own))
            continue;
        struct other *o = &others[n++];
        snprintf(o->name, sizeof o->name, "%.*s", (int)IDENTITY_DIGITS, item->d_name);
        snprintf(lock, sizeof lock, "%s/lock", o->name);
        o->used = fstatat(dirfd(dir), lock, &st, 0) ? 0 : st.st_mtime;
        o->n_bytes = count_files(openat(dirfd(dir), o->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                                 false);
    }
    if (dir)
        closedir(dir);
    return n;
}

/* Removes the pages of an identity that no process has open. */
static bool remove_other(const char *folder, const struct other *o)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s/lock", folder, o->name) >= (int)sizeof path)
        return false;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
    if (ok) {
        *strrchr(path, '/') = 0;
        count_files(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), true);
    }
    if (fd >= 0)
        close(fd);
    return ok;
}

static int by_use(const void *a, const void *b)
{
    const struct other *x = a, *y = b;
    return (x->used > y->used) - (x->used < y->used);
}

/* What is left for this identity: others may have half of the budget, the last used ones. */
static uint64_t budget(const char *folder, const char *own, uint64_t max_bytes)
{
    enum { MAX_OTHERS = 256 };
    struct other others[MAX_OTHERS];
    uint64_t sum = 0;
    size_t n = list_others(folder, own, others, MAX_OTHERS);
    if (!max_bytes) {
        struct statvfs fs;
        uint64_t room = statvfs(folder, &fs) ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
        max_bytes = room / 10 < default_max_bytes ? room / 10 : default_max_bytes;
    }
    for (size_t i = 0; i < n; i++)
        sum += others[i].n_bytes;
    qsort(others, n, sizeof *others, by_use);
    for (size_t i = 0; i < n && sum > max_bytes / 2; i++)
        if (remove_other(folder, &others[i]))
            sum -= others[i].n_bytes;
    return sum < max_bytes ? max_bytes - sum : 0;
}

static void make_header(struct disk_tier *d, const XXH128_hash_t *identity, uint64_t page_bytes)
{
    struct header *h = &d->header;
    memcpy(h->magic, magic, sizeof magic);
    h->version = VERSION;
    h->page_bytes = page_bytes;
    h->slot_bytes = (page_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    h->n_slots = h->slot_bytes < SEGMENT_BYTES ? (uint32_t)(SEGMENT_BYTES / h->slot_bytes) : 1;
    if (h->n_slots > MAX_SLOTS)
        h->n_slots = MAX_SLOTS;
    h->first_slot = BLOCK_BYTES + (h->n_slots * sizeof(struct entry) + BLOCK_BYTES - 1) /
                                      BLOCK_BYTES * BLOCK_BYTES;
    h->identity[0] = identity->low64;
    h->identity[1] = identity->high64;
    h->checksum = header_checksum(h);
}

/* Notes the pages of a segment that is the last one now. */
static bool read_entries(struct disk_tier *d, int fd, uint64_t n_file_bytes)
{
    const uint32_t n = d->header.n_slots, first = n_slots(d) - n;
    struct entry *entries = calloc(n, sizeof *entries);
    struct disk_found *found = realloc(d->found, (d->n_found + n) * sizeof *found);
    if (found)
        d->found = found;
    if (entries && found)
        read_up_to(fd, entries, n * sizeof *entries, BLOCK_BYTES);
    for (uint32_t i = 0; entries && found && i < n; i++) {
        const struct entry *e = &entries[i];
        if ((uint64_t)page_offset(d, first + i) + d->header.page_bytes > n_file_bytes ||
            e->checksum != entry_checksum(e) ||
            e->label.key != disk_key(e->label.parent, e->label.tokens))
            continue;
        d->slots[first + i] = (struct slot){e->payload, true};
        d->found[d->n_found++] = (struct disk_found){e->label, first + i, e->used};
    }
    free(entries);
    return entries && found;
}

/* One file of the folder. What is not ours stays and is not looked at; what is, but cannot be used,
 * goes. */
static bool read_segment(struct disk_tier *d, const char *name)
{
    char path[PATH_MAX + 16], *end;
    unsigned long number = strtoul(name, &end, 16);
    if (end != name + 8 || strcmp(end, ".kv"))
        return true;
    if (number >= d->next_number)
        d->next_number = (uint32_t)number + 1;
    segment_path(d, (uint32_t)number, path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    static const struct header unwritten;
    struct header h = unwritten;
    struct stat st;
    if (fd < 0)
        return true;
    read_up_to(fd, &h, sizeof h, 0);
    if (fstat(fd, &st) || (memcmp(h.magic, magic, sizeof magic) &&
                           memcmp(h.magic, unwritten.magic, sizeof magic))) {
        close(fd);
        return true;
    }
    if (memcmp(&h, &d->header, sizeof h) || d->n_segments == d->max_segments) {
        close(fd);
        unlink(path);
        return true;
    }
    d->segments[d->n_segments++] = (struct segment){fd, (uint32_t)number};
    return read_entries(d, fd, (uint64_t)st.st_size);
}

static int by_depth(const void *a, const void *b)
{
    const struct disk_found *x = a, *y = b;
    if (x->label.depth != y->label.depth)
        return x->label.depth < y->label.depth ? -1 : 1;
    return (x->used > y->used) - (x->used < y->used);
}

static bool read_folder(struct disk_tier *d, struct error *err)
{
    DIR *dir = opendir(d->folder);
    bool ok = dir;
    if (!dir)
        error_set(err, ERROR_IO, "%s: %s", d->folder, strerror(errno));
    for (const struct dirent *item; ok && (item = readdir(dir));)
        ok = read_segment(d, item->d_name) ||
             error_set(err, ERROR_NO_MEMORY, "out of memory for the KV store");
    if (dir)
        closedir(dir);
    if (d->n_found)
        qsort(d->found, d->n_found, sizeof *d->found, by_depth);
    return ok;
}

static bool take_lock(struct disk_tier *d, struct error *err)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/lock", d->folder);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return error_set(err, ERROR_IO, "%s: %s", path, strerror(errno));
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB))
        return error_set(err, ERROR_BUSY, "another process uses %s", d->folder);
    futimens(d->lock_fd, NULL); /* when it was last used */
    return true;
}

static bool open_folder(struct disk_tier *d, const struct disk_options *o, uint64_t page_bytes,
                        struct error *err)
{
    const XXH128_hash_t identity = XXH3_128bits(o->identity, strlen(o->identity));
    char own[IDENTITY_DIGITS + 1];
    snprintf(own, sizeof own, "%016" PRIx64 "%016" PRIx64, identity.high64, identity.low64);
    int n = snprintf(d->folder, sizeof d->folder, "%s/%s", o->folder, own);
    if (n < 0 || n >= (int)sizeof d->folder)
        return error_set(err, ERROR_IO, "the name of the folder %s is too long", o->folder);
    make_header(d, &identity, page_bytes);
    if (!folder_make(d->folder, 0700, err) || !take_lock(d, err))
        return false;
    uint64_t n_segments = budget(o->folder, own, o->max_bytes) / segment_bytes(&d->header);
    d->max_segments = n_segments < MAX_SEGMENTS ? (uint32_t)n_segments : MAX_SEGMENTS;
    const size_t room = d->max_segments ? d->max_segments : 1;
    d->segments = calloc(room, sizeof *d->segments);
    d->slots = calloc(room * d->header.n_slots, sizeof *d->slots);
    d->jobs = calloc(QUEUE, sizeof *d->jobs);
    if (!d->segments || !d->slots || !d->jobs)
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the KV store");
    return read_folder(d, err);
}

struct disk_tier *disk_tier_open(const struct disk_options *options, uint64_t page_bytes,
                                 struct error *err)
{
    struct disk_tier *d = calloc(1, sizeof *d);
    if (!d) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the KV store");
        return NULL;
    }
    d->lock_fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    d->done = options->done;
    d->context = options->context;
    bool ok = open_folder(d, options, page_bytes, err);
    if (ok && pthread_create(&d->writer, NULL, writer_thread, d))
        ok = error_set(err, ERROR_NO_MEMORY, "cannot start the KV store's thread");
    d->has_writer = ok;
    if (ok)
        return d;
    disk_tier_close(d);
    return NULL;
}

void disk_tier_close(struct disk_tier *d)
{
    if (!d)
        return;
    if (d->has_writer) {
        pthread_mutex_lock(&d->lock);
        d->closing = true;
        pthread_cond_signal(&d->work);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->writer, NULL);
    }
    for (uint32_t i = 0; i < d->n_segments; i++)
        if (d->segments[i].fd >= 0)
            close(d->segments[i].fd);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->work);
    free(d->segments);
    free(d->slots);
    free(d->jobs);
    free(d->found);
    free(d);
}

const struct disk_found *disk_tier_found(const struct disk_tier *d, size_t *n)
{
    *n = d->n_found;
    return d->found;
}

void disk_tier_forget_found(struct disk_tier *d)
{
    free(d->found);
    d->found = NULL;
    d->n_found = 0;
}
