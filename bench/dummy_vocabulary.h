/* A vocabulary of any size that tokenizes text into pieces of one to four letters, so that every
 * engine loads a model that has no real one. */
#ifndef PENSIEVE_BENCH_DUMMY_VOCABULARY_H
#define PENSIEVE_BENCH_DUMMY_VOCABULARY_H

#include "base/arena.h"
#include "model_shape.h"

struct dummy_vocabulary {
    const char **tokens; /* [n] */
    int32_t *types;      /* [n] as tokenizer.ggml.token_type numbers them */
    float *scores;       /* [n] SPM */
    const char **merges; /* [n_merges] "left right": how BPE comes to the pieces, in both kinds */
    enum model_shape_vocabulary kind;
    uint32_t n, n_merges;
    int32_t bos, eos, eot, padding;
    const char *chat_template;
    struct arena arena;
};

/* False: out of memory, or fewer tokens than its fixed ones. */
bool dummy_vocabulary_init(struct dummy_vocabulary *v, enum model_shape_vocabulary kind,
                           uint32_t n_tokens);
void dummy_vocabulary_deinit(struct dummy_vocabulary *v);

#endif
