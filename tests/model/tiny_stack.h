/* A tiny model with everything that computes it: one thread of the plainest tier, or a backend of
 * the test's choice. */
#ifndef PENSIEVE_TESTS_MODEL_TINY_STACK_H
#define PENSIEVE_TESTS_MODEL_TINY_STACK_H

#include "model/model.h"
#include "support/tiny_folder.h"
#include "support/tiny_model.h"

enum { TINY_STACK_MAX_TOKENS = 256 };

struct tiny_stack {
    struct tiny_model file;     /* GGUF, or */
    struct tiny_folder folder;
    struct weights *weights;
    struct backend *be;
    struct model *model; /* NULL: it was refused */
};

/* n_ctx 0: the model's. False, with the error, when the model is refused; close all the same. */
bool tiny_stack_open_folder(struct tiny_stack *s, const struct tiny_folder_kind *kind,
                            uint32_t n_ctx, struct error *err);
bool tiny_stack_open_gguf(struct tiny_stack *s, const char *architecture,
                          void (*more)(struct gguf_builder *g), uint32_t n_ctx, struct error *err);
/* On that backend, which closes with it. */
bool tiny_stack_open_folder_on(struct tiny_stack *s, struct backend *be,
                               const struct tiny_folder_kind *kind, uint32_t n_ctx,
                               struct error *err);
void tiny_stack_close(struct tiny_stack *s);

/* Of tokens (i * 37 + 11) % 256, all finite: [n_tokens][TINY_VOCAB]; free(). */
float *tiny_stack_logits(struct tiny_stack *s, uint32_t n_tokens);

/* All in one; refused: the test fails. */
float *tiny_stack_logits_of_folder(const struct tiny_folder_kind *kind, uint32_t n_ctx,
                                   uint32_t n_tokens);
float *tiny_stack_logits_of_gguf(const char *architecture, void (*more)(struct gguf_builder *g),
                                 uint32_t n_ctx, uint32_t n_tokens);

#endif
