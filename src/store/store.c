/* The store: where files lie, which of them were checked, and what a name means. The catalogue
 * comes out of the binary at first use. Opens no connection. */
#include "store/store.h"

#include "base/nearest.h"
#include "base/path.h"
#include "store/catalogue.h"
#include "store/sha256.h"

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

const struct store_model *store_model_named(const char *name)
{
    const struct store_model *model = store_model_find(name);
    for (size_t i = 0; !model && i < store_n_models(); i++)
        if (!strcmp(store_model_at(i)->file, name))
            model = store_model_at(i);
    return model;
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

static bool store_is_word(struct path_word word, const char *text)
{
    return word.len == strlen(text) && !strncasecmp(word.text, text, word.len);
}

/* Its folder, or a file in its folder. */
static bool store_is_in_folder(const struct store_model *model, struct path_word last,
                               struct path_word before)
{
    if (store_is_word(last, model->file))
        return true;
    for (uint32_t i = 0; i < model->n_files; i++)
        if (store_is_word(last, model->files[i].name))
            return store_is_word(before, model->file);
    return false;
}

static bool store_is_file(const struct store_model *model, const char *path, struct path_word name,
                          uint64_t n_bytes)
{
    return model->n_bytes == n_bytes &&
           (store_is_word(name, model->file) ||
            (model->general_name && store_file_calls_itself(path, model->general_name)));
}

const struct store_model *store_model_of_file(const char *path, uint64_t n_bytes)
{
    size_t len = strlen(path);
    const struct path_word last = path_last_word(path, &len), before = path_last_word(path, &len);
    for (size_t i = 0; i < store_n_models(); i++) {
        const struct store_model *model = store_model_at(i);
        if (model->is_folder ? store_is_in_folder(model, last, before)
                             : store_is_file(model, path, last, n_bytes))
            return model;
    }
    return NULL;
}

uint64_t store_model_memory(const struct store_model *model, uint32_t n_tokens)
{
    if (model->context && model->context < n_tokens)
        n_tokens = model->context;
    return model->n_bytes + n_tokens * model->kv_bytes;
}

bool store_model_is_verified(const struct store_model *model)
{
    for (uint32_t i = 0; i < model->n_files; i++)
        if (!model->files[i].sha256)
            return false;
    return true;
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

/* `dir`/`file`; dir NULL: the store's folder. */
static bool store_path(struct buf *out, const char *dir, const char *file, struct error *err)
{
    buf_clear(out);
    if (dir)
        buf_puts(out, dir);
    else if (!store_dir(out, err))
        return false;
    buf_printf(out, "/%s", file);
    return store_path_done(out, err);
}

bool store_file_path(struct buf *out, const char *dir, const struct store_model *model,
                     const struct store_file *file, const char *suffix, struct error *err)
{
    if (!store_path(out, dir, model->file, err))
        return false;
    if (model->is_folder)
        buf_printf(out, "/%s", file->name);
    buf_puts(out, suffix);
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

/* The mark beside the file, if size and time have not changed since: the SHA-256 that it tells. */
static bool store_read_mark(const char *path, const struct stat *st, char sha256[65])
{
    char expected[160], mark[160] = "", mark_path[STORE_MAX_PATH];
    snprintf(mark_path, sizeof mark_path, "%s.ok", path);
    FILE *file = fopen(mark_path, "re");
    if (!file)
        return false;
    size_t n = fread(mark, 1, sizeof mark - 1, file);
    mark[n] = '\0';
    fclose(file);
    snprintf(sha256, 65, "%.64s", mark);
    store_mark_text(expected, sizeof expected, sha256, st);
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

static enum store_state store_state_of_mark(const struct store_file *file, const char *path,
                                            const struct stat *st)
{
    char sha256[65];
    if (!store_read_mark(path, st, sha256))
        return STORE_UNCHECKED;
    if (!file->sha256)
        return STORE_RECORDED;
    return strcmp(sha256, file->sha256) ? STORE_UNCHECKED : STORE_CHECKED;
}

enum store_state store_file_state(const struct store_model *model, const struct store_file *file,
                                  const char *dir)
{
    enum store_state state = STORE_ABSENT;
    struct buf path;
    struct stat st;
    buf_init(&path, STORE_MAX_PATH);
    if (store_file_path(&path, dir, model, file, "", NULL) && !stat(path.data, &st) &&
        S_ISREG(st.st_mode) && (!file->n_bytes || (uint64_t)st.st_size == file->n_bytes))
        state = store_state_of_mark(file, path.data, &st);
    else if (store_file_path(&path, dir, model, file, ".part", NULL) && !stat(path.data, &st))
        state = STORE_PARTIAL;
    buf_deinit(&path);
    return state;
}

enum store_state store_model_state(const struct store_model *model, const char *dir)
{
    enum store_state least = STORE_CHECKED;
    bool has_any = false;
    for (uint32_t i = 0; i < model->n_files; i++) {
        const enum store_state state = store_file_state(model, &model->files[i], dir);
        has_any |= state != STORE_ABSENT;
        if (state < least && (state != STORE_ABSENT || !model->files[i].is_optional))
            least = state;
    }
    return least == STORE_ABSENT && has_any ? STORE_PARTIAL : least;
}

static bool store_check_descriptor(const struct store_model *model, const struct store_file *file,
                                   const char *path, int fd, char hex[65], struct error *err)
{
    struct stat st;
    char recorded[65];
    const char *name = model->is_folder ? file->name : model->name;
    if (fstat(fd, &st))
        return error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(errno));
    if (file->n_bytes && (uint64_t)st.st_size != file->n_bytes)
        return error_set(err, ERROR_FORMAT, "%s has %" PRIu64 " bytes, %s has %" PRIu64, path,
                         (uint64_t)st.st_size, name, file->n_bytes);
    if (!sha256_descriptor(fd, hex, err))
        return error_prefix(err, "%s", path);
    if (file->sha256 && strcmp(hex, file->sha256))
        return error_set(err, ERROR_FORMAT, "%s is not %s: its SHA-256 is %.16s..., not %.16s...",
                         path, name, hex, file->sha256);
    if (!file->sha256 && store_read_mark(path, &st, recorded) && strcmp(hex, recorded))
        return error_set(err, ERROR_FORMAT,
                         "%s is not what was fetched: its SHA-256 is %.16s..., not %.16s...", path,
                         hex, recorded);
    return true;
}

bool store_check_file(const struct store_model *model, const struct store_file *file,
                      const char *dir, struct error *err)
{
    struct buf path;
    char hex[65];
    buf_init(&path, STORE_MAX_PATH);
    int fd = -1;
    bool ok = store_file_path(&path, dir, model, file, "", err);
    if (ok && (fd = open(path.data, O_RDONLY | O_CLOEXEC)) < 0)
        ok = error_set(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "cannot open %s: %s",
                       path.data, strerror(errno));
    ok = ok && store_check_descriptor(model, file, path.data, fd, hex, err);
    if (fd >= 0)
        close(fd);
    if (ok)
        store_mark(path.data, hex, NULL); /* a read-only store is hashed each time */
    buf_deinit(&path);
    return ok;
}

bool store_check(const struct store_model *model, const char *dir, struct error *err)
{
    for (uint32_t i = 0; i < model->n_files; i++) {
        const struct store_file *file = &model->files[i];
        if (file->is_optional && store_file_state(model, file, dir) == STORE_ABSENT)
            continue;
        if (!store_check_file(model, file, dir, err))
            return false;
    }
    return true;
}

/* What the catalogue knows of files that were never hashed. */
static bool store_check_unchecked(const struct store_model *model, struct error *err)
{
    for (uint32_t i = 0; i < model->n_files; i++) {
        const struct store_file *file = &model->files[i];
        if (file->sha256 && store_file_state(model, file, NULL) == STORE_UNCHECKED &&
            !store_check_file(model, file, NULL, err))
            return false;
    }
    return true;
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
    if (!store_check_unchecked(model, err))
        return error_prefix(err, "remove it, then: pensieve pull %s", model->name);
    return store_path(path, NULL, model->file, err);
}

/* A file or folder of the store that goes by its own name, with or without .gguf. */
static bool store_find_other(const char *name, struct buf *path, struct stat *st, struct error *err)
{
    static const char *const suffixes[] = {"", ".gguf"};
    if (!*name || *name == '.' || strchr(name, '/'))
        return false;
    for (size_t i = 0; i < 2; i++) {
        char file[STORE_MAX_PATH];
        snprintf(file, sizeof file, "%s%s", name, suffixes[i]);
        if (!store_path(path, NULL, file, err))
            return false;
        if (!stat(path->data, st) && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)))
            return true;
    }
    return false;
}

static bool store_resolve_other(const char *name, struct buf *path, struct error *err)
{
    struct stat st;
    if (store_find_other(name, path, &st, err))
        return true;
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (size_t i = 0; i < store_n_models(); i++)
        nearest_offer(&nearest, store_model_at(i)->name);
    if (nearest.found)
        return error_set(err, ERROR_NOT_FOUND,
                         "'%.80s' is neither a file, nor a folder, nor a model in the store; "
                         "did you mean %s?",
                         name, nearest.found);
    return error_set(err, ERROR_NOT_FOUND,
                     "'%.80s' is neither a file, nor a folder, nor a model in the store; "
                     "pensieve list names the known ones, %s first",
                     name, store_n_models() ? store_model_at(0)->name : "none");
}

/* What the store has under that name, if it has it whole. */
static bool store_has(const struct store_model *model, const char *name, struct buf *path,
                      struct stat *there)
{
    if (model)
        return store_model_state(model, NULL) >= STORE_UNCHECKED &&
               store_path(path, NULL, model->file, NULL) && !stat(path->data, there);
    return store_find_other(name, path, there, NULL);
}

/* Something here goes by that name: it is meant, unless the store has something else by it. */
static bool store_resolve_here(const struct store_model *model, const char *name,
                               const struct stat *here, struct buf *path, struct error *err)
{
    struct stat there;
    if (store_has(model, name, path, &there) &&
        (there.st_dev != here->st_dev || there.st_ino != here->st_ino))
        return error_set(err, ERROR_INPUT,
                         "'%.80s' is a model in the store and a %s here: say ./%.80s for what is "
                         "here, or %.120s for the store's",
                         name, S_ISDIR(here->st_mode) ? "folder" : "file", name, path->data);
    buf_clear(path);
    buf_puts(path, name);
    return store_path_done(path, err);
}

bool store_resolve(const char *path_or_name, struct buf *path, struct error *err)
{
    struct stat st;
    const bool is_path =
        strchr(path_or_name, '/') || !strcmp(path_or_name, ".") || !strcmp(path_or_name, "..");
    const bool is_there = !stat(path_or_name, &st);
    if (is_path && !is_there && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERROR_NOT_FOUND, "no such file or folder: %s", path_or_name);
    if (is_path && !is_there)
        return error_set(err, ERROR_IO, "cannot read %.200s: %s", path_or_name, strerror(errno));
    if (is_path) {
        buf_clear(path);
        buf_puts(path, path_or_name);
        return store_path_done(path, err);
    }
    const struct store_model *model = store_model_named(path_or_name);
    if (is_there)
        return store_resolve_here(model, path_or_name, &st, path, err);
    return model ? store_resolve_model(model, path, err)
                 : store_resolve_other(path_or_name, path, err);
}

static bool store_take_first(void *context, const struct store_other *other)
{
    return !store_path(context, NULL, other->name, NULL);
}

bool store_preferred(struct buf *path, struct error *err)
{
    for (size_t i = 0; i < store_n_models(); i++)
        if (store_model_state(store_model_at(i), NULL) >= STORE_UNCHECKED)
            return store_resolve_model(store_model_at(i), path, err);
    buf_clear(path);
    store_others_visit(store_take_first, path);
    if (path->len)
        return true;
    return error_set(err, ERROR_NOT_FOUND,
                     "the store has no model yet; fetch the default one with: pensieve pull");
}
