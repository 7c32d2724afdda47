/* The suite's list, its helpers, and the operations that keep nothing. */
#include "backend/conformance_parts.h"

static const struct conformance_subject *subject;

/* ---- helpers ---- */

struct backend *conformance_backend(void)
{
    struct error err = {.message = ""};
    struct backend *be = subject->create(subject->context, &err);
    if (!be)
        fail_msg("%s", err.message);
    return be;
}

struct backend_activation *conformance_activation(struct backend *be, uint32_t width)
{
    struct error err = {.message = ""};
    struct backend_activation *a = be->ops->activation(be, width, &err);
    if (!a)
        fail_msg("%s", err.message);
    return a;
}

const struct backend_matrix *conformance_take(struct backend *be, const struct matrix *m)
{
    struct error err = {.message = ""};
    const struct backend_matrix *taken = be->ops->matrix(be, m, &err);
    if (!taken)
        fail_msg("%s", err.message);
    return taken;
}

void conformance_step_init(struct conformance_step *s, struct backend *be)
{
    memset(s, 0, sizeof *s);
    s->be = be;
}

void conformance_step_add(struct conformance_step *s, uint32_t sequence, uint32_t first,
                          uint32_t n)
{
    assert_true(s->n_rows + n <= s->be->traits.max_rows);
    for (uint32_t i = 0; i < n; i++, s->n_rows++)
        s->rows[s->n_rows] = (struct backend_row){(int32_t)(s->n_rows * 7 % 50),
                                                  (int32_t)(first + i), sequence,
                                                  s->n_rows % 3 == 0};
}

void conformance_step_begin(struct conformance_step *s)
{
    s->batch = (struct backend_batch){s->rows, s->n_rows, s->sequences, CONFORMANCE_SEQUENCES};
    s->be->ops->begin(s->be, &s->batch);
}

void conformance_step_end(struct conformance_step *s)
{
    struct error err = {.message = ""};
    if (!s->be->ops->end(s->be, &err))
        fail_msg("%s", err.message);
    s->n_rows = 0;
}

void conformance_near(const double *expected, const float *got, size_t n, double tolerance,
                      const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(expected[i] - (double)got[i]) <= tolerance * (1 + fabs(expected[i]))))
            fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)got[i], expected[i]);
}

void conformance_same(const struct backend *be, const float *expected, const float *got, size_t n,
                      const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const double off = fabs((double)expected[i] - (double)got[i]);
        if (be->traits.same_bits ? memcmp(&expected[i], &got[i], sizeof *got) != 0
                                 : !(off <= 1e-3 * (1 + fabs((double)expected[i]))))
            fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)got[i],
                     (double)expected[i]);
    }
}

/* ---- what it is ---- */

static void it_says_what_it_is(void **state)
{
    (void)state;
    struct backend *be = conformance_backend();
    struct backend_memory memory;
    assert_true(strlen(be->ops->describe(be)) > 0 && strlen(be->ops->kv_identity(be)) > 0);
    assert_in_range(be->traits.max_rows, 32, BACKEND_MAX_ROWS);
    assert_in_range(be->traits.tile_rows, 1, be->traits.max_rows);
    be->ops->memory(be, &memory);
    assert_int_equal(memory.kv, 0);
    be->ops->destroy(be);
}

/* For numbers of rows up to the most; another activation's memory is spoiled only where it is
 * shared. */
static void rows_come_back_as_they_were(void **state)
{
    (void)state;
    enum { WIDTH = 33, FIRST = 5, INNER = 20 };
    struct backend *be = conformance_backend();
    struct error err = {.message = ""};
    struct backend_activation *a = conformance_activation(be, WIDTH);
    struct backend_activation *b = conformance_activation(be, WIDTH);
    struct backend_activation *in = be->ops->activation_within(be, b, FIRST, INNER, &err);
    assert_non_null(in);
    struct conformance_step s;
    conformance_step_init(&s, be);
    const uint32_t sizes[] = {1, 2, 17, be->traits.max_rows};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = (size_t)sizes[i] * WIDTH, n_in = (size_t)sizes[i] * INNER;
        float *x = floats(n), *y = floats(n_in), *got = floats(n), *got_in = floats(n_in);
        conformance_step_add(&s, 0, 0, sizes[i]);
        conformance_step_begin(&s);
        be->ops->write(be, a, x);
        be->ops->write(be, in, y);
        be->ops->read(be, a, got);
        be->ops->read(be, in, got_in);
        conformance_step_end(&s);
        assert_memory_equal(x, got, n * sizeof *x);
        assert_memory_equal(y, got_in, n_in * sizeof *y);
        free(x);
        free(y);
        free(got);
        free(got_in);
    }
    be->ops->destroy(be);
}

