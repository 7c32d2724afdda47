/* Reads GGUF v2 and v3 (github.com/ggml-org/ggml, docs/gguf.md), little-endian: a header, typed
 * metadata, a table of tensors, then their data. Every number is the file's claim until it was
 * checked against the file's size. Knows the meaning of no key but general.alignment. */
#include "weights/file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place, little-endian");

enum {
    MAX_META = 1 << 16, /* far above any real file's; it bounds the memory that the table takes */
    MIN_META_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
    MIN_ALIGNMENT = 8,
    DEFAULT_ALIGNMENT = 32,
};

/* Where the reader is, and in what, for the sentence of an error. */
struct reader {
    struct weights *w;
    struct file_part *file;
    struct file_meta_table *meta;
    struct error *err;
    uint64_t at;      /* the next byte; never past the file's size */
    const char *part; /* "metadata entry" or "tensor"; NULL in the header */
    uint64_t number;  /* of that entry or tensor, from 0 */
    char name[72];    /* its name, fit for printing; empty before it is known */
};

static bool fail(struct reader *r, enum error_code code, uint64_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool fail(struct reader *r, enum error_code code, uint64_t at, const char *format, ...)
{
    char text[224];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_at(r->err, code, (int64_t)at, "byte %" PRIu64 ": %s", at, text);
    if (r->part && r->name[0])
        return error_prefix(r->err, "%s %s", r->part, r->name);
    return r->part ? error_prefix(r->err, "%s %" PRIu64, r->part, r->number) : false;
}

static void begin(struct reader *r, const char *part, uint64_t number)
{
    r->part = part;
    r->number = number;
    r->name[0] = '\0';
}

/* Quotes a name for error messages: printable ASCII, cut when long. */
static void set_name(struct reader *r, const char *name, size_t len)
{
    size_t max = sizeof r->name - 6;
    size_t n = len < max ? len : max;
    char *to = r->name;
    *to++ = '"';
    for (size_t i = 0; i < n; i++)
        *to++ = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
    memcpy(to, n < len ? "\"..." : "\"", n < len ? 5 : 2);
}

static uint64_t remaining(const struct reader *r)
{
    return r->file->size - r->at;
}

static bool take(struct reader *r, void *to, size_t n)
{
    if (remaining(r) < n)
        return fail(r, ERROR_FORMAT, r->at, "the file is cut here, it has %" PRIu64 " bytes",
                    r->file->size);
    memcpy(to, r->file->data + r->at, n);
    r->at += n;
    return true;
}

static bool take_u32(struct reader *r, uint32_t *out)
{
    *out = 0; /* defined after a failure, too */
    return take(r, out, sizeof *out);
}

static bool take_u64(struct reader *r, uint64_t *out)
{
    *out = 0; /* defined after a failure, too */
    return take(r, out, sizeof *out);
}

static bool take_string(struct reader *r, struct weights_string *out)
{
    uint64_t at = r->at, len;
    if (!take_u64(r, &len))
        return false;
    if (len > remaining(r))
        return fail(r, ERROR_FORMAT, at,
                    "a string of %" PRIu64 " bytes reaches past the file's end at %" PRIu64, len,
                    r->file->size);
    *out = (struct weights_string){(const char *)r->file->data + r->at, (size_t)len};
    r->at += len;
    return true;
}

/* A key or a tensor's name: what an index can hold and a C string can say. */
static bool take_name(struct reader *r, struct weights_string *out)
{
    uint64_t at = r->at;
    if (!take_string(r, out))
        return false;
    if (!out->len)
        return fail(r, ERROR_FORMAT, at, "the name is empty");
    if (out->len > FILE_MAX_NAME_BYTES)
        return fail(r, ERROR_FORMAT, at, "the name is too long (%zu bytes)", out->len);
    set_name(r, out->data, out->len);
    if (memchr(out->data, 0, out->len))
        return fail(r, ERROR_FORMAT, at, "the name has a zero byte");
    return true;
}

static bool take_value_type(struct reader *r, uint32_t *out)
{
    uint64_t at = r->at;
    if (!take_u32(r, out))
        return false;
    if (*out >= GGUF_N_VALUE_TYPES)
        return fail(r, ERROR_FORMAT, at, "unknown value type %" PRIu32, *out);
    return true;
}

static bool skip_numbers(struct reader *r, const struct file_meta *meta)
{
    size_t size = file_value_bytes(meta->type);
    if (meta->n_items > remaining(r) / size)
        return fail(r, ERROR_FORMAT, r->at,
                    "%" PRIu64 " values of %zu bytes reach past the file's end at %" PRIu64,
                    meta->n_items, size, r->file->size);
    if (meta->type == GGUF_BOOL) {
        for (uint64_t i = 0; i < meta->n_items; i++)
            if (r->file->data[r->at + i] > 1)
                return fail(r, ERROR_FORMAT, r->at + i, "a bool is %u", r->file->data[r->at + i]);
    }
    r->at += meta->n_items * size;
    return true;
}

/* Steps over strings of an array and remembers where each is: 8 bytes of memory for each length
 * field. */
static bool skip_strings(struct reader *r, struct file_meta *meta)
{
    struct weights_string unused;
    if (!meta->is_array)
        return take_string(r, &unused);
    if (meta->n_items > remaining(r) / 8)
        return fail(r, ERROR_FORMAT, r->at,
                    "%" PRIu64 " strings reach past the file's end at %" PRIu64, meta->n_items,
                    r->file->size);
    if (!meta->n_items)
        return true;
    meta->string_at = malloc((size_t)meta->n_items * sizeof *meta->string_at);
    if (!meta->string_at)
        return fail(r, ERROR_NO_MEMORY, r->at, "out of memory for %" PRIu64 " strings",
                    meta->n_items);
    for (uint64_t i = 0; i < meta->n_items; i++) {
        meta->string_at[i] = r->at;
        if (!take_string(r, &unused))
            return false;
    }
    return true;
}

static bool take_value(struct reader *r, struct file_meta *meta)
{
    uint64_t at = r->at;
    uint32_t type;
    if (!take_value_type(r, &type))
        return false;
    meta->n_items = 1;
    if (type == GGUF_ARRAY) {
        meta->is_array = true;
        at = r->at;
        if (!take_value_type(r, &type))
            return false;
        if (type == GGUF_ARRAY)
            return fail(r, ERROR_UNSUPPORTED, at, "arrays of arrays are not supported");
        if (!take_u64(r, &meta->n_items))
            return false;
    }
    meta->type = type;
    meta->at = r->at;
    return type == GGUF_STRING ? skip_strings(r, meta) : skip_numbers(r, meta);
}

/* Adds number `number` under a name that must be new. */
static bool add_name(struct reader *r, struct name_index *index, const char *name, size_t len,
                     size_t number, uint64_t at)
{
    if (name_index_find(index, name, len) != NAME_INDEX_NONE)
        return fail(r, ERROR_FORMAT, at, "the name appears twice");
    if (!name_index_add(index, name, len, (uint32_t)number))
        return fail(r, ERROR_NO_MEMORY, at, "out of memory");
    return true;
}

static bool read_meta(struct reader *r, uint64_t n)
{
    struct file_meta_table *table = r->meta;
    if (n && !(table->items = calloc((size_t)n, sizeof *table->items)))
        return fail(r, ERROR_NO_MEMORY, r->at, "out of memory for %" PRIu64 " entries", n);
    while (table->n < n) {
        struct file_meta *meta = &table->items[table->n];
        begin(r, "metadata entry", table->n);
        uint64_t at = r->at;
        table->n++;
        if (!take_name(r, &meta->key) ||
            !add_name(r, &table->index, meta->key.data, meta->key.len, table->n - 1, at) ||
            !take_value(r, meta))
            return false;
    }
    return true;
}

/* The names of types that exist but have no decoder here, so that a refusal can say which it is. */
static const char *foreign_type_name(uint32_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1", [15] = "Q8_K", [24] = "I8",  [25] = "I16",
        [26] = "I32", [27] = "I64",  [28] = "F64",
    };
    const char *name = type < sizeof names / sizeof *names ? names[type] : NULL;
    return name ? name : "unknown";
}

