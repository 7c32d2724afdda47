/* Attention over KV pages: against plain double arithmetic, and the same bits alone, in mixed
 * batches, in any chunks, on any pages and for any number of threads. */
#include "fixture.h"

enum { LAYERS = 2, LAYER = 1, P = BACKEND_PAGE_TOKENS, N_PAGES = 4096 / P };

/* One sequence's whole input: q, k, v of each position. */
struct input {
    uint32_t n, n_heads, n_kv_heads, head_dim;
    float *q, *k, *v;
};

static void input_init(struct input *in, uint32_t n, uint32_t n_heads, uint32_t n_kv_heads,
                       uint32_t head_dim)
{
    *in = (struct input){n, n_heads, n_kv_heads, head_dim, NULL, NULL, NULL};
    const size_t n_q = (size_t)n * n_heads * head_dim, n_kv = (size_t)n * n_kv_heads * head_dim;
    in->q = malloc(n_q * sizeof(float));
    in->k = malloc(n_kv * sizeof(float));
    in->v = malloc(n_kv * sizeof(float));
    fixture_fill(in->q, n_q);
    fixture_fill(in->k, n_kv);
    fixture_fill(in->v, n_kv);
}

static void input_deinit(struct input *in)
{
    free(in->q);
    free(in->k);
    free(in->v);
}

/* A backend with its activations, and up to four sequences on pages of their own. */
struct machine {
    struct backend *be;
    struct backend_activation *q, *k, *v, *out;
    struct backend_row rows[BACKEND_MAX_ROWS];
    struct backend_sequence sequences[4];
    uint32_t pages[4][N_PAGES], n_rows;
    struct backend_attend_params params;
    uint32_t window;
    bool slides; /* pages are given up as the window leaves them */
};

static void machine_init_type(struct machine *m, const struct input *in, uint32_t n_threads,
                              const char *tier, enum backend_kv_type type, uint32_t window)
{
    struct error err;
    memset(m, 0, sizeof *m);
    m->be = fixture_backend(n_threads, tier);
    m->q = fixture_activation(m->be, in->n_heads * in->head_dim);
    m->out = fixture_activation(m->be, in->n_heads * in->head_dim);
    m->k = fixture_activation(m->be, in->n_kv_heads * in->head_dim);
    m->v = fixture_activation(m->be, in->n_kv_heads * in->head_dim);
    const struct backend_kv_layer layer = {in->n_kv_heads, in->head_dim, window};
    const struct backend_kv_layer layers[LAYERS] = {layer, layer};
    const struct backend_kv_shape shape = {
        .layers = layers, .n_layers = LAYERS, .n_pages = N_PAGES, .type = type};
    assert_true(m->be->ops->kv_init(m->be, &shape, &err));
    m->window = window;
    for (uint32_t s = 0; s < 4; s++) {
        for (uint32_t i = 0; i < N_PAGES / 4; i++) /* scattered */
            m->pages[s][i] = (i * 4 + s) * 13 % N_PAGES;
        m->sequences[s] = (struct backend_sequence){m->pages[s], N_PAGES / 4};
    }
    m->params.n_heads = in->n_heads;
    m->params.scale = 1 / sqrtf((float)in->head_dim);
}

static void machine_init(struct machine *m, const struct input *in, uint32_t n_threads,
                         const char *tier)
{
    machine_init_type(m, in, n_threads, tier, BACKEND_KV_F16, 0);
}

/* Adds positions [first, first + n) of `in` as sequence s to the batch. */
static void machine_add(struct machine *m, const struct input *in, uint32_t s, uint32_t first,
                        uint32_t n)
{
    const size_t n_q = in->n_heads * in->head_dim, n_kv = in->n_kv_heads * in->head_dim;
    for (uint32_t i = 0; i < n; i++, m->n_rows++) {
        m->rows[m->n_rows] = (struct backend_row){0, (int32_t)(first + i), s, false};
        memcpy(m->q->data + m->n_rows * n_q, in->q + (first + i) * n_q, n_q * sizeof(float));
        memcpy(m->k->data + m->n_rows * n_kv, in->k + (first + i) * n_kv, n_kv * sizeof(float));
        memcpy(m->v->data + m->n_rows * n_kv, in->v + (first + i) * n_kv, n_kv * sizeof(float));
    }
}

