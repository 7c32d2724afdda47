/* An importance matrix as llama.cpp's imatrix tool writes it (github.com/ggml-org/llama.cpp,
 * tools/imatrix): for each matrix, by its name in GGUF, the mean square of what each of its columns
 * was multiplied with. Two forms: a GGUF file with tensors X.in_sum2 and X.counts, and the older
 * .dat. */
#ifndef PENSIEVE_CONVERT_IMPORTANCE_H
#define PENSIEVE_CONVERT_IMPORTANCE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct importance;

/* Opens either form. NOT_FOUND, IO, FORMAT with what is wrong, TOO_LARGE, NO_MEMORY. */
struct importance *importance_open(const char *path, struct error *err);
/* The older form in bytes (tests, fuzzing). */
struct importance *importance_read_dat(const void *data, size_t size, struct error *err);
void importance_close(struct importance *m);

size_t importance_n_entries(const struct importance *m);
uint32_t importance_n_chunks(const struct importance *m);
const char *importance_data_set(const struct importance *m); /* "" if the file does not say */

/* The values of a matrix, [*n]: of each expert in turn its columns. NULL when it has none. */
const float *importance_find(const struct importance *m, const char *name, size_t *n);

#endif