static bool take_shape(struct reader *r, struct weights_tensor *tensor)
{
    uint64_t at = r->at;
    if (!take_u32(r, &tensor->n_dims))
        return false;
    if (tensor->n_dims > 4)
        return fail(r, ERROR_FORMAT, at, "%" PRIu32 " dimensions, at most 4 are possible",
                    tensor->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        tensor->shape[i] = 1;
        at = r->at;
        if (i < tensor->n_dims && !take_u64(r, &tensor->shape[i]))
            return false;
        if (!tensor->shape[i])
            return fail(r, ERROR_FORMAT, at, "dimension %" PRIu32 " is 0", i);
    }
    return true;
}

static bool take_type(struct reader *r, struct weights_tensor *tensor)
{
    uint64_t at = r->at;
    uint32_t type;
    if (!take_u32(r, &type))
        return false;
    const struct quant_traits *traits = quant_traits(type);
    if (!traits || traits->n_parts > 1)
        return fail(r, ERROR_UNSUPPORTED, at,
                    "its type is %s (number %" PRIu32 "), which this build cannot decode",
                    foreign_type_name(type), type);
    if (tensor->shape[0] % traits->block_elements)
        return fail(r, ERROR_FORMAT, at,
                    "rows of %" PRIu64 " elements are not whole blocks of %s (%" PRIu32 ")",
                    tensor->shape[0], traits->name, traits->block_elements);
    tensor->type = (enum quant_type)type;
    tensor->type_name = traits->name;
    uint64_t n_elements = 1;
    bool fits = true;
    for (int i = 0; i < 4; i++)
        fits = fits && !__builtin_mul_overflow(n_elements, tensor->shape[i], &n_elements);
    fits = fits && !__builtin_mul_overflow(n_elements / traits->block_elements,
                                           (uint64_t)traits->block_bytes, &tensor->n_bytes);
    if (!fits || n_elements > INT64_MAX)
        return fail(r, ERROR_FORMAT, at, "its dimensions multiply to more than any file can hold");
    return true;
}

