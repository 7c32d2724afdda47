/* Makes a model of another type out of a model: GGUF files and folders of safetensors go in, a GGUF
 * file or a folder as MLX and Hugging Face publish them comes out. It is written beside, slice by
 * slice, so that memory does not grow with the model, and gets its name when it is whole. Knows no
 * terminal and no networks' arithmetic. */
#ifndef PENSIEVE_CONVERT_CONVERT_H
#define PENSIEVE_CONVERT_CONVERT_H

#include "base/error.h"
#include "convert/progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct convert_options {
    const char *type;       /* a name of convert_target_at, in any case */
    const char *importance; /* an importance matrix's file, or NULL */
    uint32_t group;         /* of MLX's affine types: 32, 64, 128; 0: 64 */
    uint32_t n_threads;     /* 0: one for each CPU */
    bool force;             /* replaces what has the name of the output */
};

/* What came of it. */
struct convert_result {
    uint64_t n_bytes_in, n_bytes_out; /* of tensors and files */
    size_t n_tensors;
    double seconds;
};

/* A type that can be asked for. */
struct convert_target_name {
    const char *name, *about; /* "Q4_K_M", one line */
};
/* By number, from 0 on; a NULL name past the last. */
struct convert_target_name convert_target_at(size_t i);

/* Converts the model at `in` (whatever weights_open takes). USAGE: the type is unknown, or `out` is
 * there already. FORMAT, UNSUPPORTED, NOT_FOUND: the input, with what is wrong. IO: the disk.
 * BUSY: another process is making the same. CANCELLED: as the sink wished. Whatever fails, nothing
 * is left behind and an old `out` is as it was. What comes out depends on input and options alone,
 * not on threads. Any thread. `sink` and `result` may be NULL. */
bool convert_model(const char *in, const char *out, const struct convert_options *options,
                   const struct convert_sink *sink, struct convert_result *result,
                   struct error *err);

#endif
