/* A backend whose steps, saves and loads fail on demand: the requests of that step end with its
 * error, all else goes on with the same tokens. And one that takes few rows at a time. */
#include "backend/cpu/cpu.h"
#include "engine/engine.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the CPU backend, with faults ---- */

static const struct backend_ops *real;
static atomic_int steps_until_failure; /* 0: none fails */
static atomic_bool saves_fail, bytes_fail, loads_fail;

static atomic_uint most_rows; /* of any batch */

static void noting_begin(struct backend *be, const struct backend_batch *batch)
{
    if (batch->n_rows > most_rows)
        most_rows = batch->n_rows;
    real->begin(be, batch);
}

static bool faulty_end(struct backend *be, struct error *err)
{
    bool ok = real->end(be, err);
    if (steps_until_failure > 0 && !--steps_until_failure)
        return error_set(err, ERROR_INTERNAL, "the device is gone");
    return ok;
}

static struct backend_save *faulty_save(struct backend *be, enum backend_kept kept, uint32_t id,
                                        struct error *err)
{
    if (!saves_fail)
        return real->save_begin(be, kept, id, err);
    error_set(err, ERROR_NO_MEMORY, "no memory to save to");
    return NULL;
}

static const void *faulty_bytes(struct backend *be, struct backend_save *save, struct error *err)
{
    if (!bytes_fail)
        return real->save_bytes(be, save, err);
    error_set(err, ERROR_INTERNAL, "the device is gone");
    return NULL;
}

static bool faulty_load(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                        bool is_whole, struct error *err)
{
    bool ok = real->load_end(be, kept, id, bytes, is_whole, err);
    if (loads_fail)
        return error_set(err, ERROR_INTERNAL, "the device is gone");
    return ok;
}

static struct backend *faulty_create(void)
{
    static struct backend_ops ops;
    struct error err;
    struct backend *be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1}, &err);
    assert_non_null(be);
    real = be->ops;
    ops = *real;
    ops.begin = noting_begin;
    ops.end = faulty_end;
    ops.save_begin = faulty_save;
    ops.save_bytes = faulty_bytes;
    ops.load_end = faulty_load;
    be->ops = &ops;
    steps_until_failure = 0;
    most_rows = 0;
    saves_fail = bytes_fail = loads_fail = false;
    return be;
}

/* ---- an engine over it ---- */

struct world {
    struct tiny_model file;
    struct weights *weights;
    struct backend *be;
    struct model *model;
    struct tokenizer *tokenizer;
    struct engine *engine;
};

static void world_begin_with(struct world *w, const char *folder, uint32_t prefill_rows,
                             uint32_t max_rows)
{
    struct error err = {.message = ""};
    const struct engine_options options = {.disk_folder = folder, .prefill_rows = prefill_rows};
    tiny_model_init(&w->file);
    w->weights = weights_open_bytes(w->file.data, w->file.size, &err);
    w->be = faulty_create();
    w->be->traits.max_rows = max_rows;
    w->model = model_create(w->weights, w->be, NULL, &err);
    w->tokenizer = tokenizer_create(w->weights, &err);
    w->engine = engine_create(w->model, w->be, w->tokenizer, &options, &err);
    if (!w->engine)
        fail_msg("%s", err.message);
}

static void world_begin(struct world *w, const char *folder)
{
    world_begin_with(w, folder, 32, BACKEND_MAX_ROWS);
}

static void world_end(struct world *w)
{
    engine_destroy(w->engine);
    tokenizer_destroy(w->tokenizer);
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    weights_close(w->weights);
    tiny_model_deinit(&w->file);
}

enum { N_PROMPT = 200, N_ANSWER = 12 };

struct listener {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t tokens[N_ANSWER];
    uint32_t n_tokens;
    bool ended, failed;
    struct error err;
    struct engine_usage usage;
};

static enum engine_verdict on_token(void *context, int32_t id, const char *bytes, size_t n_bytes,
                                    float logprob)
{
    struct listener *l = context;
    (void)bytes;
    (void)n_bytes;
    (void)logprob;
    assert_true(l->n_tokens < N_ANSWER);
    l->tokens[l->n_tokens++] = id;
    return ENGINE_CONTINUE;
}