/* ---- products ---- */

static const enum quant_type types[] = {
#define X(name, ...) QUANT_##name,
    QUANT_TYPES(X)
#undef X
};
enum { N_TYPES = sizeof types / sizeof *types };

/* y[row] = w x[row] + bias within what conformance.h allows; from `exact` on a tenth of that. */
static void check_product(const struct matrix *w, const float *x, uint32_t n_rows,
                          const float *bias, float exact, const float *y)
{
    const size_t n_in = w->n_cols, n_out = w->n_rows;
    float *row = malloc(n_in * sizeof *row);
    for (size_t r = 0; r < n_out; r++) {
        matrix_decode(w, r, row);
        for (size_t t = 0; t < n_rows; t++) {
            double sum = bias ? (double)bias[r] : 0, error = 1e-4;
            double step = y[t * n_out + r] >= exact ? 0.051 / 127 : 0.51 / 127;
            step = w->type == QUANT_F32 ? 1e-6 : step;
            for (size_t b = 0; b < n_in; b += 32) {
                double most = 0, weight = 0;
                for (size_t i = b; i < b + 32 && i < n_in; i++) {
                    const double v = (double)x[t * n_in + i];
                    sum += v * (double)row[i];
                    weight += fabs((double)row[i]);
                    most = fabs(v) > most ? fabs(v) : most;
                }
                error += weight * most * step;
            }
            if (!(fabs(sum - (double)y[t * n_out + r]) <= error))
                fail_msg("%s, %u rows: output %zu of row %zu is %g, not %g",
                         quant_traits(w->type)->name, n_rows, r, t, (double)y[t * n_out + r], sum);
        }
    }
    free(row);
}

/* Some rows through three outputs at once: the whole with a bias, and two views of its rows. */
static void check_linear(const struct matrix *w, uint32_t n_rows)
{
    struct backend *be = conformance_backend();
    const size_t n_in = w->n_cols, n_out = w->n_rows, half = n_out / 2;
    float *x = floats(n_rows * n_in), *b = floats(n_out), *y = floats(n_rows * n_out),
          *part = floats(n_rows * n_out);
    const struct matrix bias = matrix_of_blocks(QUANT_F32, n_out, 1, 1, b);
    const struct matrix views[] = {matrix_rows(w, 0, half), matrix_rows(w, half, n_out - half)};
    struct backend_activation *in = conformance_activation(be, (uint32_t)n_in);
    const struct backend_linear outputs[] = {
        {conformance_take(be, &views[0]), NULL, conformance_activation(be, (uint32_t)half)},
        {conformance_take(be, w), conformance_take(be, &bias),
         conformance_activation(be, (uint32_t)n_out)},
        {conformance_take(be, &views[1]), NULL,
         conformance_activation(be, (uint32_t)(n_out - half))},
    };
    struct conformance_step s;
    conformance_step_init(&s, be);
    conformance_step_add(&s, 0, 0, n_rows);
    conformance_step_begin(&s);
    be->ops->write(be, in, x);
    be->ops->linear(be, in, outputs, 3);
    be->ops->read(be, outputs[1].y, y);
    be->ops->read(be, outputs[2].y, part);
    conformance_step_end(&s);
    check_product(w, x, n_rows, b, INFINITY, y);
    check_product(&views[1], x, n_rows, NULL, INFINITY, part);
    free(x);
    free(b);
    free(y);
    free(part);
    be->ops->destroy(be);
}

bool conformance_accepts(const struct matrix *w)
{
    struct backend *be = conformance_backend();
    struct error err = {.message = ""};
    const bool is = be->ops->matrix(be, w, &err);
    if (!is)
        assert_int_equal(err.code, ERROR_UNSUPPORTED);
    assert_true(is || w->type != QUANT_F32);
    be->ops->destroy(be);
    return is;
}

