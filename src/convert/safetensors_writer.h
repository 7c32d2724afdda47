/* Safetensors files (github.com/huggingface/safetensors) as MLX's tools lay a model out: shards of
 * a few gigabytes, an index where there are several, and three tensors for each quantized
 * matrix. */
#ifndef PENSIEVE_CONVERT_SAFETENSORS_WRITER_H
#define PENSIEVE_CONVERT_SAFETENSORS_WRITER_H

#include "convert/plan.h"

/* Adds the plan's shards and index to its files, and lays out the tensors: a shard ends before
 * `most` bytes, unless a single tensor is longer. NO_MEMORY. */
bool safetensors_writer_lay_out(struct plan *p, uint64_t most, struct error *err);

#endif
