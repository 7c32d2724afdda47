/* What the same module's tensors are called in GGUF and in folders of safetensors, as most
 * architectures have it: GGUF's "blk.3.attn_q.weight" is "model.layers.3.self_attn.q_proj.weight".
 * Hugging Face's names are those of the transformers library's modules; mlx-lm keeps them, but
 * stacks experts in a module switch_mlp. Knows no architecture's own differences. */
#ifndef PENSIEVE_WEIGHTS_TENSOR_NAMES_H
#define PENSIEVE_WEIGHTS_TENSOR_NAMES_H

/* A module by the word of GGUF's name ("attn_q"), and as folders call it behind "model." or
 * "model.layers.N." ("self_attn.q_proj"); lm_head alone has nothing before it. */
struct tensor_name {
    const char *gguf, *folder;
};

/* Its last row has NULLs. */
extern const struct tensor_name tensor_names[];

#endif
