/* See safetensors.h. */
#include "weights/safetensors.h"

#include "base/json_read.h"
#include "base/printable.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_HEADER_BYTES = 100000000, /* the format's own limit */
    MAX_TENSORS = 1 << 20,
    MAX_NAME_BYTES = 65535, /* what an index of names can hold */
    LENGTH_BYTES = 8,
};

struct header_reader {
    struct safetensors *s;
    struct json_reader json; /* over the file up to the header's end */
    uint64_t size;           /* of the file */
    size_t n_room;
    struct arena *names;
    struct error *err;
};

const char *safetensors_type_name(enum safetensors_type type)
{
    static const char *const names[] = {
#define X(name, bits) #name,
        SAFETENSORS_TYPES(X)
#undef X
    };
    return names[type];
}

static uint64_t type_bits(enum safetensors_type type)
{
    static const uint8_t bits_of[] = {
#define X(name, bits) bits,
        SAFETENSORS_TYPES(X)
#undef X
    };
    return bits_of[type];
}

/* An error of a tensor. */
static bool fail_tensor(struct header_reader *r, const struct safetensors_tensor *t, uint64_t at,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

static bool fail_tensor(struct header_reader *r, const struct safetensors_tensor *t, uint64_t at,
                        const char *format, ...)
{
    char text[160], name[72];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printable_copy(name, sizeof name, t->name, t->name_len);
    return error_at(r->err, ERROR_FORMAT, (int64_t)at, "tensor \"%s\" %s", name, text);
}

/* ---- one tensor's description ---- */

static bool header_out_of_memory(struct header_reader *r)
{
    return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
}

static bool header_string_is(const struct json_reader *j, const char *text)
{
    return j->value_len == strlen(text) && !memcmp(j->value, text, j->value_len);
}

static bool header_type(struct header_reader *r, struct safetensors_tensor *t)
{
    struct json_reader *j = &r->json;
    enum json_read_event event = json_read_next(j);
    if (event == JSON_READ_FAILED)
        return false;
    if (event != JSON_READ_STRING)
        return json_read_fail(j, "its dtype is not a string");
    for (int i = 0; i < SAFETENSORS_N_TYPES; i++)
        if (header_string_is(j, safetensors_type_name((enum safetensors_type)i))) {
            t->type = (enum safetensors_type)i;
            return true;
        }
    char name[40];
    printable_copy(name, sizeof name, j->value, j->value_len);
    return json_read_fail(j, "its dtype \"%s\" is unknown", name);
}

/* An array of at most `max` whole numbers. */
static bool header_numbers(struct header_reader *r, const char *what, uint64_t *out, uint32_t max,
                           uint32_t *n)
{
    struct json_reader *j = &r->json;
    enum json_read_event event = json_read_next(j);
    *n = 0;
    if (event != JSON_READ_ARRAY)
        return event != JSON_READ_FAILED && json_read_fail(j, "its %s is not an array", what);
    while ((event = json_read_next(j)) == JSON_READ_NUMBER) {
        if (*n == max)
            return json_read_fail(j, "its %s has more than %" PRIu32 " numbers", what, max);
        if (!json_read_uint(j->value, j->value_len, &out[*n]))
            return json_read_fail(j, "its %s has a number that none can be", what);
        ++*n;
    }
    if (event != JSON_READ_ARRAY_END)
        return event != JSON_READ_FAILED && json_read_fail(j, "its %s is not of numbers", what);
    return true;
}

static bool header_place(struct header_reader *r, struct safetensors_tensor *t)
{
    uint64_t offsets[2];
    uint32_t n;
    if (!header_numbers(r, "data_offsets", offsets, 2, &n))
        return false;
    if (n != 2 || offsets[1] < offsets[0])
        return json_read_fail(&r->json, "its data_offsets are not a begin and an end");
    t->begin = offsets[0];
    t->end = offsets[1];
    return true;
}

/* The members that a description must have. */
enum { HAS_TYPE = 1, HAS_SHAPE = 2, HAS_PLACE = 4, HAS_ALL = 7 };

/* The member whose name was just read. Others than the three may be there. */
static bool header_member(struct header_reader *r, struct safetensors_tensor *t, unsigned *has)
{
    struct json_reader *j = &r->json;
    unsigned is = header_string_is(j, "dtype")          ? HAS_TYPE
                  : header_string_is(j, "shape")        ? HAS_SHAPE
                  : header_string_is(j, "data_offsets") ? HAS_PLACE
                                                        : 0;
    if (*has & is)
        return json_read_fail(j, "it has two members \"%.*s\"", (int)j->value_len, j->value);
    *has |= is;
    if (is == HAS_TYPE)
        return header_type(r, t);
    if (is == HAS_SHAPE)
        return header_numbers(r, "shape", t->shape, SAFETENSORS_MAX_DIMS, &t->n_dims);
    return is ? header_place(r, t) : json_read_skip(j, JSON_READ_KEY);
}

/* The shape's size is that of the place. */
static bool header_check_size(struct header_reader *r, const struct safetensors_tensor *t)
{
    uint64_t n_bits = type_bits(t->type);
    bool fits = true;
    for (uint32_t i = 0; i < t->n_dims; i++)
        fits = fits && !__builtin_mul_overflow(n_bits, t->shape[i], &n_bits);
    if (!fits)
        return json_read_fail(&r->json, "its shape multiplies to more than any file can hold");
    if (n_bits % 8 || n_bits / 8 != t->end - t->begin)
        return json_read_fail(
            &r->json,
            "its shape takes %" PRIu64 " bytes of %s, its data_offsets are %" PRIu64 " apart",
            n_bits / 8 + (n_bits % 8 != 0), safetensors_type_name(t->type), t->end - t->begin);
    return true;
}

static bool header_description(struct header_reader *r, struct safetensors_tensor *t)
{
    struct json_reader *j = &r->json;
    enum json_read_event event = json_read_next(j);
    unsigned has = 0;
    if (event != JSON_READ_OBJECT)
        return event != JSON_READ_FAILED && json_read_fail(j, "its description is not an object");
    while ((event = json_read_next(j)) == JSON_READ_KEY)
        if (!header_member(r, t, &has))
            return false;
    if (event == JSON_READ_FAILED)
        return false;
    if (has != HAS_ALL)
        return json_read_fail(j, "it has no %s",
                              !(has & HAS_TYPE)    ? "dtype"
                              : !(has & HAS_SHAPE) ? "shape"
                                                   : "data_offsets");
    return header_check_size(r, t);
}

/* ---- the header ---- */

static bool header_name(struct header_reader *r, struct safetensors_tensor *t)
{
    struct json_reader *j = &r->json;
    if (!j->value_len || j->value_len > MAX_NAME_BYTES)
        return json_read_fail(j, "the name of tensor %zu has %zu bytes", r->s->n_tensors,
                              j->value_len);
    char *name = arena_copy(r->names, j->value, j->value_len);
    if (!name)
        return header_out_of_memory(r);
    t->name = name;
    t->name_len = j->has_escapes ? json_read_unescape(name, j->value_len, name) : j->value_len;
    name[t->name_len] = '\0';
    if (memchr(name, 0, t->name_len))
        return json_read_fail(j, "the name of tensor %zu has a zero byte", r->s->n_tensors);
    return true;
}

/* The tensor whose name was just read. */
static bool header_tensor(struct header_reader *r)
{
    struct safetensors *s = r->s;
    if (s->n_tensors == MAX_TENSORS)
        return json_read_fail(&r->json, "more than %d tensors", MAX_TENSORS);
    if (s->n_tensors == r->n_room) {
        size_t n_room = r->n_room ? r->n_room * 2 : 256;
        void *tensors = realloc(s->tensors, n_room * sizeof *s->tensors);
        if (!tensors)
            return header_out_of_memory(r);
        s->tensors = tensors;
        r->n_room = n_room;
    }
    struct safetensors_tensor *t = &s->tensors[s->n_tensors];
    *t = (struct safetensors_tensor){0};
    if (!header_name(r, t))
        return false;
    s->n_tensors++;
    if (header_description(r, t))
        return true;
    char name[72];
    printable_copy(name, sizeof name, t->name, t->name_len);
    return error_prefix(r->err, "tensor \"%s\"", name);
}

/* "__metadata__": strings, of which only who has written the file is of interest. */
static bool header_metadata(struct header_reader *r)
{
    struct json_reader *j = &r->json;
    enum json_read_event event = json_read_next(j);
    if (event != JSON_READ_OBJECT)
        return event != JSON_READ_FAILED && json_read_fail(j, "__metadata__ is not an object");
    while ((event = json_read_next(j)) == JSON_READ_KEY) {
        bool is_format = header_string_is(j, "format");
        if ((event = json_read_next(j)) != JSON_READ_STRING)
            return event != JSON_READ_FAILED &&
                   json_read_fail(j, "__metadata__ has a value that is not a string");
        r->s->is_mlx |= is_format && header_string_is(j, "mlx");
    }
    return event != JSON_READ_FAILED;
}

static bool header_read(struct header_reader *r)
{
    struct json_reader *j = &r->json;
    enum json_read_event event = json_read_next(j);
    bool has_metadata = false;
    if (event != JSON_READ_OBJECT)
        return event != JSON_READ_FAILED && json_read_fail(j, "the header is not a JSON object");
    while ((event = json_read_next(j)) == JSON_READ_KEY) {
        bool is_metadata = header_string_is(j, "__metadata__");
        if (is_metadata && has_metadata)
            return json_read_fail(j, "__metadata__ appears twice");
        has_metadata |= is_metadata;
        if (!(is_metadata ? header_metadata(r) : header_tensor(r)))
            return false;
    }
    return event != JSON_READ_FAILED && json_read_next(j) == JSON_READ_END;
}

/* ---- where they lie ---- */

static int place_order(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Sorted by place, each tensor begins where the one before it ends, and the last with the file. */
static bool header_check_places(struct header_reader *r)
{
    struct safetensors *s = r->s;
    uint64_t n_data = r->size - s->data_begin, at = 0;
    if (s->n_tensors)
        qsort(s->tensors, s->n_tensors, sizeof *s->tensors, place_order);
    for (size_t i = 0; i < s->n_tensors; i++) {
        struct safetensors_tensor *t = &s->tensors[i];
        char before[72] = "";
        if (i)
            printable_copy(before, sizeof before, t[-1].name, t[-1].name_len);
        if (t->begin < at)
            return fail_tensor(r, t, s->data_begin + t->begin, "begins inside tensor \"%s\"",
                               before);
        if (t->begin > at)
            return fail_tensor(r, t, s->data_begin,
                               "begins at byte %" PRIu64
                               " of the data, but what is before it ends at "
                               "%" PRIu64,
                               t->begin, at);
        at = t->end;
        if (at > n_data)
            return fail_tensor(r, t, r->size,
                               "ends at byte %" PRIu64
                               " of the data, of which the file has %" PRIu64 ": it is cut",
                               at, n_data);
        t->begin += s->data_begin;
        t->end += s->data_begin;
    }
    if (at < n_data)
        return error_at(r->err, ERROR_FORMAT, (int64_t)(s->data_begin + at),
                        "%" PRIu64 " bytes behind the last tensor belong to none", n_data - at);
    return true;
}

static bool header_length(struct header_reader *r, const uint8_t *data, uint64_t *length)
{
    if (r->size < LENGTH_BYTES)
        return error_at(r->err, ERROR_FORMAT, (int64_t)r->size,
                        "a file of %" PRIu64 " bytes is no safetensors file", r->size);
    memcpy(length, data, LENGTH_BYTES);
    if (*length > r->size - LENGTH_BYTES)
        return error_at(r->err, ERROR_FORMAT, 0,
                        "the header should have %" PRIu64 " bytes, the file has %" PRIu64, *length,
                        r->size);
    if (*length > MAX_HEADER_BYTES)
        return error_at(r->err, ERROR_TOO_LARGE, 0,
                        "the header has %" PRIu64 " bytes, %d are the most", *length,
                        MAX_HEADER_BYTES);
    return true;
}

bool safetensors_read(struct safetensors *out, const uint8_t *data, uint64_t size,
                      struct arena *names, struct error *err)
{
    *out = (struct safetensors){0};
    struct header_reader r = {.s = out, .size = size, .names = names, .err = err};
    uint64_t length = 0;
    if (!header_length(&r, data, &length))
        return false;
    out->data_begin = LENGTH_BYTES + length;
    json_read_init(&r.json, (const char *)data, (size_t)out->data_begin, err);
    r.json.at = LENGTH_BYTES;
    if (header_read(&r) && header_check_places(&r))
        return true;
    safetensors_deinit(out);
    return false;
}

void safetensors_deinit(struct safetensors *s)
{
    free(s->tensors);
    *s = (struct safetensors){0};
}
