/* The store: where files lie, which of them were checked, and what a name means. The catalogue
 * comes out of the binary at first use. Opens no connection. */
#include "store/store.h"

#include "base/nearest.h"
#include "store/catalogue.h"
#include "store/sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STORE_MAX_PATH = 8192, STORE_HEAD_BYTES = 4096 };

extern const unsigned char catalogue_json[];
extern const size_t catalogue_json_size;

/* Read once and never freed: everything handed out points into it. */
static struct catalogue store_catalogue;
static pthread_once_t store_catalogue_once = PTHREAD_ONCE_INIT;

static void store_catalogue_load(void)
{
    catalogue_parse(&store_catalogue, (const char *)catalogue_json, catalogue_json_size, NULL);
}

size_t store_n_models(void)
{
    pthread_once(&store_catalogue_once, store_catalogue_load);
    return store_catalogue.n_models;
}

const struct store_model *store_model_at(size_t i)
{
    return i < store_n_models() ? &store_catalogue.models[i] : NULL;
}

const struct store_model *store_model_find(const char *name)
{
    for (size_t i = 0; i < store_n_models(); i++)
        if (!strcasecmp(store_catalogue.models[i].name, name))
            return &store_catalogue.models[i];
    return NULL;
}

/* general.name stands among the first keys of a GGUF file, as plain text. */
static bool store_file_calls_itself(const char *path, const char *general_name)
{
    char head[STORE_HEAD_BYTES];
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    size_t n = fread(head, 1, sizeof head, file);
    fclose(file);
    return memmem(head, n, general_name, strlen(general_name)) != NULL;
}

const struct store_model *store_model_of_file(const char *path, uint64_t n_bytes)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *model = store_model_at(i);
        if (model->n_bytes == n_bytes &&
            (!strcasecmp(base, model->file) || store_file_calls_itself(path, model->general_name)))
            return model;
    }
    return NULL;
}

/* ---- the folder ---- */

static bool store_path_done(struct buf *out, struct error *err)
{
    return !buf_failed(out) || error_set(err, ERROR_NO_MEMORY, "a path is too long");
}

/* A folder in Pensieve's own. */
static bool own_folder(const char *name, struct buf *out, struct error *err)
{
    buf_clear(out);
    const char *own = setting_environment(&store_rows[STORE_SETTING_HOME]);
    const char *home = getenv("HOME");
    if (own) {
        char here[STORE_MAX_PATH];
        if (*own != '/' && getcwd(here, sizeof here))
            buf_printf(out, "%s/", here);
        buf_printf(out, "%s/%s", own, name);
        return store_path_done(out, err);
    }
#ifndef __APPLE__
    const char *data = getenv("XDG_DATA_HOME");
    if (data && *data == '/') { /* the XDG rules: a relative one is to be ignored */
        buf_printf(out, "%s/pensieve/%s", data, name);
        return store_path_done(out, err);
    }
#endif
    if (!home || !*home)
        return error_set(err, ERROR_NOT_FOUND,
                         "no folder for files: set PENSIEVE_HOME (neither it nor HOME is set)");
#ifdef __APPLE__
    buf_printf(out, "%s/Library/Application Support/pensieve/%s", home, name);
#else
    buf_printf(out, "%s/.local/share/pensieve/%s", home, name);
#endif
    return store_path_done(out, err);
}

bool store_dir(struct buf *out, struct error *err)
{
    return own_folder("models", out, err);
}

bool store_kv_dir(struct buf *out, struct error *err)
{
    return own_folder("kv", out, err);
}

/* `dir`/`file``suffix`; dir NULL: the store's folder. */
static bool store_path(struct buf *out, const char *dir, const char *file, const char *suffix,
                       struct error *err)
{
    buf_clear(out);
    if (dir)
        buf_puts(out, dir);
    else if (!store_dir(out, err))
        return false;
    buf_printf(out, "/%s%s", file, suffix);
    return store_path_done(out, err);
}