static void products_are_those_of_the_decoded_weights(void **state)
{
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix w = fixture_matrix(types[i], 512, 41);
        if (conformance_accepts(&w)) {
            check_linear(&w, 1);
            check_linear(&w, 3);
            check_linear(&w, 20);
        }
        fixture_free(&w);
    }
    struct matrix odd = fixture_matrix(QUANT_F32, 37, 5);
    check_linear(&odd, 14);
    fixture_free(&odd);
}

static float largest_of(const float *x, size_t n)
{
    float most = x[0];
    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* Rows 0, 3, 6, ... want logits: those come in order, and those that a sampler could care for are
 * more exact than products need be; and no row may want any. */
static void logits_are_those_of_the_rows_that_want_them(void **state)
{
    (void)state;
    enum { N_IN = 256, N_VOCAB = 300, ROWS = 10, WANTED = 4, NATS_BELOW = 10 };
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix w = fixture_matrix(types[i], N_IN, N_VOCAB);
        if (!conformance_accepts(&w)) {
            fixture_free(&w);
            continue;
        }
        struct backend *be = conformance_backend();
        float *x = floats(ROWS * N_IN), *logits = floats(WANTED * N_VOCAB);
        struct backend_activation *in = conformance_activation(be, N_IN);
        struct backend_activation *selected = conformance_activation(be, N_IN);
        const struct backend_matrix *taken = conformance_take(be, &w);
        struct conformance_step s;
        conformance_step_init(&s, be);
        conformance_step_add(&s, 0, 0, ROWS);
        conformance_step_begin(&s);
        be->ops->write(be, in, x);
        assert_int_equal(be->ops->select(be, in, selected), WANTED);
        be->ops->logits(be, selected, taken, logits);
        conformance_step_end(&s);
        for (size_t k = 0; k < WANTED; k++)
            check_product(&w, x + 3 * k * N_IN, 1, NULL,
                          largest_of(logits + k * N_VOCAB, N_VOCAB) - NATS_BELOW,
                          logits + k * N_VOCAB);
        conformance_step_add(&s, 0, 0, ROWS);
        for (int k = 0; k < ROWS; k++)
            s.rows[k].wants_logits = false;
        conformance_step_begin(&s);
        assert_int_equal(be->ops->select(be, in, selected), 0);
        conformance_step_end(&s);
        free(x);
        free(logits);
        be->ops->destroy(be);
        fixture_free(&w);
    }
}

static void embeddings_are_the_rows_of_the_table(void **state)
{
    (void)state;
    enum { WIDTH = 256, ROWS = 31 };
    float row[WIDTH];
    double expected[WIDTH];
    for (int i = 0; i < N_TYPES; i++) {
        struct matrix table = fixture_matrix(types[i], WIDTH, 50);
        struct backend *be = conformance_accepts(&table) ? conformance_backend() : NULL;
        if (!be) {
            fixture_free(&table);
            continue;
        }
        struct backend_activation *x = conformance_activation(be, WIDTH);
        const struct backend_matrix *taken = conformance_take(be, &table);
        float *got = floats(ROWS * WIDTH);
        struct conformance_step s;
        conformance_step_init(&s, be);
        conformance_step_add(&s, 0, 0, ROWS);
        conformance_step_begin(&s);
        be->ops->embed(be, taken, x);
        be->ops->read(be, x, got);
        conformance_step_end(&s);
        for (size_t t = 0; t < ROWS; t++) {
            matrix_decode(&table, t * 7 % 50, row);
            for (int k = 0; k < WIDTH; k++)
                expected[k] = (double)row[k];
            conformance_near(expected, got + t * WIDTH, WIDTH, 1e-6, "an embedding");
        }
        free(got);
        be->ops->destroy(be);
        fixture_free(&table);
    }
}

/* ---- one row after the other ---- */

static void rms_norm_row(const float *x, const float *w, double eps, size_t n, double *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i] / sqrt(sum / (double)n + eps) * (double)w[i];
}

static double gelu(double g)
{
    return 0.5 * g * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g)));
}

