/* Reads GGUF v2 and v3 (github.com/ggml-org/ggml, docs/gguf.md), little-endian: a header, typed
 * metadata, a table of tensors, then their data. Every number is the file's claim until it was
 * checked against the file's size. Knows the meaning of no key but general.alignment and
 * split.count. */
#include "weights/file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place, little-endian");

/* Limits far above any real file; they bound the memory that a file's tables take. */
enum {
    MAX_META = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_NAME_BYTES = 65535, /* of a key, by the format; real tensors' names are much shorter */
    MIN_META_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8,
    MIN_ALIGNMENT = 8,
    DEFAULT_ALIGNMENT = 32,
};

/* Where the reader is, and in what, for the sentence of an error. */
struct reader {
    struct weights *w;
    struct error *err;
    uint64_t at;      /* the next byte; never past w->size */
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
    return r->w->size - r->at;
}

static bool take(struct reader *r, void *to, size_t n)
{
    if (remaining(r) < n)
        return fail(r, ERROR_FORMAT, r->at, "the file is cut here, it has %" PRIu64 " bytes",
                    r->w->size);
    memcpy(to, r->w->data + r->at, n);
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
                    r->w->size);
    *out = (struct weights_string){(const char *)r->w->data + r->at, (size_t)len};
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
    if (out->len > MAX_NAME_BYTES)
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
    if (*out >= FILE_N_VALUE_TYPES)
        return fail(r, ERROR_FORMAT, at, "unknown value type %" PRIu32, *out);
    return true;
}

static bool skip_numbers(struct reader *r, const struct file_meta *meta)
{
    size_t size = file_value_bytes(meta->type);
    if (meta->n_items > remaining(r) / size)
        return fail(r, ERROR_FORMAT, r->at,
                    "%" PRIu64 " values of %zu bytes reach past the file's end at %" PRIu64,
                    meta->n_items, size, r->w->size);
    if (meta->type == FILE_BOOL) {
        for (uint64_t i = 0; i < meta->n_items; i++)
            if (r->w->data[r->at + i] > 1)
                return fail(r, ERROR_FORMAT, r->at + i, "a bool is %u", r->w->data[r->at + i]);
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
                    r->w->size);
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
    if (type == FILE_ARRAY) {
        meta->is_array = true;
        at = r->at;
        if (!take_value_type(r, &type))
            return false;
        if (type == FILE_ARRAY)
            return fail(r, ERROR_UNSUPPORTED, at, "arrays of arrays are not supported");
        if (!take_u64(r, &meta->n_items))
            return false;
    }
    meta->type = type;
    meta->at = r->at;
    return type == FILE_STRING ? skip_strings(r, meta) : skip_numbers(r, meta);
}

/* Adds number `number` under a name that must be new. */
static bool add_name(struct reader *r, struct name_index *index, const char *name, size_t len,
                     uint64_t at)
{
    if (name_index_find(index, name, len) != NAME_INDEX_NONE)
        return fail(r, ERROR_FORMAT, at, "the name appears twice");
    if (!name_index_add(index, name, len, (uint32_t)r->number))
        return fail(r, ERROR_NO_MEMORY, at, "out of memory");
    return true;
}

static bool read_meta(struct reader *r, uint64_t n)
{
    struct weights *w = r->w;
    if (n && !(w->meta = calloc((size_t)n, sizeof *w->meta)))
        return fail(r, ERROR_NO_MEMORY, r->at, "out of memory for %" PRIu64 " entries", n);
    while (w->n_meta < n) {
        struct file_meta *meta = &w->meta[w->n_meta];
        begin(r, "metadata entry", w->n_meta++);
        uint64_t at = r->at;
        if (!take_name(r, &meta->key) ||
            !add_name(r, &w->meta_index, meta->key.data, meta->key.len, at) || !take_value(r, meta))
            return false;
    }
    return true;
}

