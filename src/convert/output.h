/* The place where a model is made: beside the wanted one, as "<path>.part", until it is whole.
 * Knows no formats. */
#ifndef PENSIEVE_CONVERT_OUTPUT_H
#define PENSIEVE_CONVERT_OUTPUT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { OUTPUT_MAX_FILES = 4096, OUTPUT_MAX_PATH = 4096 };

struct output {
    char path[OUTPUT_MAX_PATH]; /* the wanted name, without slashes at its end */
    char part[OUTPUT_MAX_PATH]; /* where it is made; empty: nothing is there to clean up */
    bool is_folder, replaces;
    int lock; /* on the part */
    int *files; /* [n_files], descriptors */
    size_t n_files;
};

/* Whether `path` may be made: USAGE when it is there already and is not to be replaced, or is a
 * folder with anything in it that is no model's; IO. Nothing is changed. */
bool output_check(const char *path, bool is_folder, bool replace, struct error *err);

/* Begins. BUSY when another process makes the same; IO when there is no room for n_bytes. What an
 * earlier try left there is thrown away. */
bool output_begin(struct output *o, const char *path, bool is_folder, bool replace,
                  uint64_t n_bytes, struct error *err);
/* One more file, of so many bytes, which are zeros: in the folder of that name, or the only one. */
bool output_add_file(struct output *o, const char *name, uint64_t n_bytes, struct error *err);
/* n bytes at a place of file number i. */
bool output_write(struct output *o, size_t i, const void *bytes, size_t n, uint64_t at,
                  struct error *err);
/* All is on the disk, then has its name. */
bool output_finish(struct output *o, struct error *err);
/* Frees; what is not finished is removed. */
void output_deinit(struct output *o);

#endif