static void row_operations_are_their_formulas(void **state)
{
    (void)state;
    enum { WIDTH = 96, ROWS = 29, N = ROWS * WIDTH };
    static double norm[N], sum[N], swish[N], gauss[N];
    struct backend *be = conformance_backend();
    const struct backend_ops *op = be->ops;
    struct backend_activation *x = conformance_activation(be, WIDTH);
    struct backend_activation *y = conformance_activation(be, WIDTH);
    float *a = floats(N), *b = floats(N), *w = floats(WIDTH), *got = floats(4 * N);
    const struct matrix weight = matrix_of_blocks(QUANT_F32, WIDTH, 1, 1, w);
    const struct backend_matrix *taken = conformance_take(be, &weight);
    struct conformance_step s;
    conformance_step_init(&s, be);
    conformance_step_add(&s, 0, 0, ROWS);
    conformance_step_begin(&s);
    op->write(be, x, a);
    op->rms_norm(be, x, taken, 1e-5f, y);
    op->read(be, y, got);
    op->rms_norm(be, x, taken, 1e-5f, x); /* in place, too */
    op->write(be, x, a);
    op->write(be, y, b);
    op->add(be, x, y);
    op->read(be, x, got + N);
    op->write(be, x, a);
    op->swiglu(be, x, y);
    op->read(be, x, got + 2 * N);
    op->write(be, x, a);
    op->geglu(be, x, y);
    op->read(be, x, got + 3 * N);
    conformance_step_end(&s);
    for (size_t t = 0; t < ROWS; t++)
        rms_norm_row(a + t * WIDTH, w, 1e-5, WIDTH, norm + t * WIDTH);
    for (size_t i = 0; i < N; i++) {
        const double g = (double)a[i], up = (double)b[i];
        sum[i] = (double)(a[i] + b[i]);
        swish[i] = g / (1 + exp(-g)) * up;
        gauss[i] = gelu(g) * up;
    }
    conformance_near(norm, got, N, 3e-6, "rms_norm");
    conformance_near(sum, got + N, N, 0, "add");
    conformance_near(swish, got + 2 * N, N, 3e-6, "swiglu");
    conformance_near(gauss, got + 3 * N, N, 1e-5, "geglu");
    free(a);
    free(b);
    free(w);
    free(got);
    be->ops->destroy(be);
}

/* A weight shorter than the row is a norm of each head, of whatever width. */
static void heads_are_normed_by_themselves(void **state)
{
    (void)state;
    enum { WIDTH = 1200, ROWS = 29, N = ROWS * WIDTH };
    static const size_t head_dims[] = {2, 12, 16, 24, 100, 240, 400, WIDTH};
    static double expected[N];
    for (size_t h = 0; h < sizeof head_dims / sizeof *head_dims; h++) {
        const size_t dim = head_dims[h];
        struct backend *be = conformance_backend();
        struct backend_activation *x = conformance_activation(be, WIDTH);
        struct backend_activation *y = conformance_activation(be, WIDTH);
        float *a = floats(N), *w = floats(dim), *got = floats(2 * N);
        const struct matrix weight = matrix_of_blocks(QUANT_F32, dim, 1, 1, w);
        const struct backend_matrix *taken = conformance_take(be, &weight);
        struct conformance_step s;
        conformance_step_init(&s, be);
        conformance_step_add(&s, 0, 0, ROWS);
        conformance_step_begin(&s);
        be->ops->write(be, x, a);
        be->ops->rms_norm(be, x, taken, 1e-6f, y);
        be->ops->read(be, y, got);
        be->ops->rms_norm(be, x, taken, 1e-6f, x);
        be->ops->read(be, x, got + N);
        conformance_step_end(&s);
        for (size_t i = 0; i < N; i += dim)
            rms_norm_row(a + i, w, 1e-6, dim, expected + i);
        conformance_near(expected, got, N, 3e-6, "a norm per head");
        assert_memory_equal(got, got + N, N * sizeof *got); /* in place, too */
        free(a);
        free(w);
        free(got);
        be->ops->destroy(be);
    }
}

/* A factor alone is exact; the stretch goes by a row's absolute position, wherever it stands in a
 * batch. */
