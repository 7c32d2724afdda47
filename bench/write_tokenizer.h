/* The dummy vocabulary as Hugging Face's files have it. */
#ifndef PENSIEVE_BENCH_WRITE_TOKENIZER_H
#define PENSIEVE_BENCH_WRITE_TOKENIZER_H

#include "base/buf.h"
#include "dummy_vocabulary.h"

/* tokenizer.json: SentencePiece's BPE with byte fallback as in Llama 2's and Phi-3's, or byte-level
 * BPE as in Qwen's. */
void write_tokenizer(const struct dummy_vocabulary *v, struct buf *json);
/* tokenizer_config.json, with the chat template. */
void write_tokenizer_config(const struct dummy_vocabulary *v, uint32_t n_ctx, struct buf *json);

#endif
