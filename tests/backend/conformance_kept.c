/* Pages and states that are copied, saved and loaded, and shapes that are refused. */
#include "backend/conformance_house.h"

#include <pthread.h>

static const struct house_layer layers[] = {
    {4, {.n_kv_heads = 2, .head_dim = 32}},
    {2, {.n_kv_heads = 1, .head_dim = 64, .window = 40, .n_state = 10}},
    {2, {.n_kv_heads = 2, .head_dim = 32, .n_back = 2}},
    {0, {.n_state = 33}},
};
enum {
    N_LAYERS = sizeof layers / sizeof *layers,
    N_TOKENS = CONFORMANCE_P * 2 + CONFORMANCE_P / 2 < HOUSE_MAX_TOKENS
                   ? CONFORMANCE_P * 2 + CONFORMANCE_P / 2
                   : HOUSE_MAX_TOKENS,
};

/* Another telling of the same story. */
static void retell_init(struct story *s, const struct house *h, const struct story *of)
{
    story_init(s, h, of->n);
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        const size_t n_q = (size_t)of->n * layers[i].n_heads * layers[i].kv.head_dim;
        const size_t n_kv = (size_t)of->n * layers[i].kv.n_kv_heads * layers[i].kv.head_dim;
        memcpy(s->q[i], of->q[i], n_q * sizeof(float));
        memcpy(s->k[i], of->k[i], n_kv * sizeof(float));
        memcpy(s->v[i], of->v[i], n_kv * sizeof(float));
    }
}

/* A shared first page and a copy of the second's beginning: it goes on as the original, and another
 * continuation of a copy leaves the original alone. */
void conformance_a_copied_page_goes_on_like_the_original(void **state)
{
    (void)state;
    enum { SHARED = CONFORMANCE_P + CONFORMANCE_P / 4 };
    struct house h;
    struct story s, other, again;
    assert_true(house_init(&h, layers, N_LAYERS, BACKEND_KV_F16));
    story_init(&s, &h, N_TOKENS);
    story_init(&other, &h, N_TOKENS);
    retell_init(&again, &h, &s);
    house_tell(&h, &s, 0, 0, 60);
    for (uint32_t k = 1; k <= 2; k++) {
        h.pages[k][0] = h.pages[0][0];
        h.be->ops->kv_page_copy(h.be, h.pages[k][1], h.pages[0][1], SHARED - CONFORMANCE_P);
        house_tell(&h, k == 1 ? &other : &again, k, SHARED, 60);
    }
    house_same(&h, &s, &again, SHARED, "a copied page");
    house_tell(&h, &again, 0, N_TOKENS - 1, 1);
    house_same(&h, &s, &again, SHARED, "the original");
    story_deinit(&s);
    story_deinit(&other);
    story_deinit(&again);
    house_deinit(&h);
}

/* ---- saving and loading ---- */

static void *save(struct backend *be, enum backend_kept kept, uint32_t id, uint64_t n_bytes)
{
    struct error err = {.message = ""};
    void *copy = malloc(n_bytes);
    struct backend_save *begun = be->ops->save_begin(be, kept, id, &err);
    const void *bytes = begun ? be->ops->save_bytes(be, begun, &err) : NULL;
    if (!bytes || !copy)
        fail_msg("%s", err.message);
    memcpy(copy, bytes, n_bytes);
    be->ops->save_end(be, begun);
    return copy;
}

static void load(struct backend *be, enum backend_kept kept, uint32_t id, const void *saved,
                 uint64_t n_bytes)
{
    struct error err = {.message = ""};
    void *bytes = be->ops->load_begin(be, kept, id, &err);
    if (!bytes)
        fail_msg("%s", err.message);
    memcpy(bytes, saved, n_bytes);
    if (!be->ops->load_end(be, kept, id, bytes, true, &err))
        fail_msg("%s", err.message);
}