static void rows_are_scaled_by_their_positions(void **state)
{
    (void)state;
    enum { WIDTH = 33, ROWS = 29, N = ROWS * WIDTH, SPAN = 10 };
    static const struct backend_scale scales[] = {{0.22f, 0, 0}, {1, 0.1f, SPAN}, {0.5f, 2, SPAN}};
    static double expected[N];
    struct backend *be = conformance_backend();
    struct backend_activation *x = conformance_activation(be, WIDTH);
    float *a = floats(N), *got = floats(N);
    struct conformance_step s;
    conformance_step_init(&s, be);
    for (uint32_t first = 0; first < 100000; first = first * 317 + 5)
        for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
            const struct backend_scale *scale = &scales[k];
            conformance_step_add(&s, 0, first, ROWS);
            conformance_step_begin(&s);
            be->ops->write(be, x, a);
            be->ops->scale(be, x, scale);
            be->ops->read(be, x, got);
            conformance_step_end(&s);
            for (uint32_t i = 0; i < N; i++) {
                const uint32_t spans = (first + i / WIDTH) / SPAN;
                const double stretch = 1 + (double)scale->stretch * log(1.0 + spans);
                expected[i] = scale->n_positions ? (double)(scale->factor * a[i]) * stretch
                                                 : (double)(scale->factor * a[i]);
            }
            conformance_near(expected, got, N, scale->n_positions ? 3e-7 : 0, "scale");
        }
    free(a);
    free(got);
    be->ops->destroy(be);
}

/* ---- RoPE ---- */

enum { HEADS = 3, DIM = 64, ROPE_ROWS = 25, FAR = 30000 };

static long double angle_of(const struct backend_rope_params *p, uint32_t i, uint32_t position)
{
    long double scale = (long double)p->freq_scale;
    if (p->yarn.n_ctx_original) {
        const long double base = logl((long double)p->freq_base), two_pi = 2 * acosl(-1);
        const long double n = p->yarn.n_ctx_original;
        long double first =
            p->n_dims * logl(n / ((long double)p->yarn.beta_fast * two_pi)) / (2 * base);
        long double last =
            p->n_dims * logl(n / ((long double)p->yarn.beta_slow * two_pi)) / (2 * base);
        first = fmaxl(floorl(first), 0);
        last = fminl(ceill(last), p->n_dims - 1.0L);
        const long double ramp =
            fminl(fmaxl((i - first) / fmaxl(last - first, 0.001L), 0), 1);
        scale = 1 - ramp + ramp * scale;
    }
    long double angle = powl((long double)p->freq_base, -2.0L * i / p->n_dims) * scale * position;
    return p->factors ? angle / (long double)p->factors[i] : angle;
}

static void rotated(const struct backend_rope_params *p, const float *in, uint32_t position,
                    double *out)
{
    for (uint32_t i = 0; i < DIM; i++)
        out[i] = (double)in[i];
    for (uint32_t i = 0; i < p->n_dims / 2; i++) {
        const uint32_t a = p->kind == BACKEND_ROPE_PAIRS ? 2 * i : i;
        const uint32_t b = p->kind == BACKEND_ROPE_PAIRS ? 2 * i + 1 : i + p->n_dims / 2;
        const double m = (double)p->magnitude, angle = (double)angle_of(p, i, position);
        const double c = m * (double)cosl(angle_of(p, i, position)), s = m * sin(angle);
        out[a] = (double)in[a] * c - (double)in[b] * s;
        out[b] = (double)in[a] * s + (double)in[b] * c;
    }
}

/* Far positions are as exact as near ones; what is not rotated stays; several sets of parameters
 * in one step and over several steps are not mixed up. */