/* The names of types that exist but have no decoder here, so that a refusal can say which it is. */
static const char *foreign_type_name(uint32_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1",    [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S",  [21] = "IQ3_S", [22] = "IQ2_S",  [24] = "I8",     [25] = "I16",
        [26] = "I32",    [27] = "I64",  [28] = "F64",     [29] = "IQ1_M",  [34] = "TQ1_0",
        [35] = "TQ2_0",
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

static bool read_tensor(struct reader *r, struct weights_tensor *tensor, uint64_t *offset)
{
    struct weights_string name;
    uint64_t at = r->at;
    if (!take_name(r, &name))
        return false;
    tensor->name = arena_copy(&r->w->names, name.data, name.len);
    if (!tensor->name)
        return fail(r, ERROR_NO_MEMORY, at, "out of memory");
    return add_name(r, &r->w->tensor_index, tensor->name, name.len, at) && take_shape(r, tensor) &&
           take_type(r, tensor) && take_u64(r, offset);
}

static bool read_alignment(struct reader *r, uint64_t *out)
{
    struct weights *w = r->w;
    static const char key[] = "general.alignment";
    *out = DEFAULT_ALIGNMENT;
    uint32_t number = name_index_find(&w->meta_index, key, sizeof key - 1);
    if (number == NAME_INDEX_NONE)
        return true;
    if (!weights_uint(w, key, out) || *out < MIN_ALIGNMENT || *out > UINT32_MAX ||
        (*out & (*out - 1)))
        return fail(r, ERROR_FORMAT, w->meta[number].at,
                    "general.alignment is not a power of two from %d", MIN_ALIGNMENT);
    return true;
}

/* Turns the offsets of all tensors, counted from the data's begin, into pointers, or says how far
 * the file would have to reach. */
static bool place_tensors(struct reader *r, const uint64_t *offsets)
{
    struct weights *w = r->w;
    uint64_t alignment, furthest = 0, end, begin_at;
    begin(r, NULL, 0);
    if (!read_alignment(r, &alignment))
        return false;
    begin_at = (r->at + alignment - 1) / alignment * alignment; /* r->at is a file's size at most */
    const struct weights_tensor *last = NULL;
    for (size_t i = 0; i < w->n_tensors; i++) {
        struct weights_tensor *tensor = &w->tensors[i];
        begin(r, "tensor", i);
        set_name(r, tensor->name, strlen(tensor->name));
        if (offsets[i] % alignment)
            return fail(r, ERROR_FORMAT, r->at,
                        "its offset %" PRIu64 " is not a multiple of the alignment %" PRIu64,
                        offsets[i], alignment);
        if (__builtin_add_overflow(begin_at, offsets[i], &end) ||
            __builtin_add_overflow(end, tensor->n_bytes, &end) || end > INT64_MAX)
            return fail(r, ERROR_FORMAT, r->at,
                        "offset %" PRIu64 " and size %" PRIu64 " are more than any file can hold",
                        offsets[i], tensor->n_bytes);
        if (end > furthest) {
            furthest = end;
            last = tensor;
        }
        if (end <= w->size)
            tensor->data = w->data + begin_at + offsets[i];
    }
    if (furthest <= w->size)
        return true;
    set_name(r, last->name, strlen(last->name));
    r->part = NULL;
    return fail(r, ERROR_FORMAT, w->size,
                "the file is cut: tensor %s ends at byte %" PRIu64 ", the file has %" PRIu64,
                r->name, furthest, w->size);
}

static bool read_tensors(struct reader *r, uint64_t n)
{
    struct weights *w = r->w;
    if (!n)
        return place_tensors(r, NULL);
    uint64_t *offsets = calloc((size_t)n, sizeof *offsets);
    w->tensors = calloc((size_t)n, sizeof *w->tensors);
    bool ok = offsets && w->tensors;
    if (!ok)
        fail(r, ERROR_NO_MEMORY, r->at, "out of memory for %" PRIu64 " tensors", n);
    while (ok && w->n_tensors < n) {
        size_t i = w->n_tensors++;
        begin(r, "tensor", i);
        ok = read_tensor(r, &w->tensors[i], &offsets[i]);
    }
    ok = ok && place_tensors(r, offsets);
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
                    *out, what, r->w->size);
    return true;
}

static bool refuse_split(struct reader *r)
{
    uint64_t n_files;
    if (!weights_uint(r->w, "split.count", &n_files) || n_files <= 1)
        return true;
    begin(r, NULL, 0);
    return fail(r, ERROR_UNSUPPORTED, r->at,
                "the model is split over %" PRIu64 " files; join them into one first", n_files);
}

bool gguf_read(struct weights *w, struct error *err)
{
    struct reader r = {.w = w, .err = err};
    uint64_t n_tensors = 0, n_meta = 0;
    return read_version(&r) &&
           take_count(&r, &n_tensors, "tensors", MAX_TENSORS, MIN_TENSOR_BYTES) &&
           take_count(&r, &n_meta, "metadata entries", MAX_META, MIN_META_BYTES) &&
           read_meta(&r, n_meta) && refuse_split(&r) && read_tensors(&r, n_tensors);
}