/* Every page of a sequence is saved, the memory is taken anew, the pages are loaded to other ids:
 * the sequence goes on as if nothing had been, and what is saved again is what was loaded. */
static void check_saved(enum backend_kv_type type)
{
    enum { BEFORE = N_TOKENS - 20 > 0 ? N_TOKENS - 20 : N_TOKENS / 2 };
    struct house h;
    struct story s, again;
    void *saved[HOUSE_PAGES];
    const uint32_t n_pages = (BEFORE + CONFORMANCE_P - 1) / CONFORMANCE_P;
    struct error err = {.message = ""};
    if (!house_init(&h, layers, N_LAYERS, type))
        return;
    const uint64_t n_bytes = h.be->ops->kv_page_bytes(h.be, &h.shape);
    story_init(&s, &h, N_TOKENS);
    retell_init(&again, &h, &s);
    house_tell(&h, &s, 0, 0, 60);
    for (uint32_t i = 0; i < n_pages; i++)
        saved[i] = save(h.be, BACKEND_PAGE, h.pages[0][i], n_bytes);
    assert_true(h.be->ops->kv_init(h.be, &h.shape, &err));
    for (uint32_t i = 0; i < n_pages; i++) {
        load(h.be, BACKEND_PAGE, h.pages[1][i], saved[i], n_bytes);
        void *twice = save(h.be, BACKEND_PAGE, h.pages[1][i], n_bytes);
        assert_memory_equal(saved[i], twice, n_bytes);
        free(twice);
        free(saved[i]);
    }
    house_tell(&h, &again, 1, BEFORE, 7);
    house_same(&h, &s, &again, BEFORE, "after loading");
    story_deinit(&s);
    story_deinit(&again);
    house_deinit(&h);
}

void conformance_saved_pages_go_on_elsewhere(void **state)
{
    (void)state;
    check_saved(BACKEND_KV_F16);
    check_saved(BACKEND_KV_Q8_0);
    check_saved(BACKEND_KV_Q4_0);
}

struct waiter {
    struct backend *be;
    struct backend_save *save;
    void *copy;
    uint64_t n_bytes;
};

static void *wait_for_bytes(void *context)
{
    struct waiter *w = context;
    struct error err;
    const void *bytes = w->be->ops->save_bytes(w->be, w->save, &err);
    if (bytes)
        memcpy(w->copy, bytes, w->n_bytes);
    return (void *)bytes;
}

/* Two saves wait on threads of their own while a step reads their page and writes another; a load
 * that could not be filled harms nobody, and its page can be computed again. */
void conformance_saves_go_on_beside_steps(void **state)
{
    (void)state;
    enum { N_SAVES = 2 };
    struct house h;
    struct story s, again;
    struct waiter waiters[N_SAVES];
    pthread_t threads[N_SAVES];
    struct error err = {.message = ""};
    assert_true(house_init(&h, layers, N_LAYERS, BACKEND_KV_F16));
    const uint64_t n_bytes = h.be->ops->kv_page_bytes(h.be, &h.shape);
    story_init(&s, &h, N_TOKENS);
    retell_init(&again, &h, &s);
    house_tell(&h, &s, 0, 0, 60);
    void *before = save(h.be, BACKEND_PAGE, h.pages[0][0], n_bytes);
    for (int i = 0; i < N_SAVES; i++) {
        waiters[i] = (struct waiter){
            h.be, h.be->ops->save_begin(h.be, BACKEND_PAGE, h.pages[0][0], &err), malloc(n_bytes),
            n_bytes};
        assert_non_null(waiters[i].save);
        assert_false(pthread_create(&threads[i], NULL, wait_for_bytes, &waiters[i]));
    }
    house_tell(&h, &again, 0, CONFORMANCE_P, 1);
    house_same(&h, &s, &again, CONFORMANCE_P, "beside saves");
    for (int i = 0; i < N_SAVES; i++) {
        void *bytes;
        assert_false(pthread_join(threads[i], &bytes));
        assert_non_null(bytes);
        assert_memory_equal(before, waiters[i].copy, n_bytes);
        h.be->ops->save_end(h.be, waiters[i].save);
        free(waiters[i].copy);
    }
    void *bytes = h.be->ops->load_begin(h.be, BACKEND_PAGE, h.pages[0][0], &err);
    assert_non_null(bytes);
    memset(bytes, 0, n_bytes / 2);
    assert_true(h.be->ops->load_end(h.be, BACKEND_PAGE, h.pages[0][0], bytes, false, &err));
    house_tell(&h, &again, 0, 0, 60);
    house_same(&h, &s, &again, 0, "computed again");
    free(before);
    story_deinit(&s);
    story_deinit(&again);
    house_deinit(&h);
}

