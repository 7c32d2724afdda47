/* Opening GGUF: one file, or all parts of a split one (github.com/ggml-org/llama.cpp,
 * tools/gguf-split): <name>-00001-of-0000N.gguf, each a GGUF file with a share of the tensors, the
 * first with the metadata. In each split.no counts from 0, split.count is N and
 * split.tensors.count the sum over all parts. */
#include "weights/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct split_name {
    size_t stem_len; /* of the name, up to "-00001-of-" */
    uint32_t no;     /* from 1 */
    uint32_t count;
};

/* Five digits at `at` in a name that is long enough. */
static bool split_digits(const char *at, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(at[i] - '0');
    }
    return true;
}

/* False for a name that is none of a part. */
static bool split_parse(const char *name, struct split_name *out)
{
    static const char shape[] = "-00001-of-00001.gguf";
    size_t len = strlen(name), n = sizeof shape - 1;
    if (len < n)
        return false;
    const char *at = name + len - n;
    out->stem_len = len - n;
    return at[0] == '-' && split_digits(at + 1, &out->no) && !memcmp(at + 6, "-of-", 4) &&
           split_digits(at + 10, &out->count) && !strcmp(at + 15, ".gguf");
}

static bool split_number(const struct file_meta_table *meta, const char *key, uint64_t *out)
{
    const struct file_meta *found = file_meta_find(meta, key, false);
    return found && file_meta_uint(meta, found, out);
}

/* Whether a part says of itself what its name says. */
static bool split_check(const struct file_meta_table *meta, const struct split_name *name,
                        uint64_t *n_tensors, struct error *err)
{
    uint64_t no, count;
    if (!split_number(meta, "split.no", &no) || !split_number(meta, "split.count", &count) ||
        !split_number(meta, "split.tensors.count", n_tensors))
        return error_at(err, ERROR_FORMAT, 0,
                        "it is named like part %" PRIu32 " of %" PRIu32
                        ", but says nothing of a split",
                        name->no, name->count);
    if (no != name->no - 1 || count != name->count)
        return error_at(err, ERROR_FORMAT, 0,
                        "it says that it is part number %" PRIu64 " (from 0) of %" PRIu64
                        ", its name says %" PRIu32 " (from 1) of %" PRIu32,
                        no, count, name->no, name->count);
    return true;
}

/* Opens and reads part `no`. */
static bool split_read_part(struct weights *w, const struct file_source *s, const char *name,
                            const struct split_name *split, uint64_t *n_tensors, struct error *err)
{
    char part[4096];
    struct split_name at = *split;
    if (!file_add_part(w, s, name, err))
        return false;
    struct file_meta_table other = {0}, *meta = w->n_parts == 1 ? &w->meta : &other;
    snprintf(part, sizeof part, "%s", w->parts[w->n_parts - 1].path);
    at.no = (uint32_t)w->n_parts;
    bool ok = gguf_read(w, w->n_parts - 1, meta, err) && split_check(meta, &at, n_tensors, err);
    file_meta_deinit(&other);
    return ok || file_error(err, part);
}

static bool split_open(struct weights *w, const struct file_source *s, const char *name,
                       const struct split_name *split, struct error *err)
{
    char part[1024];
    uint64_t n_tensors = 0, n_said = 0;
    if (!split->no || split->no > split->count || split->count > FILE_MAX_PARTS ||
        split->stem_len > sizeof part - 32)
        return error_set(err, ERROR_FORMAT, "%.120s: a part %" PRIu32 " of %" PRIu32 " cannot be",
                         name, split->no, split->count);
    for (uint32_t i = 1; i <= split->count; i++) {
        snprintf(part, sizeof part, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf",
                 (int)split->stem_len, name, i, split->count);
        if (!split_read_part(w, s, part, split, &n_said, err))
            return false;
        n_tensors = i == 1 ? n_said : n_tensors;
        if (n_said != n_tensors)
            return error_set(err, ERROR_FORMAT,
                             "%.120s: it says that all parts have %" PRIu64
                             " tensors, the first says %" PRIu64,
                             part, n_said, n_tensors);
    }
    if (n_tensors != w->n_tensors)
        return error_set(err, ERROR_FORMAT,
                         "%.120s: all parts should have %" PRIu64 " tensors, they have %zu", name,
                         n_tensors, w->n_tensors);
    return true;
}

/* A file that is no part by its name must be none by its word. */
static bool split_refuse(const struct weights *w, struct error *err)
{
    uint64_t count;
    if (!split_number(&w->meta, "split.count", &count) || count <= 1)
        return true;
    return error_at(err, ERROR_UNSUPPORTED, 0,
                    "the model is split over %" PRIu64
                    " files, which are found by their names alone: <name>-00001-of-%05" PRIu64
                    ".gguf",
                    count, count);
}

bool gguf_open(struct weights *w, const struct file_source *s, const char *name, struct error *err)
{
    struct split_name split;
    if (split_parse(name, &split) && split.count != 1)
        return split_open(w, s, name, &split, err);
    if (!file_add_part(w, s, name, err))
        return false;
    return (gguf_read(w, 0, &w->meta, err) && split_refuse(w, err)) ||
           file_error(err, w->parts[0].path);
}
