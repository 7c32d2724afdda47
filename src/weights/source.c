/* Where a model's files come from: a folder, or bytes that the caller holds. Knows no format but
 * the sign of a file that only stands for another. */
#include "weights/file.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct weights_file *source_bytes(const struct file_source *s, const char *name)
{
    for (size_t i = 0; i < s->n_files; i++)
        if (!strcmp(s->files[i].name, name))
            return &s->files[i];
    return NULL;
}

static bool source_path(const struct file_source *s, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s%s", s->folder, name);
    return n >= 0 && (size_t)n < size;
}

bool source_has(const struct file_source *s, const char *name)
{
    char path[4096];
    struct stat st;
    if (s->files)
        return source_bytes(s, name) != NULL;
    return source_path(s, name, path, sizeof path) && !stat(path, &st);
}

static bool source_fits(const char *name, const char *before, const char *behind)
{
    size_t n = strlen(name), n_before = strlen(before), n_behind = strlen(behind);
    return n >= n_before + n_behind && !strncmp(name, before, n_before) &&
           !strcmp(name + n - n_behind, behind);
}

size_t source_find(const struct file_source *s, const char *before, const char *behind, char *found,
                   size_t found_size)
{
    size_t n = 0;
    if (s->files) {
        for (size_t i = 0; i < s->n_files; i++)
            if (source_fits(s->files[i].name, before, behind) && !n++)
                snprintf(found, found_size, "%s", s->files[i].name);
        return n;
    }
    DIR *dir = opendir(*s->folder ? s->folder : ".");
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (source_fits(entry->d_name, before, behind) && !n++)
            snprintf(found, found_size, "%s", entry->d_name);
    closedir(dir);
    return n;
}

/* What a clone without Git LFS leaves in a large file's place. */
static bool source_check_pointer(const struct file_part *part, struct error *err)
{
    static const char sign[] = "version https://git-lfs.github.com/spec/";
    if (part->size < sizeof sign || memcmp(part->data, sign, sizeof sign - 1) != 0)
        return true;
    error_at(err, ERROR_FORMAT, 0,
             "a Git LFS pointer stands in the file's place: fetch the file itself (git lfs pull)");
    return file_error(err, part->path);
}

bool source_open(const struct file_source *s, const char *name, struct arena *arena,
                 struct file_part *out, struct error *err)
{
    char path[4096];
    const struct weights_file *bytes = s->files ? source_bytes(s, name) : NULL;
    *out = (struct file_part){0};
    if (s->files && !bytes)
        return error_set(err, ERROR_NOT_FOUND, "there is no file %.120s", name);
    if (!source_path(s, name, path, sizeof path))
        return error_set(err, ERROR_INPUT, "the path of %.120s is too long", name);
    out->name = arena_copy(arena, name, strlen(name));
    out->path = arena_copy(arena, path, strlen(path));
    if (!out->name || !out->path)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    if (!bytes && !file_map_open(&out->map, path, err))
        return false;
    out->data = bytes ? bytes->data : out->map.data;
    out->size = bytes ? bytes->size : out->map.size;
    if (source_check_pointer(out, err))
        return true;
    file_map_close(&out->map);
    return false;
}
