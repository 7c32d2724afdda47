/* The types of whole models that can be asked for, and which type each matrix of one gets. The
 * mixes are llama.cpp's (github.com/ggml-org/llama.cpp, src/llama-quant.cpp), so that a name means
 * the same here and there; where it counts tensors in its order, layers are counted here. Knows no
 * files. */
#ifndef PENSIEVE_CONVERT_TARGET_H
#define PENSIEVE_CONVERT_TARGET_H

#include "base/error.h"
#include "quant/encode.h"

#include <stdbool.h>
#include <stdint.h>

enum target_mix {
    TARGET_PLAIN,  /* one type, but for the output */
    TARGET_SMALL,  /* _S */
    TARGET_MEDIUM, /* _M */
    TARGET_LARGE,  /* _L */
    TARGET_EXPERTS /* experts get the type, all else Q8_0 */
};

struct target {
    const char *name;
    bool is_folder;          /* else GGUF */
    enum quant_type type;    /* of most matrices */
    enum target_mix mix;     /* GGUF */
    uint32_t file_type;      /* GGUF: general.file_type */
    const char *about;
};

/* NULL past the last. */
const struct target *target_at(size_t i);
/* By name, in any case; or NULL with USAGE and the names that there are. */
const struct target *target_find(const char *name, struct error *err);

/* What the mixes look at. */
struct target_model {
    uint32_t n_layers, n_experts;
    uint32_t n_heads, n_kv_heads; /* of attention */
    bool is_tied;          /* the embedding is the output, too */
    bool has_importance;
};

/* A tensor by its name in GGUF, with the innermost dimension first. */
struct target_tensor {
    const char *name;
    uint32_t n_dims;
    uint64_t shape[4];
};

/* The type of a tensor in a GGUF file. */
enum quant_type target_gguf_type(const struct target *target, const struct target_model *model,
                                 const struct target_tensor *t);
/* Whether a folder has it quantized: a matrix of the network whose rows are whole groups. */
bool target_is_quantized(const struct target *target, const struct target_tensor *t,
                         uint32_t group);

#endif
