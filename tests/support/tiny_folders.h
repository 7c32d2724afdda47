/* The tiny folders that golden files are about (tests/model/golden/folders.json): networks, each as
 * every kind of numbers that folders have. write_folder writes them, so that the reference reads
 * the very files that the tests make in memory (scripts/golden/networks_folders.py). */
#ifndef PENSIEVE_TESTS_SUPPORT_TINY_FOLDERS_H
#define PENSIEVE_TESTS_SUPPORT_TINY_FOLDERS_H

#include "support/tiny_folder.h"

struct tiny_folders_network {
    const char *name;
    struct tiny_folder_kind kind; /* of floats */
    uint32_t n_ctx;               /* that it is used for; 0: the model's */
};

struct tiny_folders_numbers {
    const char *name;
    enum tiny_numbers numbers, floats;
    uint32_t bits, group;
};

/* NULL past the last. */
const struct tiny_folders_network *tiny_folders_network(size_t i);
const struct tiny_folders_numbers *tiny_folders_numbers(size_t i);

/* That network, or one like it, in those numbers. */
struct tiny_folder_kind tiny_folders_kind(const struct tiny_folder_kind *network,
                                          const struct tiny_folders_numbers *numbers);

/* config.json's words, for those who change a constant. */
#define TINY_LLAMA ", \"model_type\": \"llama\""
#define TINY_LLAMA3(low, high)                                                                     \
    ", \"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"llama3\", "                  \
    "\"factor\": 8.0, \"low_freq_factor\": " low ", \"high_freq_factor\": " high ", "              \
    "\"original_max_position_embeddings\": 64}"
#define TINY_MISTRAL(window, kinds)                                                                \
    ", \"model_type\": \"mistral\", \"rope_theta\": 1000000.0, \"sliding_window\": " window ", "   \
    "\"layer_types\": [" kinds "]"
#define TINY_FULL_SLIDING "\"full_attention\", \"sliding_attention\""
#define TINY_SLIDING_FULL "\"sliding_attention\", \"full_attention\""
#define TINY_PHI3                                                                                  \
    ", \"model_type\": \"phi3\", \"original_max_position_embeddings\": 128, \"rope_scaling\": "    \
    "{\"type\": \"longrope\", \"short_factor\": [1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75], "        \
    "\"long_factor\": [1, 4, 7, 10, 13, 16, 19, 22]}"
#define TINY_PHI4                                                                                  \
    ", \"model_type\": \"phi3\", \"original_max_position_embeddings\": 128, "                      \
    "\"partial_rotary_factor\": 0.75, \"rope_scaling\": "                                          \
    "{\"type\": \"longrope\", \"short_factor\": [1, 1.25, 1.5, 1.75, 2, 2.25], "                   \
    "\"long_factor\": [1, 4, 7, 10, 13, 16]}"
#define TINY_QWEN2(theta) ", \"model_type\": \"qwen2\", \"rope_theta\": " theta
#define TINY_YARN(factor)                                                                          \
    ", \"model_type\": \"qwen2\", \"rope_theta\": 10000.0, \"rope_scaling\": {"                    \
    "\"type\": \"yarn\", \"factor\": " factor ", \"original_max_position_embeddings\": 128}"
#define TINY_QWEN3 ", \"model_type\": \"qwen3\", \"rope_theta\": 1000000.0, \"head_dim\": 32"
#define TINY_QWEN3MOE(used, norm)                                                                  \
    ", \"model_type\": \"qwen3_moe\", \"rope_theta\": 1000000.0, \"head_dim\": 32, "               \
    "\"num_experts\": 8, \"num_experts_per_tok\": " used ", \"moe_intermediate_size\": 64, "       \
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"norm_topk_prob\": " norm
#define TINY_GRANITE(embedding, residual, attention, logits)                                       \
    ", \"model_type\": \"granite\", \"rope_theta\": 10000.0, \"attention_bias\": false, "          \
    "\"mlp_bias\": false, \"embedding_multiplier\": " embedding ", "                               \
    "\"residual_multiplier\": " residual ", \"attention_multiplier\": " attention ", "             \
    "\"logits_scaling\": " logits
#define TINY_MISTRAL3(stretch, all)                                                                \
    ", \"model_type\": \"ministral3\", \"head_dim\": 32, \"rope_parameters\": {"                   \
    "\"rope_theta\": 1000000.0, \"rope_type\": \"yarn\", \"type\": \"yarn\", \"factor\": 9.0, "    \
    "\"original_max_position_embeddings\": 64, \"beta_fast\": 32.0, \"beta_slow\": 1.0, "          \
    "\"mscale\": 1.0, \"mscale_all_dim\": " all ", \"llama_4_scaling_beta\": " stretch "}"
#define TINY_GEMMA3(scalar, window, pattern, local)                                                \
    ", \"model_type\": \"gemma3_text\", \"head_dim\": 32, \"rope_theta\": 1000000.0, "             \
    "\"query_pre_attn_scalar\": " scalar ", \"sliding_window\": " window ", "                      \
    "\"sliding_window_pattern\": " pattern ", \"rope_local_base_freq\": " local ", "               \
    "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}"

#endif
