/* A real model file with everything that computes it, and nothing above: weights, CPU backend,
 * model. For the tests that need the whole stack but no engine. Asserts instead of returning
 * errors. */
#ifndef PENSIEVE_TESTS_MODEL_STACK_H
#define PENSIEVE_TESTS_MODEL_STACK_H

#include "model/model.h"

struct stack {
    struct weights *weights;
    struct backend *backend;
    struct model *model;
    uint32_t n_vocab;
    uint32_t *pages; /* [n_pages] the identity */
    uint32_t n_pages;
};

/* The file of a model by its short name ("smollm2", "qwen05", "gemma270"), or NULL. Ends the program with
 * TEST_MODELS_SKIPPED when the file isn't there. */
const char *stack_model_path(const char *name);

/* n_threads 0 is the machine's; tier NULL is the best. Room for n_tokens. */
void stack_open(struct stack *s, const char *path, uint32_t n_threads, const char *tier,
                uint32_t n_tokens);
void stack_close(struct stack *s);

/* Computes tokens[first .. first + n) at their positions, `step` rows a batch, on pages that start
 * at `first_page`. logits [n][n_vocab] of every row, or NULL for none. */
void stack_compute(struct stack *s, const int32_t *tokens, uint32_t first, uint32_t n,
                   uint32_t step, uint32_t first_page, float *logits);

/* log(sum(exp(logits))) in double. */
double stack_log_sum(const float *logits, uint32_t n_vocab);

#endif
