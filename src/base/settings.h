/* Settings: each is a row of a table that states its name, kind, bounds, default and help once, and
 * where in a struct its value lies. How it is read from text, checked, printed and explained
 * follows from the row, whoever the text comes from. Knows no command line, no file and no model.
 *
 * A *table* is constant; *settings* are some tables, each with the struct that its rows' values lie
 * in. They are filled at the start by one thread, and only read afterwards. */
#ifndef PENSIEVE_BASE_SETTINGS_H
#define PENSIEVE_BASE_SETTINGS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTING_MAX_NUMBERS = 16, SETTINGS_MAX = 96 };

struct setting_numbers {
    uint32_t at[SETTING_MAX_NUMBERS];
    uint32_t n;
};

/* The kinds, and the type of a value of each. Texts are borrowed, from whoever said them. */
enum setting_kind {
    SETTING_FLAG,    /* bool: "true", "false", "yes", "no", "on", "off", "1" or "0" */
    SETTING_TEXT,    /* const char * */
    SETTING_UINT,    /* uint32_t, from min to max */
    SETTING_UINT64,  /* uint64_t */
    SETTING_FLOAT,   /* float, from min to max */
    SETTING_SIZE,    /* uint64_t, bytes from min to max: 2147483648, 2048M, 2G, 2GiB */
    SETTING_CHOICE,  /* uint32_t, which of `choices` */
    SETTING_NUMBERS, /* struct setting_numbers: "1,2,3", each from min to max */
    SETTING_LIST,    /* const char *: "home,registry", each one of `choices` if there are any */
};

/* Who said a value: what stands later outweighs what stands before it. */
enum setting_source {
    SETTING_BY_DEFAULT,
    SETTING_BY_FILE,
    SETTING_BY_ENVIRONMENT,
    SETTING_BY_FLAG,
};

struct setting {
    const char *name; /* "kv-memory"; as a flag "--kv-memory" */
    char letter;      /* its short flag, or 0 */
    bool has_no_flag; /* a command line does not take it */
    bool needs_one;   /* NUMBERS: there must be at least one */
    enum setting_kind kind;
    size_t value;               /* where it lies in the struct */
    size_t source;              /* where an enum setting_source lies there that tells who said it,
                                   or 0 when nobody there asks (so it is never the first member) */
    double min, max;            /* max 0: as much as its type holds */
    const char *const *choices; /* ended by NULL */
    const char *fallback;       /* the default, as text; NULL: nothing is written */
    const char *metavar;        /* what stands for the value in help, "N"; NULL for flags */
    const char *help;           /* "\n" breaks the line; {default} and {choices} are filled in */
    const char *environment;    /* the variable that says it, or NULL */
};

/* A row's kind and place: does not compile when the member's type is another than the kind's. */
#define SETTING_TYPE_FLAG bool
#define SETTING_TYPE_TEXT const char *
#define SETTING_TYPE_UINT uint32_t
#define SETTING_TYPE_UINT64 uint64_t
#define SETTING_TYPE_FLOAT float
#define SETTING_TYPE_SIZE uint64_t
#define SETTING_TYPE_CHOICE uint32_t
#define SETTING_TYPE_NUMBERS struct setting_numbers
#define SETTING_TYPE_LIST const char *
#define SETTING_VALUE(kind_, type, member)                                                         \
    .kind = SETTING_##kind_,                                                                       \
    .value = offsetof(type, member) + _Generic(&((type *)0)->member, SETTING_TYPE_##kind_ *: 0)
#define SETTING_SOURCE(type, member)                                                               \
    .source = offsetof(type, member) + _Generic(&((type *)0)->member, enum setting_source *: 0)

struct setting_table {
    const struct setting *rows; /* [n_rows] */
    size_t n_rows;
};
#define SETTING_TABLE(rows_) {.rows = (rows_), .n_rows = sizeof(rows_) / sizeof *(rows_)}

struct settings_part {
    const struct setting_table *table;
    void *values; /* the struct of the rows' values */
};

struct settings {
    const struct settings_part *parts; /* [n_parts], borrowed */
    size_t n_parts;
    uint8_t sources[SETTINGS_MAX]; /* enum setting_source of each row, counted through all parts */
};

/* ---- one row ---- */

/* Reads text into the row's place in `values`. USAGE: one sentence that begins with `called` (what
 * the person who wrote the text calls the setting: "--port", "PENSIEVE_CPU"). */
bool setting_parse(const struct setting *row, const char *called, const char *text, void *values,
                   struct error *err);
/* Appends the value as text from which setting_parse makes the same value. */
bool setting_print(const struct setting *row, const void *values, struct buf *out);
/* Appends the row's help, filled in. */
bool setting_help(const struct setting *row, struct buf *out);
/* What its variable says, or NULL when it is not set or empty. */
const char *setting_environment(const struct setting *row);
/* Steps through the items of a LIST: the next one at *at, its bytes in *n, or NULL at the end. */
const char *setting_list_next(const char **at, size_t *n);

/* ---- several tables ---- */

/* Writes the defaults. INTERNAL: a table is wrong. */
bool settings_init(struct settings *s, const struct settings_part *parts, size_t n_parts,
                   struct error *err);
size_t settings_n(const struct settings *s);
/* The row of that number, and its struct; `values` may be NULL. */
const struct setting *settings_at(const struct settings *s, size_t number, void **values);
/* The number of the row of that name, or settings_n. */
size_t settings_find(const struct settings *s, const char *name, size_t n_name);
/* The flag that is most likely meant by a name that is none, or NULL. */
const char *settings_nearest_flag(const struct settings *s, const char *name, size_t n_name);
/* Reads text into a row's value, unless somebody who outweighs `by` has said it. USAGE. */
bool settings_set(struct settings *s, size_t number, enum setting_source by, const char *called,
                  const char *text, struct error *err);
/* Takes from the environment what no flag has said, so that a wrong value there hinders nobody who
 * overrides it. USAGE. */
bool settings_take_environment(struct settings *s, struct error *err);
enum setting_source settings_source(const struct settings *s, size_t number);

#endif