/* Tensor `number` of all files. */
static bool read_tensor(struct reader *r, size_t number, uint64_t *offset)
{
    struct weights_tensor *tensor = &r->w->tensors[number];
    struct weights_string name;
    uint64_t at = r->at;
    if (!take_name(r, &name))
        return false;
    tensor->name = arena_copy(&r->w->names, name.data, name.len);
    if (!tensor->name)
        return fail(r, ERROR_NO_MEMORY, at, "out of memory");
    tensor->file = (uint32_t)(r->file - r->w->parts);
    return add_name(r, &r->w->tensor_index, tensor->name, name.len, number, at) &&
           take_shape(r, tensor) && take_type(r, tensor) && take_u64(r, offset);
}

static bool read_alignment(struct reader *r, uint64_t *out)
{
    static const char key[] = "general.alignment";
    const struct file_meta *meta = file_meta_find(r->meta, key, false);
    *out = DEFAULT_ALIGNMENT;
    if (!meta)
        meta = file_meta_find(r->meta, key, true);
    if (!meta)
        return true;
    if (meta->is_array || !file_meta_uint(r->meta, meta, out) || *out < MIN_ALIGNMENT ||
        *out > UINT32_MAX || (*out & (*out - 1)))
        return fail(r, ERROR_FORMAT, meta->at, "%s is not a power of two from %d", key,
                    MIN_ALIGNMENT);
    return true;
}

/* Turns a tensor's offset, counted from the data's begin, into a pointer, if it ends in the file;
 * and says where it ends. */
static bool place_tensor(struct reader *r, struct weights_tensor *tensor, uint64_t offset,
                         uint64_t *end)
{
    uint64_t begin_at = r->file->data_begin;
    if (__builtin_add_overflow(begin_at, offset, end) ||
        __builtin_add_overflow(*end, tensor->n_bytes, end) || *end > INT64_MAX)
        return fail(r, ERROR_FORMAT, r->at,
                    "offset %" PRIu64 " and size %" PRIu64 " are more than any file can hold",
                    offset, tensor->n_bytes);
    if (*end <= r->file->size)
        tensor->data = r->file->data + begin_at + offset;
    return true;
}

/* Says what is missing: an error, unless only to tell of the file is wanted. */
static bool place_cut(struct reader *r, const struct weights_tensor *last, uint64_t furthest)
{
    struct error *err = r->err, *cut = r->w->cut;
    r->err = cut ? cut : err;
    if (cut && cut->code != ERROR_NONE) /* of a file before this one */
        r->err = NULL;
    set_name(r, last->name, strlen(last->name));
    r->part = NULL;
    fail(r, ERROR_FORMAT, r->file->size,
         "the file is cut: tensor %s ends at byte %" PRIu64 ", the file has %" PRIu64, r->name,
         furthest, r->file->size);
    if (r->err == cut && cut && r->file->path)
        file_error(cut, r->file->path);
    r->err = err;
    return cut != NULL;
}