void conformance_states_are_copied_saved_and_loaded(void **state)
{
    (void)state;
    struct house h;
    float first[43], second[43]; /* of 10 and 33 */
    static const float zeros[43];
    assert_true(house_init(&h, layers, N_LAYERS, BACKEND_KV_F16));
    const struct backend_ops *op = h.be->ops;
    const uint64_t n_bytes = op->kv_state_bytes(h.be, &h.shape);
    assert_int_equal(n_bytes, sizeof first);
    fixture_fill(first, 43);
    fixture_fill(second, 43);
    load(h.be, BACKEND_STATE, 0, first, n_bytes);
    load(h.be, BACKEND_STATE, 1, second, n_bytes);
    op->kv_state_copy(h.be, 2, 0);
    op->kv_state_clear(h.be, 0);
    const void *const expected[HOUSE_STATES] = {zeros, second, first};
    for (uint32_t i = 0; i < HOUSE_STATES; i++) {
        void *saved = save(h.be, BACKEND_STATE, i, n_bytes);
        assert_memory_equal(expected[i], saved, n_bytes);
        free(saved);
    }
    house_deinit(&h);
}

/* ---- what is refused ---- */

static void refused(struct backend *be, const struct backend_kv_layer *kv, uint32_t n_layers,
                    uint32_t n_pages, enum error_code code)
{
    struct error err = {.message = ""};
    const struct backend_kv_shape shape = {
        .layers = kv, .n_layers = n_layers, .n_pages = n_pages, .n_states = 1};
    assert_false(be->ops->kv_init(be, &shape, &err));
    assert_int_equal(err.code, code);
    assert_true(strlen(err.message) > 0);
}

void conformance_wrong_shapes_are_refused(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct backend *be = conformance_backend();
    struct error err = {.message = ""};
    const struct backend_kv_layer good = {2, 64};
    struct backend_kv_layer huge[MANY];
    for (int i = 0; i < MANY; i++)
        huge[i] = (struct backend_kv_layer){1000, 1024};
    refused(be, huge, MANY, UINT32_MAX, ERROR_TOO_LARGE);
    refused(be, NULL, 0, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){{0}}, 1, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){{2, 0}}, 1, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){{2, 64, .n_back = 1}}, 1, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){good, {1, 64, .n_back = 1}}, 2, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){good, {2, 32, .n_back = 1}}, 2, 4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){good, {2, 64, .n_back = 1}, {2, 64, .n_back = 1}}, 3,
            4, ERROR_UNSUPPORTED);
    refused(be, (struct backend_kv_layer[]){{.n_state = 3}, {2, 64, .n_back = 1}}, 2, 4,
            ERROR_UNSUPPORTED);
    const struct backend_kv_shape shape = {.layers = &good, .n_layers = 1, .n_pages = 4};
    assert_true(be->ops->kv_init(be, &shape, &err)); /* and goes on */
    assert_true(be->ops->kv_page_bytes(be, &shape) > 0);
    assert_int_equal(be->ops->kv_state_bytes(be, &shape), 0);
    assert_true(be->ops->kv_init(be, &shape, &err)); /* again: the old pool goes */
    be->ops->destroy(be);
}
