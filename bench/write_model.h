/* The two files a made model can become. Both are written from first byte to last; errors name what
 * failed. */
#ifndef PENSIEVE_BENCH_WRITE_MODEL_H
#define PENSIEVE_BENCH_WRITE_MODEL_H

#include "base/error.h"
#include "model_shape.h"

#include <stdio.h>

struct write_model_options {
    uint32_t type;  /* GGUF: of the matrices; the output's and what does not fit it follow */
    uint32_t group; /* MLX: elements of a group */
    uint32_t bits;  /* MLX: 4 or 8 */
    bool is_bf16;   /* MLX: scales, offsets and norms are bfloat16, else float16 */
    bool is_pure;   /* GGUF: the output has the matrices' type, too */
    uint64_t seed;
};

bool write_gguf(const struct model_shape *shape, const struct write_model_options *options,
                const char *path, struct error *err);
/* A folder with config.json and model.safetensors, quantized as mlx-lm writes it. */
bool write_mlx(const struct model_shape *shape, const struct write_model_options *options,
               const char *path, struct error *err);

#endif
