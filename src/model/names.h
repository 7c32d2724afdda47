/* What a folder calls the tensors that networks know by GGUF's names: "blk.3.attn_q.weight" is
 * "model.layers.3.self_attn.q_proj.weight" there, behind another prefix where the folder has more
 * than a language model. weights/tensor_names.h has the names that most share, and a network a
 * table of the same rows where it differs. Knows no networks. */
#ifndef PENSIEVE_MODEL_NAMES_H
#define PENSIEVE_MODEL_NAMES_H

#include "weights/tensor_names.h"
#include "weights/weights.h"

#include <stdbool.h>

struct names {
    const struct weights *w;
    const struct tensor_name *own; /* before the common ones; its last row has NULLs; or NULL */
    const char *prefix;          /* "model.", before all but the output */
    const char *output_prefix;   /* "" */
};

/* A name, terminated; empty: there is none. */
struct names_text {
    char text[192];
};

/* For this model file; the rows must live as long. */
struct names names_of(const struct weights *w, const struct tensor_name *own);

/* What the file calls the tensor of that GGUF name: the same, or a folder's; empty when folders
 * have no such tensor. */
struct names_text names_in_file(const struct names *n, const char *gguf);

/* A folder's matrix of one expert alone, as Hugging Face lays them out: of
 * "blk.3.ffn_gate_exps.weight" and 5, "model.layers.3.mlp.experts.5.gate_proj.weight". */
struct names_text names_of_expert(const struct names *n, const char *gguf, uint32_t expert);

#endif
