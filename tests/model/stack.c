/* A real model file with everything that computes it; see stack.h. */
#include "stack.h"

#include "backend/cpu/cpu.h"
#include "support/test_models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name, *file;
} known[] = {
    {"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"},
    {"qwen05", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"},
    {"gemma270", "gemma-3-270m-q4_k_m.gguf"},
};

const char *stack_model_path(const char *name)
{
    static char path[4096];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        if (!test_models_find(path, sizeof path, known[i].file))
            exit(TEST_MODELS_SKIPPED);
        return path;
    }
    return NULL;
}

void stack_open(struct stack *s, const char *path, uint32_t n_threads, const char *tier,
                uint32_t n_tokens)
{
    struct error err = {.message = ""};
    struct backend_cpu_options options = {.n_threads = n_threads, .tier = tier};
    *s = (struct stack){0};
    s->weights = weights_open(path, &err);
    if (s->weights)
        s->backend = backend_cpu_create(&options, &err);
    if (s->backend)
        s->model = model_create(s->weights, s->backend, NULL, &err);
    if (!s->model)
        fail_msg("%s: %s", path, err.message);

    const struct model_info *info = model_info(s->model);
    s->n_vocab = info->n_vocab;
    s->n_pages = (n_tokens + BACKEND_PAGE_TOKENS - 1) / BACKEND_PAGE_TOKENS;
    s->pages = malloc(s->n_pages * sizeof *s->pages);
    assert_non_null(s->pages);
    for (uint32_t i = 0; i < s->n_pages; i++)
        s->pages[i] = i;
    struct backend_kv_shape shape = model_kv_shape(s->model);
    shape.n_pages = s->n_pages;
    if (!s->backend->ops->kv_init(s->backend, &shape, &err))
        fail_msg("%s", err.message);
}

void stack_close(struct stack *s)
{
    free(s->pages);
    model_destroy(s->model);
    if (s->backend)
        s->backend->ops->destroy(s->backend);
    weights_close(s->weights);
}

void stack_compute(struct stack *s, const int32_t *tokens, uint32_t first, uint32_t n,
                   uint32_t step, uint32_t first_page, float *logits)
{
    static struct backend_row rows[BACKEND_MAX_ROWS];
    struct backend_sequence sequence = {.pages = s->pages + first_page,
                                        .n_pages = s->n_pages - first_page};
    assert_in_range(step, 1, BACKEND_MAX_ROWS);
    for (uint32_t done = 0; done < n;) {
        uint32_t n_rows = n - done < step ? n - done : step;
        for (uint32_t i = 0; i < n_rows; i++)
            rows[i] = (struct backend_row){
                .token = tokens[first + done + i],
                .position = (int32_t)(first + done + i),
                .wants_logits = logits != NULL,
            };
        struct backend_batch batch = {
            .rows = rows, .n_rows = n_rows, .sequences = &sequence, .n_sequences = 1};
        struct error err;
        float *out = logits ? logits + (size_t)done * s->n_vocab : NULL;
        if (!model_compute(s->model, &batch, out, &err))
            fail_msg("%s", err.message);
        done += n_rows;
    }
}

double stack_log_sum(const float *logits, uint32_t n_vocab)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}
