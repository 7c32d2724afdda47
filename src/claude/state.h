/* A claude's own state, shared by claude.c (the model that speaks the API) and call.c (one message
 * on its way), and nobody else. One module: claude, state. */
#ifndef PENSIEVE_CLAUDE_STATE_H
#define PENSIEVE_CLAUDE_STATE_H

#include "claude/claude.h"
#include "chat/prompt.h"

#include <pthread.h>
#include <stdatomic.h>

struct claude {
    struct engine *engine;
    const struct tokenizer *tokenizer;
    struct claude_options options; /* its strings are copies */
    struct prompt prompt;
    /* Tokens that a restarted answer may not begin with, and those that a line of it may not. */
    uint64_t *mask_start, *mask_line; /* [n_mask_words] */
    size_t n_mask_words;
    atomic_uint_fast64_t n_calls, n_tool_calls, n_calls_without_markers, n_repeats_guarded,
        n_calls_cut;

    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t n_live; /* calls whose memory is not freed yet; under the lock */
};

/* The tokens of an earlier answer, for prompt_tokens. */
int32_t *claude_recall(void *claude, const uint64_t identity[2], size_t *n);

#endif