/* ---- marks ---- */

/* "<sha256> <bytes> <seconds>.<nanoseconds>\n": what was hashed, so that no start hashes it again.
 */
static void store_mark_text(char *text, size_t size, const char *sha256, const struct stat *st)
{
#ifdef __APPLE__
    struct timespec time = st->st_mtimespec;
#else
    struct timespec time = st->st_mtim;
#endif
    snprintf(text, size, "%s %" PRIu64 " %" PRId64 ".%09ld\n", sha256, (uint64_t)st->st_size,
             (int64_t)time.tv_sec, time.tv_nsec);
}

static bool store_is_marked(const char *path, const char *sha256, const struct stat *st)
{
    char expected[160], mark[160] = "", mark_path[STORE_MAX_PATH];
    store_mark_text(expected, sizeof expected, sha256, st);
    snprintf(mark_path, sizeof mark_path, "%s.ok", path);
    FILE *file = fopen(mark_path, "re");
    if (!file)
        return false;
    size_t n = fread(mark, 1, sizeof mark - 1, file);
    mark[n] = '\0';
    fclose(file);
    return !strcmp(mark, expected);
}

bool store_mark(const char *path, const char *sha256, struct error *err)
{
    char text[160], mark_path[STORE_MAX_PATH];
    struct stat st;
    if (stat(path, &st))
        return error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    store_mark_text(text, sizeof text, sha256, &st);
    snprintf(mark_path, sizeof mark_path, "%s.ok", path);
    FILE *file = fopen(mark_path, "we");
    bool ok = file && fputs(text, file) >= 0;
    if (file && fclose(file))
        ok = false;
    return ok || error_set(err, ERROR_IO, "cannot write %s: %s", mark_path, strerror(errno));
}

enum store_state store_model_state(const struct store_model *model, const char *dir)
{
    enum store_state state = STORE_ABSENT;
    struct buf path;
    struct stat st;
    buf_init(&path, STORE_MAX_PATH);
    if (!store_path(&path, dir, model->file, "", NULL))
        goto done;
    if (!stat(path.data, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == model->n_bytes)
        state = store_is_marked(path.data, model->sha256, &st) ? STORE_CHECKED : STORE_UNCHECKED;
    else if (store_path(&path, dir, model->file, ".part", NULL) && !stat(path.data, &st))
        state = STORE_PARTIAL;
done:
    buf_deinit(&path);
    return state;
}

static bool store_check_descriptor(const struct store_model *model, const char *path, int fd,
                                   struct error *err)
{
    struct stat st;
    char hex[65];
    if (fstat(fd, &st))
        return error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    if ((uint64_t)st.st_size != model->n_bytes)
        return error_set(err, ERROR_FORMAT, "%s has %" PRIu64 " bytes, %s has %" PRIu64, path,
                         (uint64_t)st.st_size, model->name, model->n_bytes);
    if (!sha256_descriptor(fd, hex, err))
        return error_prefix(err, "%s", path);
    if (strcmp(hex, model->sha256))
        return error_set(err, ERROR_FORMAT, "%s is not %s: its SHA-256 is %.16s..., not %.16s...",
                         path, model->name, hex, model->sha256);
    return true;
}

bool store_check(const struct store_model *model, const char *dir, struct error *err)
{
    struct buf path;
    buf_init(&path, STORE_MAX_PATH);
    int fd = -1;
    bool ok = store_path(&path, dir, model->file, "", err);
    if (ok && (fd = open(path.data, O_RDONLY | O_CLOEXEC)) < 0)
        ok = error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                       path.data, strerror(errno));
    ok = ok && store_check_descriptor(model, path.data, fd, err);
    if (fd >= 0)
        close(fd);
    if (ok)
        store_mark(path.data, model->sha256, NULL); /* a read-only store is hashed each time */
    buf_deinit(&path);
    return ok;
}

/* ---- names ---- */