/* Places n tensors, or says how far the file would have to reach. */
static bool place_tensors(struct reader *r, struct weights_tensor *tensors, const uint64_t *offsets,
                          size_t n)
{
    uint64_t alignment, furthest = 0, end;
    begin(r, NULL, 0);
    if (!read_alignment(r, &alignment))
        return false;
    /* r->at is a file's size at most */
    r->file->data_begin = (r->at + alignment - 1) / alignment * alignment;
    const struct weights_tensor *last = NULL;
    for (size_t i = 0; i < n; i++) {
        begin(r, "tensor", i);
        set_name(r, tensors[i].name, strlen(tensors[i].name));
        if (offsets[i] % alignment)
            return fail(r, ERROR_FORMAT, r->at,
                        "its offset %" PRIu64 " is not a multiple of the alignment %" PRIu64,
                        offsets[i], alignment);
        if (!place_tensor(r, &tensors[i], offsets[i], &end))
            return false;
        if (end > furthest) {
            furthest = end;
            last = &tensors[i];
        }
    }
    return furthest <= r->file->size || place_cut(r, last, furthest);
}

static bool read_tensors(struct reader *r, size_t n)
{
    struct weights *w = r->w;
    if (!n)
        return place_tensors(r, NULL, NULL, 0);
    uint64_t *offsets = calloc(n, sizeof *offsets);
    bool ok = offsets || fail(r, ERROR_NO_MEMORY, r->at, "out of memory for %zu tensors", n);
    ok = ok && file_reserve_tensors(w, n, r->err);
    const size_t first = w->n_tensors;
    for (size_t i = 0; ok && i < n; i++) {
        begin(r, "tensor", i);
        w->tensors[w->n_tensors++] = (struct weights_tensor){0};
        ok = read_tensor(r, first + i, &offsets[i]);
    }
    ok = ok && place_tensors(r, w->tensors + first, offsets, n);
    free(offsets);
    return ok;
}

static bool read_version(struct reader *r)
{
    struct weights *w = r->w;
    char magic[4];
    if (!take(r, magic, sizeof magic))
        return false;
    if (memcmp(magic, "GGUF", 4)) {
        set_name(r, magic, 4);
        return fail(r, ERROR_FORMAT, 0, "not a GGUF file: it begins with %s", r->name);
    }
    if (!take_u32(r, &w->version))
        return false;
    if (w->version == 2 || w->version == 3)
        return true;
    if (!(w->version & 0xffff) && w->version)
        return fail(r, ERROR_UNSUPPORTED, 4,
                    "a big-endian GGUF file; this build reads little-endian ones");
    return fail(r, ERROR_UNSUPPORTED, 4,
                "GGUF version %" PRIu32 "; this build reads versions 2 and 3", w->version);
}

static bool take_count(struct reader *r, uint64_t *out, const char *what, uint64_t max,
                       uint64_t min_bytes)
{
    uint64_t at = r->at;
    if (!take_u64(r, out))
        return false;
    if (*out > max)
        return fail(r, ERROR_FORMAT, at, "%" PRIu64 " %s, at most %" PRIu64 " are possible", *out,
                    what, max);
    if (*out > remaining(r) / min_bytes)
        return fail(r, ERROR_FORMAT, at, "%" PRIu64 " %s cannot be in a file of %" PRIu64 " bytes",
                    *out, what, r->file->size);
    return true;
}

bool gguf_read(struct weights *w, size_t part, struct file_meta_table *meta, struct error *err)
{
    struct reader r = {.w = w, .file = &w->parts[part], .meta = meta, .err = err};
    uint64_t n_tensors = 0, n_meta = 0;
    meta->data = r.file->data;
    return read_version(&r) &&
           take_count(&r, &n_tensors, "tensors", FILE_MAX_TENSORS, MIN_TENSOR_BYTES) &&
           take_count(&r, &n_meta, "metadata entries", MAX_META, MIN_META_BYTES) &&
           read_meta(&r, n_meta) && read_tensors(&r, (size_t)n_tensors);
}
