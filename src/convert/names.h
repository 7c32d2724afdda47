/* What GGUF and folders call the same tensors, for each architecture that can go from one to the
 * other: "blk.3.attn_q.weight" is "model.layers.3.self_attn.q_proj.weight" in a folder. */
#ifndef PENSIEVE_CONVERT_NAMES_H
#define PENSIEVE_CONVERT_NAMES_H

#include "weights/tensor_names.h"

#include <stdbool.h>
#include <stdint.h>

/* A way from a folder's model_type to GGUF's architecture and back. */
struct names_architecture {
    const char *gguf;  /* "qwen3moe" */
    const char *folder; /* "qwen3_moe", the model_type that is written */
    const char *class_name; /* "Qwen3MoeForCausalLM" */
    const char *also;   /* another model_type that is read, or NULL */
    bool has_turns;     /* GGUF's rows of q and k take turns, see plan.h */
    float norms_add;    /* GGUF's norms are so much more */
    const struct tensor_name *own; /* in what its names differ from others'; or NULL */
};

/* NULL: it cannot go to the other format. */
const struct names_architecture *names_of_gguf(const char *architecture);
const struct names_architecture *names_of_folder(const char *model_type);

struct names_text {
    char text[192]; /* empty: there is no such tensor */
};

struct names_text names_to_folder(const struct names_architecture *a, const char *gguf);
/* Without the prefix that folders of more than language have before "model.". For one expert's
 * matrix, X.experts.5.gate_proj.weight, the stack's name, and its number in *expert; -1 else. */
struct names_text names_to_gguf(const struct names_architecture *a, const char *folder,
                                int *expert);

#endif