static void rope_turns_by_the_position(void **state)
{
    (void)state;
    float factors[DIM / 2];
    for (int i = 0; i < DIM / 2; i++)
        factors[i] = 1 + (float)i / 8;
    const struct backend_rope_params all[] = {
        {BACKEND_ROPE_PAIRS, DIM, 1e4f, 1, NULL, 1, {0}},
        {BACKEND_ROPE_HALVES, DIM, 1e6f, 0.5f, NULL, 1, {0}},
        {BACKEND_ROPE_HALVES, 34, 1e6f, 0.5f, factors, 1.25f, {0}},
        {BACKEND_ROPE_PAIRS, 62, 1e4f, 0.25f, NULL, 1, {4096, 32, 1}},
    };
    enum { N_PARAMS = sizeof all / sizeof *all, N = ROPE_ROWS * HEADS * DIM };
    struct backend *be = conformance_backend();
    struct backend_activation *x[N_PARAMS];
    float *before = floats(N), *got = floats(N_PARAMS * N);
    double expected[DIM];
    struct conformance_step s;
    conformance_step_init(&s, be);
    for (int k = 0; k < N_PARAMS; k++)
        x[k] = conformance_activation(be, HEADS * DIM);
    for (uint32_t first = 0; first <= FAR; first += FAR / 2) {
        conformance_step_add(&s, 0, first, ROPE_ROWS);
        conformance_step_begin(&s);
        for (int k = 0; k < N_PARAMS; k++) {
            be->ops->write(be, x[k], before);
            be->ops->rope(be, x[k], HEADS, DIM, &all[k]);
            be->ops->read(be, x[k], got + k * N);
        }
        conformance_step_end(&s);
        for (size_t k = 0; k < N_PARAMS; k++)
            for (uint32_t i = 0; i < ROPE_ROWS * HEADS; i++) {
                rotated(&all[k], before + i * DIM, first + i / HEADS, expected);
                conformance_near(expected, got + k * N + i * DIM, DIM, 2e-6, "rope");
            }
    }
    free(before);
    free(got);
    be->ops->destroy(be);
}

/* ---- the same in any batch ---- */

/* A network's worth of operations but for attention (conformance_kv.c's): out [n][WIDTH], of input
 * rows order[0 .. n). */
enum { WIDTH = 256, N_FF = 512, N_SAME = 29 };

struct small_net {
    struct backend *be;
    struct backend_activation *x, *h, *gate, *up;
    const struct backend_matrix *norm, *head_norm, *w_gate, *w_up, *w_down;
};

static void net_compute(struct small_net *net, const float *x, const uint32_t *order, uint32_t n,
                        float *out)
{
    struct backend *be = net->be;
    const struct backend_ops *op = be->ops;
    const struct backend_linear gate_up[] = {{net->w_gate, NULL, net->gate},
                                             {net->w_up, NULL, net->up}};
    float rows[N_SAME * WIDTH];
    struct conformance_step s;
    conformance_step_init(&s, be);
    for (uint32_t i = 0; i < n; i++)
        memcpy(rows + i * WIDTH, x + order[i] * WIDTH, WIDTH * sizeof *x);
    conformance_step_add(&s, 0, 0, n);
    conformance_step_begin(&s);
    op->write(be, net->x, rows);
    op->rms_norm(be, net->x, net->norm, 1e-5f, net->h);
    op->linear(be, net->h, gate_up, 2);
    op->rms_norm(be, net->gate, net->head_norm, 1e-5f, net->gate);
    op->swiglu(be, net->gate, net->up);
    op->linear(be, net->gate, &(struct backend_linear){net->w_down, NULL, net->h}, 1);
    op->scale(be, net->h, &(struct backend_scale){.factor = 0.22f});
    op->add(be, net->x, net->h);
    op->read(be, net->x, out);
    conformance_step_end(&s);
}

