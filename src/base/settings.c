/* See settings.h. Numbers are read strictly: digits from the first byte to the last. */
#include "base/settings.h"

#include "base/nearest.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const setting_yes[] = {"true", "yes", "on", "1", NULL};
static const char *const setting_no[] = {"false", "no", "off", "0", NULL};

static size_t which_of(const char *text, size_t n, const char *const *names)
{
    size_t i = 0;
    while (names[i] && (strlen(names[i]) != n || strncmp(names[i], text, n) != 0))
        i++;
    return i;
}

/* "f16, q8_0 or q4_0" */
static void name_choices(const char *const *choices, struct buf *out)
{
    for (size_t i = 0; choices[i]; i++)
        buf_printf(out, "%s%s", !i ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
}

/* ---- from text ---- */

/* A place to say what is wrong. */
struct reading {
    const struct setting *row;
    const char *called, *text;
    void *at;
    struct error *err;
};

static bool read_flag(const struct reading *r)
{
    const size_t n = strlen(r->text);
    const bool is_yes = setting_yes[which_of(r->text, n, setting_yes)] != NULL;
    if (!is_yes && !setting_no[which_of(r->text, n, setting_no)])
        return error_set(r->err, ERROR_USAGE, "%s is true or false, not '%s'", r->called, r->text);
    *(bool *)r->at = is_yes;
    return true;
}

/* Decimal digits up to `*end`; false when there are none or too many. */
static bool read_digits(const char *text, const char **end, uint64_t *value)
{
    char *after = NULL;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &after, 10);
    *end = after;
    return !errno;
}

static bool is_within(const struct setting *row, uint64_t value, double most)
{
    return (double)value >= row->min && (double)value <= (row->max > 0 ? row->max : most);
}

static bool read_uint(const struct reading *r)
{
    const double most = r->row->max > 0 ? r->row->max : UINT32_MAX;
    const char *end = NULL;
    uint64_t value;
    if (!read_digits(r->text, &end, &value) || *end || !is_within(r->row, value, UINT32_MAX))
        return error_set(r->err, ERROR_USAGE,
                         "%s must be a whole number from %.0f to %.0f, not '%s'", r->called,
                         r->row->min, most, r->text);
    *(uint32_t *)r->at = (uint32_t)value;
    return true;
}

static bool read_uint64(const struct reading *r)
{
    const char *end = NULL;
    uint64_t value;
    if (!read_digits(r->text, &end, &value) || *end)
        return error_set(r->err, ERROR_USAGE,
                         "%s must be a whole number from 0 to %" PRIu64 ", not '%s'", r->called,
                         UINT64_MAX, r->text);
    *(uint64_t *)r->at = value;
    return true;
}

static bool read_float(const struct reading *r)
{
    char *end = NULL;
    const double value = strtod(r->text, &end);
    if (end == r->text || *end || !isfinite(value) || value < r->row->min || value > r->row->max)
        return error_set(r->err, ERROR_USAGE, "%s must be a number from %g to %g, not '%s'",
                         r->called, r->row->min, r->row->max, r->text);
    *(float *)r->at = (float)value;
    return true;
}

/* ---- sizes ---- */

static const char size_units[] = "KMGT";

/* A size as short as it can be said exactly. */
static void put_size(struct buf *out, uint64_t n_bytes)
{
    size_t unit = 0;
    while (unit < 4 && n_bytes && n_bytes % 1024 == 0) {
        n_bytes /= 1024;
        unit++;
    }
    buf_printf(out, "%" PRIu64, n_bytes);
    if (unit)
        buf_putc(out, size_units[unit - 1]);
}

/* A whole number of bytes, or of KiB, MiB, GiB or TiB with their first letter behind it. */
static bool size_from_text(const char *text, uint64_t *value)
{
    const char *end = NULL;
    if (!read_digits(text, &end, value))
        return false;
    const char *unit = *end ? strchr(size_units, *end & ~0x20) : NULL;
    const unsigned shift = unit ? 10 * (unsigned)(unit - size_units + 1) : 0;
    if (unit)
        end += 1 + (!strcasecmp(end + 1, "iB") ? 2 : !strcasecmp(end + 1, "B") ? 1 : 0);
    if (*end || *value > UINT64_MAX >> shift)
        return false;
    *value <<= shift;
    return true;
}