static bool store_resolve_model(const struct store_model *model, struct buf *path,
                                struct error *err)
{
    enum store_state state = store_model_state(model, NULL);
    if (state == STORE_ABSENT || state == STORE_PARTIAL)
        return error_set(
            err, ERROR_NOT_FOUND, "%s is %s; fetch it with: pensieve pull %s", model->name,
            state == STORE_PARTIAL ? "only partly fetched" : "not in the store yet", model->name);
    if (state == STORE_UNCHECKED && !store_check(model, NULL, err))
        return error_prefix(err, "remove it, then: pensieve pull %s", model->name);
    return store_path(path, NULL, model->file, "", err);
}

static bool store_resolve_other(const char *name, struct buf *path, struct error *err)
{
    static const char *const suffixes[] = {"", ".gguf"};
    if (*name && *name != '.' && !strchr(name, '/'))
        for (size_t i = 0; i < 2; i++) {
            struct stat st;
            if (!store_path(path, NULL, name, suffixes[i], err))
                return false;
            if (!stat(path->data, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
                return true;
        }
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (size_t i = 0; i < store_n_models(); i++)
        nearest_offer(&nearest, store_model_at(i)->name);
    if (nearest.found)
        return error_set(err, ERROR_NOT_FOUND,
                         "'%.80s' is neither a file nor a model in the store; did you mean %s?",
                         name, nearest.found);
    char known[160] = "";
    for (size_t i = 0, n = 0; i < store_n_models() && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                              store_model_at(i)->name);
    return error_set(err, ERROR_NOT_FOUND,
                     "'%.80s' is neither a file nor a model in the store; known models: %s", name,
                     known);
}

bool store_resolve(const char *path_or_name, struct buf *path, struct error *err)
{
    struct stat st;
    const bool is_path = strchr(path_or_name, '/') != NULL, is_there = !stat(path_or_name, &st);
    if (is_there && (is_path || S_ISREG(st.st_mode))) {
        buf_clear(path);
        buf_puts(path, path_or_name);
        return store_path_done(path, err);
    }
    if (is_path && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERROR_NOT_FOUND, "no such file: %s", path_or_name);
    if (is_path)
        return error_set(err, ERROR_IO, "cannot read %.200s: %s", path_or_name, strerror(errno));
    const struct store_model *model = store_model_find(path_or_name);
    for (size_t i = 0; !model && i < store_n_models(); i++)
        if (!strcmp(store_model_at(i)->file, path_or_name))
            model = store_model_at(i);
    if (!model && is_there && S_ISDIR(st.st_mode) && *path_or_name != '.') {
        buf_clear(path); /* a folder here that is named like no model */
        buf_puts(path, path_or_name);
        return store_path_done(path, err);
    }
    return model ? store_resolve_model(model, path, err)
                 : store_resolve_other(path_or_name, path, err);
}

static int store_only_gguf(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 5 && !strcasecmp(entry->d_name + n - 5, ".gguf");
}

/* The first .gguf of the folder that the catalogue does not know. */
static bool store_first_other(struct buf *path)
{
    struct dirent **entries = NULL;
    bool found = false;
    int n = store_dir(path, NULL) ? scandir(path->data, &entries, store_only_gguf, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        bool known = false;
        for (size_t k = 0; k < store_n_models(); k++)
            known |= !strcmp(entries[i]->d_name, store_model_at(k)->file);
        if (!found && !known)
            found = store_path(path, NULL, entries[i]->d_name, "", NULL);
        free(entries[i]);
    }
    free(entries);
    return found;
}

bool store_preferred(struct buf *path, struct error *err)
{
    for (size_t i = 0; i < store_n_models(); i++)
        if (store_model_state(store_model_at(i), NULL) >= STORE_UNCHECKED)
            return store_resolve_model(store_model_at(i), path, err);
    if (store_first_other(path))
        return true;
    return error_set(err, ERROR_NOT_FOUND,
                     "the store has no model yet; fetch the default one with: pensieve pull");
}