/* Computes the batch; the result of its rows is m->out. */
static void machine_run(struct machine *m, const struct input *in)
{
    const struct backend_ops *op = m->be->ops;
    const struct backend_batch batch = {m->rows, m->n_rows, m->sequences, 4};
    op->begin(m->be, &batch);
    op->kv_store(m->be, LAYER, m->k, m->v);
    op->attend(m->be, LAYER, m->q, &m->params, m->out);
    assert_true(op->end(m->be, NULL));
    m->n_rows = 0;
}

/* All of `in` as sequence s in chunks of the given size, to out [n][n_heads * head_dim]. */
static void machine_run_chunks(struct machine *m, const struct input *in, uint32_t s,
                               uint32_t chunk, float *out)
{
    const size_t width = in->n_heads * in->head_dim;
    for (uint32_t i = 0; i < in->n; i += chunk) {
        uint32_t n = in->n - i < chunk ? in->n - i : chunk;
        machine_add(m, in, s, i, n);
        machine_run(m, in);
        memcpy(out + i * width, m->out->data, n * width * sizeof *out);
        const uint32_t first_seen = backend_first_seen(i + n, m->window);
        for (uint32_t k = 0; m->slides && k < first_seen / P; k++)
            m->pages[s][k] = BACKEND_NO_PAGE;
    }
}

static void machine_deinit(struct machine *m)
{
    m->be->ops->destroy(m->be);
}

/* ---- the formula ---- */

static void naive_head(const struct input *in, uint32_t row, uint32_t head, uint32_t window,
                       double scale, double *out)
{
    const uint32_t d = in->head_dim, kv = head / (in->n_heads / in->n_kv_heads);
    const float *q = in->q + (row * in->n_heads + head) * d;
    const uint32_t start = window && row >= window ? row - window + 1 : 0;
    double *p = malloc((row + 1) * sizeof *p), most = -INFINITY, sum = 0;
    for (uint32_t j = start; j <= row; j++) {
        p[j] = 0;
        for (uint32_t i = 0; i < d; i++)
            p[j] += (double)q[i] * (double)in->k[(j * in->n_kv_heads + kv) * d + i];
        p[j] *= scale;
        most = p[j] > most ? p[j] : most;
    }
    memset(out, 0, d * sizeof *out);
    for (uint32_t j = start; j <= row; j++) {
        double e = exp(p[j] - most);
        sum += e;
        for (uint32_t i = 0; i < d; i++)
            out[i] += e * (double)in->v[(j * in->n_kv_heads + kv) * d + i];
    }
    for (uint32_t i = 0; i < d; i++)
        out[i] /= sum;
    free(p);
}

/* Values are about 1. f16 rounds by 2^-11 (bfloat16 by 2^-9, of differences), q8_0 by 1/254 of the
 * largest of 32, q4_0 by 1/16 of it; each shifts the weights of the softmax, too. */
static const double tolerances[] = {
    [BACKEND_KV_F16] = 1e-2, [BACKEND_KV_Q8_0] = 2e-2, [BACKEND_KV_Q4_0] = 0.3};

static void check_formula(const struct input *in, uint32_t window, enum backend_kv_type type)
{
    const size_t width = in->n_heads * in->head_dim;
    float *out = malloc(in->n * width * sizeof *out);
    double expected[256];
    struct machine m;
    machine_init_type(&m, in, 2, NULL, type, window);
    machine_run_chunks(&m, in, 0, 100, out);
    for (uint32_t row = 0; row < in->n; row += 1 + row / 7) {
        for (uint32_t h = 0; h < in->n_heads; h++) {
            naive_head(in, row, h, window, 1 / sqrt((double)in->head_dim), expected);
            for (uint32_t i = 0; i < in->head_dim; i++) {
                double off = fabs(expected[i] - (double)out[row * width + h * in->head_dim + i]);
                if (!(off < tolerances[type]))
                    fail_msg("type %d, head_dim %u, row %u: %g off", (int)type, in->head_dim, row,
                             off);
            }
        }
    }
    machine_deinit(&m);
    free(out);
}

static void attention_is_its_formula(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, n_heads, n_kv_heads, head_dim, window;
    } shapes[] = {{600, 4, 2, 64, 0},  {130, 6, 6, 80, 0},  {70, 3, 1, 96, 0},
                  {65, 2, 2, 128, 0},  {30, 2, 1, 256, 0},  {64, 5, 5, 18, 0},
                  {90, 300, 1, 16, 0}, {700, 4, 2, 64, 1},  {700, 3, 3, 64, 100},
                  {650, 7, 1, 32, 64}, {600, 4, 4, 48, 300}, {300, 2, 1, 64, 5000}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct input in;
        input_init(&in, shapes[s].n, shapes[s].n_heads, shapes[s].n_kv_heads, shapes[s].head_dim);
        for (int type = BACKEND_KV_F16; type <= BACKEND_KV_Q4_0; type++)
            check_formula(&in, shapes[s].window, (enum backend_kv_type)type);
        input_deinit(&in);
    }
}