static bool refuse_size(const struct reading *r)
{
    struct buf bounds;
    buf_init(&bounds, 96);
    if (r->row->max > 0) {
        buf_puts(&bounds, " from ");
        put_size(&bounds, (uint64_t)r->row->min);
        buf_puts(&bounds, " to ");
        put_size(&bounds, (uint64_t)r->row->max);
    }
    error_set(r->err, ERROR_USAGE, "%s must be a size%s like 512M or 8G, not '%s'", r->called,
              bounds.data ? bounds.data : "", r->text);
    buf_deinit(&bounds);
    return false;
}

static bool read_size(const struct reading *r)
{
    uint64_t value;
    if (!size_from_text(r->text, &value) || !is_within(r->row, value, (double)UINT64_MAX))
        return refuse_size(r);
    *(uint64_t *)r->at = value;
    return true;
}

/* ---- choices and lists ---- */

static bool refuse_choice(const struct reading *r, const char *before)
{
    struct buf names;
    buf_init(&names, 256);
    name_choices(r->row->choices, &names);
    error_set(r->err, ERROR_USAGE, "%s is %s%s, not '%s'", r->called, before,
              names.data ? names.data : "another", r->text);
    buf_deinit(&names);
    return false;
}

static bool read_choice(const struct reading *r)
{
    const size_t i = which_of(r->text, strlen(r->text), r->row->choices);
    if (!r->row->choices[i])
        return refuse_choice(r, "");
    *(uint32_t *)r->at = (uint32_t)i;
    return true;
}

const char *setting_list_next(const char **at, size_t *n)
{
    const char *item = *at;
    if (!item || !*item)
        return NULL;
    *n = strcspn(item, ",");
    *at = item[*n] ? item + *n + 1 : item + *n;
    return item;
}

static bool read_list(const struct reading *r)
{
    const char *at = r->text, *item;
    size_t n = strlen(at);
    if (n && at[n - 1] == ',')
        return error_set(r->err, ERROR_USAGE, "%s ends with a comma: '%s'", r->called, r->text);
    while (r->row->choices && (item = setting_list_next(&at, &n)))
        if (!r->row->choices[which_of(item, n, r->row->choices)])
            return refuse_choice(r, "a list of ");
    *(const char **)r->at = r->text;
    return true;
}

