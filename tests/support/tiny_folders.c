#include "support/tiny_folders.h"

enum { N_FF = 128, N_ORIGINAL = 128 };

#define TIED ", \"tie_word_embeddings\": true"
#define UNTIED ", \"tie_word_embeddings\": false"

static const struct tiny_folders_network networks[] = {
    {"llama", {TINY_LLAMA UNTIED}, 0},
    {"llama3", {TINY_LLAMA3("1.0", "4.0") UNTIED}, 0},
    {"mistral", {TINY_MISTRAL("64", TINY_FULL_SLIDING) UNTIED}, 0},
    {"phi3-long", {TINY_PHI3 UNTIED, .is_fused = true}, 0},
    {"phi3-short", {TINY_PHI3 UNTIED, .is_fused = true}, N_ORIGINAL},
    {"phi4-mini", {TINY_PHI4 TIED, .is_fused = true, .is_tied = true}, 0},
    {"qwen2", {TINY_QWEN2("1000000.0") TIED, .biases = TINY_BIASES, .is_tied = true}, 0},
    {"qwen2-yarn", {TINY_YARN("4.0") UNTIED, .biases = TINY_BIASES}, 0},
    {"qwen3", {TINY_QWEN3 UNTIED, .head_dim = 32, .has_head_norms = true}, 0},
    {"qwen3moe",
     {TINY_QWEN3MOE("3", "true") UNTIED, .head_dim = 32, .has_head_norms = true,
      .experts = TINY_ALONE},
     0},
    {"granite", {TINY_GRANITE("12.0", "0.22", "0.0625", "8.0") TIED, .is_tied = true}, 0},
    {"mistral3", {TINY_MISTRAL3("0.1", "1.0") UNTIED, .head_dim = 32}, 0},
    {"gemma3",
     {TINY_GEMMA3("48", "64", "2", "10000.0") TIED, .head_dim = 32, .has_head_norms = true,
      .has_post_norms = true, .is_tied = true},
     0},
};

static const struct tiny_folders_numbers numbers[] = {
    {"f32", TINY_F32, TINY_F32, 0, 0},
    {"f16", TINY_F16, TINY_F16, 0, 0},
    {"bf16", TINY_BF16, TINY_BF16, 0, 0},
    {"affine2", TINY_AFFINE, TINY_F16, 2, 32},
    {"affine3", TINY_AFFINE, TINY_BF16, 3, 32},
    {"affine4", TINY_AFFINE, TINY_F16, 4, 64},
    {"affine4-bf16", TINY_AFFINE, TINY_BF16, 4, 32},
    {"affine5", TINY_AFFINE, TINY_F32, 5, 64},
    {"affine6", TINY_AFFINE, TINY_BF16, 6, 64},
    {"affine8", TINY_AFFINE, TINY_F16, 8, 64},
    {"mxfp4", TINY_MXFP4, TINY_BF16, 4, 32},
    {"mxfp8", TINY_MXFP8, TINY_BF16, 8, 32},
    {"nvfp4", TINY_NVFP4, TINY_BF16, 4, 16},
};

const struct tiny_folders_network *tiny_folders_network(size_t i)
{
    return i < sizeof networks / sizeof *networks ? &networks[i] : NULL;
}

const struct tiny_folders_numbers *tiny_folders_numbers(size_t i)
{
    return i < sizeof numbers / sizeof *numbers ? &numbers[i] : NULL;
}

struct tiny_folder_kind tiny_folders_kind(const struct tiny_folder_kind *network,
                                          const struct tiny_folders_numbers *n)
{
    struct tiny_folder_kind kind = *network;
    kind.numbers = n->numbers;
    kind.floats = n->floats;
    kind.bits = n->bits;
    kind.group = n->group;
    kind.n_ff = N_FF;
    kind.deviation = 0.15f;
    kind.eps = network->eps ? network->eps : "0.01";
    if (kind.experts && n->bits) /* MLX quantizes them together */
        kind.experts = TINY_STACKED;
    return kind;
}