static void end(struct listener *l)
{
    pthread_mutex_lock(&l->lock);
    l->ended = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void on_finished(void *context, enum engine_finish reason, const struct engine_usage *usage)
{
    struct listener *l = context;
    (void)reason;
    l->usage = *usage;
    end(l);
}

static void on_failed(void *context, const struct error *err)
{
    struct listener *l = context;
    l->failed = true;
    l->err = *err;
    end(l);
}

static void submit(struct world *w, struct listener *l, uint32_t kind)
{
    int32_t tokens[N_PROMPT];
    struct error err = {.message = ""};
    for (uint32_t i = 0; i < N_PROMPT; i++)
        tokens[i] = (int32_t)((i * 2654435761u + kind * 40503u) >> 7) & 0xff;
    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    const struct engine_request request = {
        .tokens = tokens,
        .n_tokens = N_PROMPT,
        .max_tokens = N_ANSWER,
        .sampling = {.temperature = 0, .top_p = 1},
        .sink = {.context = l,
                 .token = on_token,
                 .finished = on_finished,
                 .failed = on_failed},
    };
    if (!engine_submit(w->engine, &request, &err))
        fail_msg("refused: %s", err.message);
}

static void wait_for(struct listener *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->ended)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

static void run(struct world *w, struct listener *l, uint32_t kind)
{
    submit(w, l, kind);
    wait_for(l);
}

static void assert_same(const struct listener *a, const struct listener *b)
{
    assert_false(a->failed || b->failed);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
}

/* ---- the tests ---- */

/* In the first step, within the prompt, and within the answer. */
static void a_failed_step_ends_its_requests_and_no_others(void **state)
{
    (void)state;
    static const int whens[] = {1, 3, N_PROMPT / 32 + 5};
    static struct listener before, failing, after;
    struct world w;
    for (size_t i = 0; i < sizeof whens / sizeof *whens; i++) {
        world_begin(&w, NULL);
        run(&w, &before, 1);
        steps_until_failure = whens[i];
        run(&w, &failing, 2);
        assert_true(failing.failed);
        assert_int_equal(failing.err.code, ERROR_INTERNAL);
        assert_string_equal(failing.err.message, "the device is gone");
        run(&w, &after, 1);
        assert_same(&before, &after);
        /* what the failed step would have computed is not taken for computed */
        run(&w, &failing, 2);
        world_end(&w);
        world_begin(&w, NULL);
        run(&w, &before, 2);
        assert_same(&before, &failing);
        world_end(&w);
    }
}

/* Those of them that have come by then; whatever happens, each ends. */
static void every_request_of_the_batch_hears_of_it(void **state)
{
    (void)state;
    static struct listener l[3];
    struct world w;
    world_begin(&w, NULL);
    steps_until_failure = 3;
    for (uint32_t i = 0; i < 3; i++)
        submit(&w, &l[i], i);
    uint32_t n_failed = 0;
    for (uint32_t i = 0; i < 3; i++) {
        wait_for(&l[i]);
        n_failed += l[i].failed;
    }
    assert_in_range(n_failed, 1, 3);
    run(&w, &l[0], 0);
    assert_false(l[0].failed);
    world_end(&w);
}

static void pages_that_cannot_be_saved_are_not_on_disk(void **state)
{
    (void)state;
    static struct listener first, again;
    struct world w;
    for (int i = 0; i < 2; i++) {
        world_begin(&w, temp_folder);
        *(i ? &bytes_fail : &saves_fail) = true;
        run(&w, &first, 1);
        world_end(&w);
        world_begin(&w, temp_folder);
        *(i ? &bytes_fail : &saves_fail) = true;
        run(&w, &again, 1);
        assert_int_equal(again.usage.n_cached, 0);
        assert_same(&first, &again);
        world_end(&w);
    }
}

static void pages_that_cannot_be_loaded_are_computed_again(void **state)
{
    (void)state;
    static struct listener first, again;
    struct world w;
    world_begin(&w, temp_folder);
    run(&w, &first, 1);
    world_end(&w);
    world_begin(&w, temp_folder);
    loads_fail = true;
    run(&w, &again, 1);
    assert_same(&first, &again);
    struct engine_stats stats;
    engine_stats(w.engine, &stats);
    assert_true(stats.n_tokens_computed >= N_PROMPT);
    world_end(&w);
}

static void a_backend_gets_no_more_rows_than_it_takes(void **state)
{
    (void)state;
    static struct listener free_hand, l[3];
    struct world w;
    world_begin_with(&w, NULL, BACKEND_MAX_ROWS, BACKEND_MAX_ROWS);
    run(&w, &free_hand, 1);
    world_end(&w);
    world_begin_with(&w, NULL, BACKEND_MAX_ROWS, 40);
    for (uint32_t i = 0; i < 3; i++)
        submit(&w, &l[i], i);
    for (uint32_t i = 0; i < 3; i++)
        wait_for(&l[i]);
    assert_same(&free_hand, &l[1]);
    assert_in_range(most_rows, HOSTILE ? 1 : 40, 40);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_step_ends_its_requests_and_no_others),
        cmocka_unit_test(every_request_of_the_batch_hears_of_it),
        TEST_IN_TEMP_FOLDER(pages_that_cannot_be_saved_are_not_on_disk),
        TEST_IN_TEMP_FOLDER(pages_that_cannot_be_loaded_are_computed_again),
        cmocka_unit_test(a_backend_gets_no_more_rows_than_it_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
