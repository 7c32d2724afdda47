/* The same answer, always: a row's logits depend on its tokens and position alone, bit for bit,
 * however the prompt is cut into batches, whatever else is in the batch, and for any number of
 * threads. */
#include "stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 150, N_CTX = 512, FAR_PAGE = 256 / BACKEND_PAGE_TOKENS };

static const char *path;
static int32_t tokens[N];
static float *expected; /* [N][n_vocab], one token at a time, one thread */

static void same(const char *what, const float *logits, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < N; i++)
        if (memcmp(logits + (size_t)i * n_vocab, expected + (size_t)i * n_vocab,
                   n_vocab * sizeof(float)) != 0)
            fail_msg("%s: the logits of position %u differ", what, i);
}

static float *room(uint32_t n_vocab)
{
    float *logits = malloc((size_t)N * n_vocab * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static void the_cut_of_the_prompt_does_not_matter(void **state)
{
    (void)state;
    static const uint32_t steps[] = {2, 7, 64, 65, N};
    struct stack s;
    stack_open(&s, path, 1, NULL, N_CTX);
    float *logits = room(s.n_vocab);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char what[40];
        snprintf(what, sizeof what, "%u rows a batch", steps[i]);
        stack_compute(&s, tokens, 0, N, steps[i], 0, logits);
        same(what, logits, s.n_vocab);
    }
    free(logits);
    stack_close(&s);
}

static void threads_and_pages_do_not_matter(void **state)
{
    (void)state;
    for (uint32_t n_threads = 2; n_threads <= 3; n_threads++) {
        struct stack s;
        stack_open(&s, path, n_threads, NULL, N_CTX);
        float *logits = room(s.n_vocab);
        stack_compute(&s, tokens, 0, N, 64, FAR_PAGE, logits);
        same("other threads and pages", logits, s.n_vocab);
        free(logits);
        stack_close(&s);
    }
}

/* Ours and a stranger that is ahead of us, 3 and 5 rows a batch. */
static void neighbours_do_not_matter(void **state)
{
    (void)state;
    enum { OURS = 3, STRANGERS = 5 };
    struct stack s;
    stack_open(&s, path, 2, NULL, N_CTX);
    float *logits = room(s.n_vocab);
    struct backend_sequence sequences[] = {
        {.pages = s.pages, .n_pages = FAR_PAGE},
        {.pages = s.pages + FAR_PAGE, .n_pages = s.n_pages - FAR_PAGE},
    };
    int32_t strange[N * 2];
    for (int i = 0; i < N * 2; i++)
        strange[i] = tokens[(i * 7 + 3) % N];
    for (int done = 0; done < N; done += OURS) {
        struct backend_row rows[OURS + STRANGERS];
        for (int i = 0; i < OURS; i++)
            rows[i] = (struct backend_row){tokens[done + i], done + i, 0, true};
        for (int i = 0; i < STRANGERS; i++) {
            int position = done / OURS * STRANGERS + i;
            rows[OURS + i] = (struct backend_row){strange[position], position, 1, false};
        }
        struct backend_batch batch = {rows, OURS + STRANGERS, sequences, 2};
        struct error err;
        assert_true(model_compute(s.model, &batch, logits + (size_t)done * s.n_vocab, &err));
    }
    same("with a neighbour", logits, s.n_vocab);
    free(logits);
    stack_close(&s);
}

static int compute_expected(void **state)
{
    (void)state;
    struct stack s;
    stack_open(&s, path, 1, NULL, N_CTX);
    for (uint32_t i = 0; i < N; i++)
        tokens[i] = (int32_t)((i * 2654435761u >> 7) % (s.n_vocab - 400));
    expected = room(s.n_vocab);
    stack_compute(&s, tokens, 0, N, 1, 0, expected);
    stack_close(&s);
    return 0;
}

static int free_expected(void **state)
{
    (void)state;
    free(expected);
    return 0;
}

int main(int argc, char **argv)
{
    path = stack_model_path(argc > 1 ? argv[1] : "smollm2");
    if (!path)
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cut_of_the_prompt_does_not_matter),
        cmocka_unit_test(threads_and_pages_do_not_matter),
        cmocka_unit_test(neighbours_do_not_matter),
    };
    return cmocka_run_group_tests(tests, compute_expected, free_expected);
}