/* ---- the promise ---- */

/* The same sequence whole and in chunks, 1 to 4 threads, with and without a window (whose pages
 * are gone when it has left them), of every KV type, on every tier. */
static void chunks_and_threads_change_nothing(void **state)
{
    (void)state;
    static const uint32_t chunks[] = {1, 7, 16, 64, 100, 333, 1, 20, 512};
    static const uint32_t windows[] = {0, 0, 0, 0, 0, 0, 70, 256, 500};
    static const enum backend_kv_type kv_types[] = {
        BACKEND_KV_F16, BACKEND_KV_Q8_0, BACKEND_KV_Q4_0, BACKEND_KV_F16, BACKEND_KV_Q8_0,
        BACKEND_KV_Q4_0, BACKEND_KV_F16, BACKEND_KV_Q8_0, BACKEND_KV_F16};
    struct input in;
    input_init(&in, 600, 6, 2, 64);
    const size_t n = (size_t)in.n * in.n_heads * in.head_dim;
    float *whole = malloc(n * sizeof *whole), *out = malloc(n * sizeof *out);
    char what[64];
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++) {
        if (!kernels_tier_runs(tier))
            continue;
        for (uint32_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            struct machine m;
            if (!tier && i)
                break; /* the reference takes its time */
            machine_init_type(&m, &in, 1, kernels_tier_name(tier), kv_types[i], windows[i]);
            machine_run_chunks(&m, &in, 0, 512, whole);
            machine_deinit(&m);
            machine_init_type(&m, &in, 1 + (i + 1) % 4, kernels_tier_name(tier),
                              kv_types[i], windows[i]);
            m.slides = windows[i] > 0;
            machine_run_chunks(&m, &in, i % 4, chunks[i], out);
            machine_deinit(&m);
            snprintf(what, sizeof what, "tier %s, chunks of %u, window %u, KV type %d",
                     kernels_tier_name(tier), chunks[i], windows[i], (int)kv_types[i]);
            fixture_assert_same(whole, out, n, what);
        }
    }
    input_deinit(&in);
    free(whole);
    free(out);
}

/* Four sequences of different lengths, some generating and some reading, in the same batches. */
static void sequences_do_not_see_each_other(void **state)
{
    (void)state;
    static const uint32_t lengths[4] = {700, 90, 301, 64}, chunks[4] = {1, 30, 77, 5};
    struct input in[4];
    float *alone[4];
    struct machine m;
    for (int s = 0; s < 4; s++) {
        input_init(&in[s], lengths[s], 14, 2, 64);
        alone[s] = malloc((size_t)lengths[s] * 14 * 64 * sizeof(float));
        machine_init(&m, &in[s], 2, NULL);
        machine_run_chunks(&m, &in[s], 0, 256, alone[s]);
        machine_deinit(&m);
    }
    machine_init(&m, &in[0], 3, NULL);
    uint32_t done[4] = {640, 0, 0, 0};
    for (uint32_t i = 0; i < done[0]; i += 128) { /* the first is deep in its context already */
        machine_add(&m, &in[0], 0, i, 128);
        machine_run(&m, &in[0]);
    }
    for (bool more = true; more;) {
        uint32_t first[4], n[4];
        more = false;
        for (uint32_t s = 0; s < 4; s++) {
            first[s] = done[s];
            n[s] = lengths[s] - done[s] < chunks[s] ? lengths[s] - done[s] : chunks[s];
            machine_add(&m, &in[s], s, first[s], n[s]);
            done[s] += n[s];
            more |= done[s] < lengths[s];
        }
        machine_run(&m, &in[0]);
        const float *out = m.out->data;
        for (int s = 0; s < 4; s++) {
            fixture_assert_same(alone[s] + first[s] * 14 * 64, out, n[s] * 14 * 64, "a neighbour");
            out += n[s] * 14 * 64;
        }
    }
    machine_deinit(&m);
    for (int s = 0; s < 4; s++) {
        input_deinit(&in[s]);
        free(alone[s]);
    }
}