static bool numbers_from_text(const struct setting *row, const char *text,
                              struct setting_numbers *out)
{
    *out = (struct setting_numbers){0};
    if (!*text)
        return !row->needs_one;
    for (;;) {
        const char *end = NULL;
        uint64_t value;
        if (!read_digits(text, &end, &value) || !is_within(row, value, UINT32_MAX) ||
            out->n == SETTING_MAX_NUMBERS)
            return false;
        out->at[out->n++] = (uint32_t)value;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static bool read_numbers(const struct reading *r)
{
    struct setting_numbers numbers;
    if (!numbers_from_text(r->row, r->text, &numbers))
        return error_set(r->err, ERROR_USAGE,
                         "%s wants up to %d numbers from %.0f to %.0f with commas, not '%s'",
                         r->called, SETTING_MAX_NUMBERS, r->row->min,
                         r->row->max > 0 ? r->row->max : UINT32_MAX, r->text);
    *(struct setting_numbers *)r->at = numbers;
    return true;
}

bool setting_parse(const struct setting *row, const char *called, const char *text, void *values,
                   struct error *err)
{
    const struct reading r = {row, called, text, (char *)values + row->value, err};
    switch (row->kind) {
    case SETTING_FLAG:
        return read_flag(&r);
    case SETTING_TEXT:
        *(const char **)r.at = text;
        return true;
    case SETTING_UINT:
        return read_uint(&r);
    case SETTING_UINT64:
        return read_uint64(&r);
    case SETTING_FLOAT:
        return read_float(&r);
    case SETTING_SIZE:
        return read_size(&r);
    case SETTING_CHOICE:
        return read_choice(&r);
    case SETTING_NUMBERS:
        return read_numbers(&r);
    case SETTING_LIST:
        return read_list(&r);
    }
    return error_set(err, ERROR_INTERNAL, "%s is of no kind", called);
}

/* ---- to text ---- */

static void put_numbers(struct buf *out, const struct setting_numbers *numbers)
{
    for (uint32_t i = 0; i < numbers->n; i++)
        buf_printf(out, "%s%" PRIu32, i ? "," : "", numbers->at[i]);
}

bool setting_print(const struct setting *row, const void *values, struct buf *out)
{
    const void *at = (const char *)values + row->value;
    const char *text;
    switch (row->kind) {
    case SETTING_FLAG:
        buf_puts(out, *(const bool *)at ? setting_yes[0] : setting_no[0]);
        break;
    case SETTING_TEXT:
    case SETTING_LIST:
        text = *(const char *const *)at;
        buf_puts(out, text ? text : "");
        break;
    case SETTING_UINT:
        buf_printf(out, "%" PRIu32, *(const uint32_t *)at);
        break;
    case SETTING_UINT64:
        buf_printf(out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case SETTING_FLOAT:
        buf_printf(out, "%.9g", (double)*(const float *)at);
        break;
    case SETTING_SIZE:
        put_size(out, *(const uint64_t *)at);
        break;
    case SETTING_CHOICE:
        buf_puts(out, row->choices[*(const uint32_t *)at]);
        break;
    case SETTING_NUMBERS:
        put_numbers(out, at);
        break;
    }
    return !buf_failed(out);
}

bool setting_help(const struct setting *row, struct buf *out)
{
    static const char fallback[] = "{default}", choices[] = "{choices}";
    for (const char *at = row->help; *at;) {
        if (row->fallback && !strncmp(at, fallback, sizeof fallback - 1)) {
            buf_puts(out, row->fallback);
            at += sizeof fallback - 1;
        } else if (row->choices && !strncmp(at, choices, sizeof choices - 1)) {
            name_choices(row->choices, out);
            at += sizeof choices - 1;
        } else {
            buf_putc(out, *at++);
        }
    }
    return !buf_failed(out);
}

const char *setting_environment(const struct setting *row)
{
    const char *text = row->environment ? getenv(row->environment) : NULL;
    return text && *text ? text : NULL;
}

/* ---- several tables ---- */

size_t settings_n(const struct settings *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].table->n_rows;
    return n;
}

const struct setting *settings_at(const struct settings *s, size_t number, void **values)
{
    const struct settings_part *part = s->parts;
    while (number >= part->table->n_rows)
        number -= part++->table->n_rows;
    if (values)
        *values = part->values;
    return &part->table->rows[number];
}

bool settings_init(struct settings *s, const struct settings_part *parts, size_t n_parts,
                   struct error *err)
{
    *s = (struct settings){.parts = parts, .n_parts = n_parts};
    if (settings_n(s) > SETTINGS_MAX)
        return error_set(err, ERROR_INTERNAL, "%zu settings are too many", settings_n(s));
    for (size_t i = 0; i < settings_n(s); i++) {
        void *values;
        const struct setting *row = settings_at(s, i, &values);
        if (row->fallback && !setting_parse(row, row->name, row->fallback, values, err)) {
            if (err)
                err->code = ERROR_INTERNAL;
            return error_prefix(err, "a default");
        }
    }
    return true;
}

size_t settings_find(const struct settings *s, const char *name, size_t n_name)
{
    const size_t n = settings_n(s);
    for (size_t i = 0; i < n; i++) {
        const char *other = settings_at(s, i, NULL)->name;
        if (strlen(other) == n_name && !strncmp(other, name, n_name))
            return i;
    }
    return n;
}

const char *settings_nearest_flag(const struct settings *s, const char *name, size_t n_name)
{
    struct nearest nearest;
    nearest_init(&nearest, name, n_name);
    for (size_t i = 0; i < settings_n(s); i++) {
        const struct setting *row = settings_at(s, i, NULL);
        if (!row->has_no_flag)
            nearest_offer(&nearest, row->name);
    }
    return nearest.found;
}

bool settings_set(struct settings *s, size_t number, enum setting_source by, const char *called,
                  const char *text, struct error *err)
{
    void *values;
    const struct setting *row = settings_at(s, number, &values);
    if (by < s->sources[number])
        return true;
    if (!setting_parse(row, called, text, values, err))
        return false;
    s->sources[number] = (uint8_t)by;
    if (row->source)
        *(enum setting_source *)((char *)values + row->source) = by;
    return true;
}

bool settings_take_environment(struct settings *s, struct error *err)
{
    for (size_t i = 0; i < settings_n(s); i++) {
        const struct setting *row = settings_at(s, i, NULL);
        const char *text = setting_environment(row);
        if (text && s->sources[i] < SETTING_BY_ENVIRONMENT &&
            !settings_set(s, i, SETTING_BY_ENVIRONMENT, row->environment, text, err))
            return false;
    }
    return true;
}

enum setting_source settings_source(const struct settings *s, size_t number)
{
    return (enum setting_source)s->sources[number];
}
