/* See output.h. */
#include "convert/output.h"

#include <dirent.h>
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

enum { OUTPUT_SPARE_BYTES = 16 << 20 };

/* ---- folders ---- */

/* Whether a file of that name may be a part of a model's folder. */
static bool output_is_of_model(const char *name)
{
    static const char *const ends[] = {".safetensors", ".json", ".jinja", ".model",
                                       ".txt",         ".md",   ".gitattributes"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n >= strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* Calls each(folder's descriptor, name) for all that is in a folder, until it is false. */
static bool output_each(const char *folder, bool (*each)(int folder, const char *name))
{
    DIR *dir = opendir(folder);
    bool ok = dir != NULL;
    for (const struct dirent *entry; ok && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            ok = each(dirfd(dir), entry->d_name);
    if (dir)
        closedir(dir);
    return ok;
}

static bool output_is_known(int folder, const char *name)
{
    struct stat st;
    return output_is_of_model(name) && !fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) &&
           !S_ISDIR(st.st_mode);
}

static bool output_unlink(int folder, const char *name)
{
    return !unlinkat(folder, name, 0);
}

/* Removes a file, or a folder with its files. */
static bool output_remove(const char *path)
{
    struct stat st;
    if (lstat(path, &st))
        return errno == ENOENT;
    if (!S_ISDIR(st.st_mode))
        return !unlink(path);
    return output_each(path, output_unlink) && !rmdir(path);
}

/* ---- beginning ---- */

bool output_check(const char *path, bool is_folder, bool replace, struct error *err)
{
    struct stat st;
    if (!*path)
        return error_set(err, ERROR_USAGE, "the output has no name");
    if (stat(path, &st))
        return errno == ENOENT ||
               error_set(err, ERROR_IO, "cannot look at %.150s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) == is_folder)
        return error_set(err, ERROR_USAGE, "%.150s is a %s, and what is made is a %s", path,
                         is_folder ? "file" : "folder", is_folder ? "folder" : "file");
    if (!replace)
        return error_set(err, ERROR_USAGE, "%.150s is there already; --force replaces it", path);
    if (is_folder && !output_each(path, output_is_known))
        return error_set(err, ERROR_USAGE,
                         "%.150s has more in it than a model: name another folder", path);
    return true;
}

static bool output_name(struct output *o, const char *path, struct error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (!n || n + sizeof ".part" > OUTPUT_MAX_PATH)
        return error_set(err, ERROR_USAGE, "the output's path is too long");
    snprintf(o->path, sizeof o->path, "%.*s", (int)n, path);
    return true;
}

static bool output_check_room(const struct output *o, uint64_t n_bytes, struct error *err)
{
    char folder[OUTPUT_MAX_PATH];
    struct statvfs disk;
    const char *slash = strrchr(o->path, '/');
    const size_t n = slash ? (size_t)(slash - o->path) : 0;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash && !n ? 1 : n), o->path);
    if (statvfs(slash ? folder : ".", &disk))
        return error_set(err, ERROR_IO, "cannot write %.150s: %s", o->path, strerror(errno));
    const uint64_t n_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    return n_bytes + OUTPUT_SPARE_BYTES <= n_free ||
           error_set(err, ERROR_IO,
                     "the disk is too full for %.120s: it needs %" PRIu64 " MB, %" PRIu64
                     " MB are free",
                     o->path, n_bytes / 1000000, n_free / 1000000);
}

/* Opens the part and takes its lock. A part that was finished meanwhile is another's model. */
static bool output_lock(struct output *o, struct error *err)
{
    char part[OUTPUT_MAX_PATH];
    struct stat mine, there;
    snprintf(part, sizeof part, "%.*s.part", OUTPUT_MAX_PATH - 8, o->path);
    if (o->is_folder && mkdir(part, 0777) && errno != EEXIST)
        return error_set(err, ERROR_IO, "cannot make %.150s: %s", part, strerror(errno));
    const int flags = o->is_folder ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT;
    o->lock = open(part, flags | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (o->lock < 0)
        return error_set(err, ERROR_IO, "cannot write %.150s: %s", part, strerror(errno));
    if (flock(o->lock, LOCK_EX | LOCK_NB) || fstat(o->lock, &mine) || lstat(part, &there) ||
        mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return error_set(err, ERROR_BUSY, "%.150s is being made by another process", o->path);
    snprintf(o->part, sizeof o->part, "%s", part);
    return true;
}

bool output_begin(struct output *o, const char *path, bool is_folder, bool replace,
                  uint64_t n_bytes, struct error *err)
{
    *o = (struct output){.is_folder = is_folder, .replaces = replace, .lock = -1};
    if (!output_name(o, path, err) || !output_check(o->path, is_folder, replace, err) ||
        !output_check_room(o, n_bytes, err) || !output_lock(o, err))
        return false;
    const bool is_empty =
        is_folder ? output_each(o->part, output_unlink) : !ftruncate(o->lock, 0);
    return is_empty || error_set(err, ERROR_IO, "cannot empty %.150s: %s", o->part,
                                 strerror(errno));
}

/* ---- files ---- */

static int output_open(const struct output *o, const char *name, char path[OUTPUT_MAX_PATH])
{
    if (!o->is_folder) {
        snprintf(path, OUTPUT_MAX_PATH, "%s", o->part);
        return dup(o->lock);
    }
    if ((size_t)snprintf(path, OUTPUT_MAX_PATH, "%s/%s", o->part, name) >= OUTPUT_MAX_PATH) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

bool output_add_file(struct output *o, const char *name, uint64_t n_bytes, struct error *err)
{
    char path[OUTPUT_MAX_PATH];
    int *files = realloc(o->files, (o->n_files + 1) * sizeof *files);
    if (!files)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    o->files = files;
    const int fd = output_open(o, name, path);
    if (fd < 0)
        return error_set(err, ERROR_IO, "cannot write %.150s: %s", path, strerror(errno));
    o->files[o->n_files++] = fd;
    return !ftruncate(fd, (off_t)n_bytes) ||
           error_set(err, ERROR_IO, "cannot write %.150s: %s", path, strerror(errno));
}

bool output_write(struct output *o, size_t i, const void *bytes, size_t n, uint64_t at,
                  struct error *err)
{
    const char *from = bytes;
    while (n) {
        const ssize_t done = pwrite(o->files[i], from, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return error_set(err, ERROR_IO, "cannot write %.150s: %s", o->part,
                             done ? strerror(errno) : "nothing was written");
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return true;
}

/* ---- ending ---- */

/* Gives the part its name in one step where something is in its place, if the system can. */
static bool output_exchange(const struct output *o)
{
#ifdef RENAME_EXCHANGE
    if (!renameat2(AT_FDCWD, o->part, AT_FDCWD, o->path, RENAME_EXCHANGE))
        return output_remove(o->part);
#endif
    return output_remove(o->path) && !rename(o->part, o->path);
}

/* The folder that holds the output, so that its new name is on the disk, too. */
static void output_sync_folder(const struct output *o)
{
    char folder[OUTPUT_MAX_PATH];
    snprintf(folder, sizeof folder, "%s", o->path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

bool output_finish(struct output *o, struct error *err)
{
    struct stat st;
    for (size_t i = 0; i < o->n_files; i++)
        if (fsync(o->files[i]))
            return error_set(err, ERROR_IO, "cannot write %.150s: %s", o->part, strerror(errno));
    const bool is_there = !lstat(o->path, &st);
    if (is_there && !o->replaces)
        return error_set(err, ERROR_USAGE, "%.150s was made meanwhile; --force replaces it",
                         o->path);
    const bool ok =
        is_there && o->is_folder ? output_exchange(o) : !rename(o->part, o->path);
    if (!ok)
        return error_set(err, ERROR_IO, "cannot name %.150s: %s", o->path, strerror(errno));
    o->part[0] = '\0';
    output_sync_folder(o);
    return true;
}

void output_deinit(struct output *o)
{
    if (o->part[0])
        output_remove(o->part);
    for (size_t i = 0; i < o->n_files; i++)
        close(o->files[i]);
    if (o->lock >= 0)
        close(o->lock);
    free(o->files);
    o->files = NULL;
    o->n_files = 0;
    o->lock = -1;
    o->part[0] = '\0';
}