/* A copied page with a shared first one goes on as the original, and the original is left alone. */
static void copied_pages_go_on_like_the_original(void **state)
{
    (void)state;
    enum { SHARED = P + P / 4 };
    struct input in, other;
    struct machine m;
    input_init(&in, 2 * P + P / 2, 4, 2, 64);
    input_init(&other, 2 * P + P / 2, 4, 2, 64);
    const size_t width = 4 * 64, n_rest = in.n - SHARED;
    float *whole = malloc(in.n * width * sizeof *whole);
    machine_init(&m, &in, 2, NULL);
    machine_run_chunks(&m, &in, 0, 500, whole);

    m.pages[1][0] = m.pages[0][0];
    m.be->ops->kv_page_copy(m.be, m.pages[1][1], m.pages[0][1], SHARED - P);
    machine_add(&m, &other, 1, SHARED, (uint32_t)n_rest); /* another continuation */
    machine_run(&m, &in);
    m.be->ops->kv_page_copy(m.be, m.pages[2][1], m.pages[0][1], SHARED - P);
    m.pages[2][0] = m.pages[0][0];
    machine_add(&m, &in, 2, SHARED, (uint32_t)n_rest); /* the same one */
    machine_run(&m, &in);
    fixture_assert_same(whole + SHARED * width, m.out->data, n_rest * width, "a copied page");
    machine_add(&m, &in, 0, in.n - 1, 1);
    machine_run(&m, &in);
    fixture_assert_same(whole + (in.n - 1) * width, m.out->data, width, "the original");
    machine_deinit(&m);
    input_deinit(&in);
    input_deinit(&other);
    free(whole);
}

/* Values that f16 cannot hold become its largest, not infinite, and hidden positions stay hidden. */
static void huge_values_stay_finite_and_hidden(void **state)
{
    (void)state;
    struct input in;
    struct machine m;
    input_init(&in, 40, 2, 1, 16);
    float *before = malloc(in.n * 32 * sizeof *before), *after = malloc(in.n * 32 * sizeof *after);
    machine_init(&m, &in, 2, NULL);
    machine_run_chunks(&m, &in, 0, 40, before);
    for (size_t i = 20 * 16; i < 40 * 16; i++)
        in.k[i] = in.v[i] = 1e30f;
    machine_run_chunks(&m, &in, 0, 40, after);
    fixture_assert_same(before, after, 20 * 32, "rows before the huge ones");
    for (size_t i = 20 * 32; i < 40 * 32; i++)
        assert_true(isfinite(after[i]));
    machine_deinit(&m);
    input_deinit(&in);
    free(before);
    free(after);
}

static void pools_beyond_reason_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct backend *be = fixture_backend(1, NULL);
    struct backend_kv_layer layers[1000];
    for (int i = 0; i < 1000; i++)
        layers[i] = (struct backend_kv_layer){1000, 1024};
    const struct backend_kv_shape huge = {
        .layers = layers, .n_layers = 1000, .n_pages = UINT32_MAX};
    assert_false(be->ops->kv_init(be, &huge, &err));
    const struct backend_kv_shape none = {.n_pages = 1};
    assert_false(be->ops->kv_init(be, &none, &err));
    for (int i = 0; i < 24; i++)
        layers[i] = (struct backend_kv_layer){2, 64};
    const struct backend_kv_shape good = {.layers = layers, .n_layers = 24, .n_pages = 4};
    assert_true(be->ops->kv_init(be, &good, &err));
    const uint64_t n_bytes = be->ops->kv_page_bytes(be, &good), values = 24 * 2 * 2 * 64 * P;
    assert_true(n_bytes >= values * 2 && n_bytes < values * 2.1);
    const struct backend_kv_shape small = {
        .layers = layers, .n_layers = 24, .n_pages = 4, .type = BACKEND_KV_Q4_0};
    if (!HOSTILE) /* small pages are mostly what each has once */
        assert_true(be->ops->kv_page_bytes(be, &small) < values * 0.6);
    assert_true(be->ops->kv_init(be, &good, &err)); /* again: the old pool goes */
    be->ops->destroy(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_its_formula),
        cmocka_unit_test(chunks_and_threads_change_nothing),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(copied_pages_go_on_like_the_original),
        cmocka_unit_test(huge_values_stay_finite_and_hidden),
        cmocka_unit_test(pools_beyond_reason_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
