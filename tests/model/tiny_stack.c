#include "tiny_stack.h"

#include "backend/cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct backend *plainest(void)
{
    struct error err;
    return backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1, .tier = "c"}, &err);
}

/* Over the weights that are open. */
static bool open_model(struct tiny_stack *s, uint32_t n_ctx, struct error *err)
{
    if (!s->weights)
        fail_msg("%s", err->message);
    assert_non_null(s->be);
    s->model = model_create(s->weights, s->be, &(struct model_options){.n_ctx = n_ctx}, err);
    return s->model;
}

bool tiny_stack_open_folder_on(struct tiny_stack *s, struct backend *be,
                               const struct tiny_folder_kind *kind, uint32_t n_ctx,
                               struct error *err)
{
    *s = (struct tiny_stack){.be = be};
    *err = (struct error){.message = ""};
    tiny_folder_init(&s->folder, kind);
    s->weights = weights_open_files(s->folder.files, 2, NULL, err);
    return open_model(s, n_ctx, err);
}

bool tiny_stack_open_folder(struct tiny_stack *s, const struct tiny_folder_kind *kind,
                            uint32_t n_ctx, struct error *err)
{
    return tiny_stack_open_folder_on(s, plainest(), kind, n_ctx, err);
}

bool tiny_stack_open_gguf(struct tiny_stack *s, const char *architecture,
                          void (*more)(struct gguf_builder *g), uint32_t n_ctx, struct error *err)
{
    *s = (struct tiny_stack){.be = plainest()};
    *err = (struct error){.message = ""};
    tiny_model_init_as(&s->file, architecture, more);
    s->weights = weights_open_bytes(s->file.data, s->file.size, err);
    return open_model(s, n_ctx, err);
}

void tiny_stack_close(struct tiny_stack *s)
{
    model_destroy(s->model);
    s->be->ops->destroy(s->be);
    weights_close(s->weights);
    tiny_model_deinit(&s->file);
    tiny_folder_deinit(&s->folder);
}

float *tiny_stack_logits(struct tiny_stack *s, uint32_t n_tokens)
{
    enum { N_PAGES = TINY_STACK_MAX_TOKENS / BACKEND_PAGE_TOKENS };
    struct error err;
    struct backend_row rows[TINY_STACK_MAX_TOKENS];
    uint32_t pages[N_PAGES];
    const struct backend_sequence sequence = {pages, N_PAGES};
    struct backend_kv_shape shape = model_kv_shape(s->model);
    assert_in_range(n_tokens, 1, TINY_STACK_MAX_TOKENS);
    for (uint32_t i = 0; i < N_PAGES; i++)
        pages[i] = i;
    shape.n_pages = N_PAGES;
    assert_true(s->be->ops->kv_init(s->be, &shape, &err));
    for (uint32_t i = 0; i < n_tokens; i++)
        rows[i] = (struct backend_row){.token = (int32_t)((i * 37 + 11) % 256),
                                       .position = (int32_t)i,
                                       .wants_logits = true};
    float *logits = malloc(n_tokens * TINY_VOCAB * sizeof *logits);
    assert_non_null(logits);
    for (uint32_t first = 0, n; first < n_tokens; first += n) {
        const uint32_t most = s->be->traits.max_rows;
        n = n_tokens - first < most ? n_tokens - first : most;
        assert_true(model_compute(s->model,
                                  &(struct backend_batch){rows + first, n, &sequence, 1},
                                  logits + (size_t)first * TINY_VOCAB, &err));
    }
    for (uint32_t i = 0; i < n_tokens * TINY_VOCAB; i++)
        assert_true(isfinite(logits[i]));
    return logits;
}

float *tiny_stack_logits_of_folder(const struct tiny_folder_kind *kind, uint32_t n_ctx,
                                   uint32_t n_tokens)
{
    struct tiny_stack s;
    struct error err;
    if (!tiny_stack_open_folder(&s, kind, n_ctx, &err))
        fail_msg("%s: %s", kind->config, err.message);
    float *logits = tiny_stack_logits(&s, n_tokens);
    tiny_stack_close(&s);
    return logits;
}

float *tiny_stack_logits_of_gguf(const char *architecture, void (*more)(struct gguf_builder *g),
                                 uint32_t n_ctx, uint32_t n_tokens)
{
    struct tiny_stack s;
    struct error err;
    if (!tiny_stack_open_gguf(&s, architecture, more, n_ctx, &err))
        fail_msg("%s: %s", architecture, err.message);
    float *logits = tiny_stack_logits(&s, n_tokens);
    tiny_stack_close(&s);
    return logits;
}