static void check_same(enum quant_type type)
{
    static const uint32_t chunks[] = {2, 3, 5, 12, N_SAME};
    struct matrix m[] = {fixture_matrix(type, WIDTH, N_FF), fixture_matrix(type, WIDTH, N_FF),
                         fixture_matrix(type, N_FF, WIDTH)};
    float *w = floats(WIDTH), *x = floats(N_SAME * WIDTH), *alone = floats(N_SAME * WIDTH),
          got[N_SAME * WIDTH];
    const struct matrix norm = matrix_of_blocks(QUANT_F32, WIDTH, 1, 1, w);
    const struct matrix head_norm = matrix_of_blocks(QUANT_F32, N_FF / 8, 1, 1, w);
    struct backend *be = conformance_accepts(&m[0]) ? conformance_backend() : NULL;
    if (be) {
        struct small_net net = {be,
                                conformance_activation(be, WIDTH),
                                conformance_activation(be, WIDTH),
                                conformance_activation(be, N_FF),
                                conformance_activation(be, N_FF),
                                conformance_take(be, &norm),
                                conformance_take(be, &head_norm),
                                conformance_take(be, &m[0]),
                                conformance_take(be, &m[1]),
                                conformance_take(be, &m[2])};
        uint32_t order[N_SAME];
        for (uint32_t i = 0; i < N_SAME; i++)
            net_compute(&net, x, &i, 1, alone + i * WIDTH);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            for (uint32_t i = 0; i < N_SAME; i++)
                order[i] = c % 2 ? N_SAME - 1 - i : i;
            for (uint32_t i = 0; i < N_SAME; i += chunks[c]) {
                const uint32_t n = N_SAME - i < chunks[c] ? N_SAME - i : chunks[c];
                net_compute(&net, x, order + i, n, got);
                for (uint32_t k = 0; k < n; k++)
                    conformance_same(be, alone + order[i + k] * WIDTH, got + k * WIDTH, WIDTH,
                                     quant_traits(type)->name);
            }
        }
        be->ops->trim(be); /* and goes on */
        net_compute(&net, x, order, 1, got);
        conformance_same(be, alone + order[0] * WIDTH, got, WIDTH, "after trim");
        be->ops->destroy(be);
    }
    for (int i = 0; i < 3; i++)
        fixture_free(&m[i]);
    free(w);
    free(x);
    free(alone);
}

static void a_row_is_the_same_in_any_batch(void **state)
{
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        check_same(types[i]);
}

/* ---- what is refused ---- */

static void wrong_matrices_are_refused(void **state)
{
    (void)state;
    struct backend *be = conformance_backend();
    float *w = floats(64 * 4);
    struct error err = {.message = ""};
    struct matrix m = matrix_of_blocks(QUANT_F32, 64, 4, 1, w);
    m.type = (enum quant_type)99;
    assert_null(be->ops->matrix(be, &m, &err));
    assert_int_equal(err.code, ERROR_UNSUPPORTED);
    assert_true(strlen(err.message) > 0);
    m.type = QUANT_F32;
    m.n_experts = BACKEND_MAX_EXPERTS + 1;
    assert_null(be->ops->matrix(be, &m, &err));
    assert_int_equal(err.code, ERROR_UNSUPPORTED);
    m.n_experts = 1;
    assert_non_null(be->ops->matrix(be, &m, &err)); /* and goes on */
    free(w);
    be->ops->destroy(be);
}

int conformance_run(const struct conformance_subject *s)
{
    subject = s;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(rows_come_back_as_they_were),
        cmocka_unit_test(products_are_those_of_the_decoded_weights),
        cmocka_unit_test(logits_are_those_of_the_rows_that_want_them),
        cmocka_unit_test(embeddings_are_the_rows_of_the_table),
        cmocka_unit_test(row_operations_are_their_formulas),
        cmocka_unit_test(heads_are_normed_by_themselves),
        cmocka_unit_test(rows_are_scaled_by_their_positions),
        cmocka_unit_test(rope_turns_by_the_position),
        cmocka_unit_test(a_row_is_the_same_in_any_batch),
        cmocka_unit_test(wrong_matrices_are_refused),
        cmocka_unit_test(conformance_experts_are_their_formula),
        cmocka_unit_test(conformance_experts_are_products_of_each_type),
        cmocka_unit_test(conformance_full_batches_of_experts_are_rows_alone),
        cmocka_unit_test(conformance_rows_of_nan_spoil_themselves_alone),
        cmocka_unit_test(conformance_attention_is_its_formula),
        cmocka_unit_test(conformance_layers_may_differ),
        cmocka_unit_test(conformance_sequences_do_not_see_each_other),
        cmocka_unit_test(conformance_pages_that_windows_left_may_be_gone),
        cmocka_unit_test(conformance_a_copied_page_goes_on_like_the_original),
        cmocka_unit_test(conformance_saved_pages_go_on_elsewhere),
        cmocka_unit_test(conformance_saves_go_on_beside_steps),
        cmocka_unit_test(conformance_states_are_copied_saved_and_loaded),
        cmocka_unit_test(conformance_wrong_shapes_are_refused),
    };
    return cmocka_run_group_tests_name(s->name, tests, NULL, NULL);
}
