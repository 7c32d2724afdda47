/* A folder of safetensors small enough for unit tests, in memory: the tiny model's sizes and, as
 * plain floats, its very weights (tiny_model.h), under the names of Hugging Face's and MLX's
 * folders; or numbers packed as MLX packs them. */
#ifndef PENSIEVE_TESTS_SUPPORT_TINY_FOLDER_H
#define PENSIEVE_TESTS_SUPPORT_TINY_FOLDER_H

#include "base/buf.h"
#include "support/tiny_model.h"
#include "weights/weights.h"

enum tiny_numbers {
    TINY_F32,
    TINY_F16,
    TINY_BF16,
    TINY_AFFINE, /* scales and biases F16, or as `scale` says */
    TINY_MXFP4,
    TINY_MXFP8,
    TINY_NVFP4,
};

enum { TINY_EXPERTS = 8, TINY_EXPERT_FF = 64 };

/* Stacked, as MLX has them, or each by itself, as Hugging Face does. */
enum tiny_experts { TINY_DENSE, TINY_STACKED, TINY_ALONE };

enum tiny_biases { TINY_NO_BIASES, TINY_ZERO_BIASES, TINY_BIASES };

struct tiny_folder_kind {
    /* Of config.json behind the sizes, each with a comma before it: `, "model_type": "llama"`. */
    const char *config;
    const char *prefix, *output_prefix; /* NULL: "model." and "" */
    enum tiny_numbers numbers;          /* of matrices; vectors are F32, or as `floats` says */
    enum tiny_numbers floats;           /* of vectors, scales and biases: F32, F16, BF16 */
    uint32_t bits, group;               /* of packed numbers */
    uint32_t n_ff;                      /* 0: TINY_FF */
    uint32_t head_dim;                  /* 0: TINY_HEAD_DIM */
    float deviation;                    /* of matrices in layers; 0: 0.3 */
    bool is_fused;                      /* as Phi-3 is */
    bool has_head_norms;                /* as Qwen3 and Gemma 3 */
    bool has_post_norms;                /* as Gemma 3 */
    enum tiny_experts experts;          /* TINY_EXPERTS in the feed-forward's place */
    enum tiny_biases biases;            /* of q, k and v */
    bool is_tied;                       /* without an output matrix */
    bool is_nested;                     /* all but the quantization in text_config */
    const char *eps;                    /* NULL: "1e-5" */
    /* One tensor more, an F32 vector of one zero; or NULL. And one less. */
    const char *extra, *without;
};

struct tiny_folder {
    struct buf config, file;
    struct weights_file files[2];
};

/* Aborts when out of memory. */
void tiny_folder_init(struct tiny_folder *f, const struct tiny_folder_kind *kind);
void tiny_folder_deinit(struct tiny_folder *f);

#endif
