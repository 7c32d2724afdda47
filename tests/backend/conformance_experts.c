/* Mixtures of experts: in plain double arithmetic, and as the products of single experts. */
#include "backend/conformance_parts.h"

enum { MAX_EXPERTS = 64, MAX_USED = 8, MAX_WIDTH = 256, ROWS = 29 };

struct mixture_shape {
    enum quant_type type;
    uint32_t width, n_ff, n_experts, n_used;
    bool normalize;
};

/* A mixture on a backend, with its input and what it is to give. */
struct mixture {
    struct mixture_shape shape;
    struct backend *be;
    struct matrix gate, up, down;
    struct backend_experts experts;
    struct backend_activation *x, *scores, *out;
    float *in, *router; /* [ROWS][width], [ROWS][n_experts] */
};

/* [n_experts][n_out][n_in] */
static struct matrix experts_matrix(enum quant_type type, size_t n_in, size_t n_out,
                                    size_t n_experts)
{
    struct matrix m = fixture_matrix(type, n_in, n_out * n_experts);
    m.n_rows = n_out;
    m.n_experts = n_experts;
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        m.parts[i].expert_bytes = m.parts[i].row_bytes * n_out;
    return m;
}

/* Down-projections of floats are scaled, so that what comes out is about as large as what went
 * in. */
static void mixture_init(struct mixture *m, struct mixture_shape shape)
{
    const uint32_t width = shape.width, n_ff = shape.n_ff, n = shape.n_used;
    struct backend *be = conformance_backend();
    *m = (struct mixture){.shape = shape, .be = be};
    m->gate = experts_matrix(shape.type, width, n_ff, shape.n_experts);
    m->up = experts_matrix(shape.type, width, n_ff, shape.n_experts);
    m->down = experts_matrix(shape.type, n_ff, width, shape.n_experts);
    for (size_t i = 0; i < shape.n_experts * width * n_ff && shape.type == QUANT_F32; i++)
        ((float *)m->down.parts[MATRIX_BLOCKS].data)[i] *= 0.05f;
    m->experts = (struct backend_experts){n,
                                          shape.normalize,
                                          conformance_take(be, &m->gate),
                                          conformance_take(be, &m->up),
                                          conformance_take(be, &m->down),
                                          conformance_activation(be, n * width),
                                          conformance_activation(be, n * n_ff),
                                          conformance_activation(be, n * n_ff)};
    m->x = conformance_activation(be, width);
    m->scores = conformance_activation(be, shape.n_experts);
    m->out = conformance_activation(be, width);
    m->in = floats((size_t)ROWS * width);
    m->router = floats((size_t)ROWS * shape.n_experts);
}

static void mixture_deinit(struct mixture *m)
{
    m->be->ops->destroy(m->be);
    fixture_free(&m->gate);
    fixture_free(&m->up);
    fixture_free(&m->down);
    free(m->in);
    free(m->router);
}

/* Input rows order[0 .. n), of up to three sequences, in one step; out may be x. */
static void mixture_compute(struct mixture *m, const uint32_t *order, uint32_t n, bool in_place,
                            float *out)
{
    struct backend *be = m->be;
    const size_t width = m->shape.width, n_experts = m->shape.n_experts;
    float x[ROWS * MAX_WIDTH], scores[ROWS * MAX_EXPERTS];
    struct conformance_step s;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(x + i * width, m->in + order[i] * width, width * sizeof *x);
        memcpy(scores + i * n_experts, m->router + order[i] * n_experts,
               n_experts * sizeof *scores);
    }
    conformance_step_init(&s, be);
    for (uint32_t i = 0; i < CONFORMANCE_SEQUENCES; i++)
        conformance_step_add(&s, i, 0, n * (i + 1) / CONFORMANCE_SEQUENCES -
                                           n * i / CONFORMANCE_SEQUENCES);
    conformance_step_begin(&s);
    be->ops->write(be, m->x, x);
    be->ops->write(be, m->scores, scores);
    be->ops->experts(be, m->x, m->scores, &m->experts, in_place ? m->x : m->out);
    be->ops->read(be, in_place ? m->x : m->out, out);
    conformance_step_end(&s);
}

/* ---- what it is to give ---- */

struct choices {
    size_t experts[MAX_USED];
    double weights[MAX_USED];
};

static struct choices choices_of(const struct mixture *m, size_t row)
{
    const size_t n = m->shape.n_experts, n_used = m->shape.n_used;
    const float *scores = m->router + row * n;
    struct choices c;
    bool taken[MAX_EXPERTS] = {false};
    double sum = 0, chosen = 0;
    for (size_t e = 0; e < n; e++)
        sum += exp((double)scores[e]);
    for (size_t i = 0; i < n_used; i++) {
        size_t best = n;
        for (size_t e = 0; e < n; e++)
            if (!taken[e] && (best == n || scores[e] > scores[best]))
                best = e;
        taken[best] = true;
        c.experts[i] = best;
        c.weights[i] = exp((double)scores[best]) / sum;
        chosen += c.weights[i];
    }
    for (size_t i = 0; i < n_used && m->shape.normalize; i++)
        c.weights[i] /= chosen;
    return c;
}

/* Row r of expert e, times x. */
static double product_of(const struct matrix *m, size_t e, size_t r, const double *x)
{
    const struct matrix expert = matrix_expert(m, e);
    float row[MAX_WIDTH];
    double sum = 0;
    matrix_decode(&expert, r, row);
    for (size_t i = 0; i < m->n_cols; i++)
        sum += (double)row[i] * x[i];
    return sum;
}

static void expected_of(const struct mixture *m, size_t row, double *out)
{
    const struct choices c = choices_of(m, row);
    const size_t width = m->shape.width;
    double x[MAX_WIDTH], h[MAX_WIDTH];
    for (size_t i = 0; i < width; i++) {
        x[i] = (double)m->in[row * width + i];
        out[i] = 0;
    }
    for (size_t k = 0; k < m->shape.n_used; k++) {
        const size_t e = c.experts[k];
        for (size_t i = 0; i < m->shape.n_ff; i++) {
            const double gate = product_of(&m->gate, e, i, x);
            h[i] = gate / (1 + exp(-gate)) * product_of(&m->up, e, i, x);
        }
        for (size_t i = 0; i < width; i++)
            out[i] += c.weights[k] * product_of(&m->down, e, i, h);
    }
}

/* The same by the backend's own operations on single experts: each one for all rows. */
static void expected_by_products(struct mixture *m, double *out)
{
    const size_t width = m->shape.width;
    struct backend *be = m->be;
    struct backend_activation *gate = conformance_activation(be, m->shape.n_ff);
    struct backend_activation *up = conformance_activation(be, m->shape.n_ff);
    float y[ROWS * MAX_WIDTH];
    memset(out, 0, ROWS * width * sizeof *out);
    for (size_t e = 0; e < m->shape.n_experts; e++) {
        const struct matrix g = matrix_expert(&m->gate, e), u = matrix_expert(&m->up, e),
                            d = matrix_expert(&m->down, e);
        const struct backend_linear gate_up[] = {{conformance_take(be, &g), NULL, gate},
                                                 {conformance_take(be, &u), NULL, up}};
        const struct backend_linear down = {conformance_take(be, &d), NULL, m->out};
        struct conformance_step s;
        conformance_step_init(&s, be);
        conformance_step_add(&s, 0, 0, ROWS);
        conformance_step_begin(&s);
        be->ops->write(be, m->x, m->in);
        be->ops->linear(be, m->x, gate_up, 2);
        be->ops->swiglu(be, gate, up);
        be->ops->linear(be, gate, &down, 1);
        be->ops->read(be, m->out, y);
        conformance_step_end(&s);
        for (size_t row = 0; row < ROWS; row++) {
            const struct choices c = choices_of(m, row);
            for (size_t k = 0; k < m->shape.n_used; k++)
                for (size_t i = 0; i < width && c.experts[k] == e; i++)
                    out[row * width + i] += c.weights[k] * (double)y[row * width + i];
        }
    }
}

/* ---- the checks ---- */

/* Rows alone, in chunks, backwards and in place are what they are in one batch. */
static void check_any_batch(struct mixture *m, const float *whole)
{
    static const uint32_t chunks[] = {1, 2, 7, ROWS};
    const size_t width = m->shape.width;
    float got[ROWS * MAX_WIDTH];
    uint32_t order[ROWS];
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        for (uint32_t i = 0; i < ROWS; i++)
            order[i] = c % 2 ? i : ROWS - 1 - i;
        for (uint32_t i = 0; i < ROWS; i += chunks[c]) {
            const uint32_t n = ROWS - i < chunks[c] ? ROWS - i : chunks[c];
            mixture_compute(m, order + i, n, c % 2, got);
            for (uint32_t k = 0; k < n; k++)
                conformance_same(m->be, whole + order[i + k] * width, got + k * width, width,
                                 quant_traits(m->shape.type)->name);
        }
    }
}

static void compute_whole(struct mixture *m, float *out)
{
    uint32_t order[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    mixture_compute(m, order, ROWS, false, out);
}

/* Expert `all` is in every row's choice, expert `none` in no row's; scores are far apart, too. */
static void lean(struct mixture *m, size_t all, size_t none)
{
    for (size_t row = 0; row < ROWS; row++) {
        m->router[row * m->shape.n_experts + all] += 60;
        m->router[row * m->shape.n_experts + none] -= 80;
    }
}

static void check_formula(struct mixture_shape shape, bool leans)
{
    struct mixture m;
    float got[ROWS * MAX_WIDTH];
    double expected[MAX_WIDTH];
    mixture_init(&m, shape);
    if (leans)
        lean(&m, 1, shape.n_experts - 1);
    compute_whole(&m, got);
    for (size_t row = 0; row < ROWS; row++) {
        expected_of(&m, row, expected);
        conformance_near(expected, got + row * shape.width, shape.width, 1e-4, "experts");
    }
    check_any_batch(&m, got);
    mixture_deinit(&m);
}

/* Few of many, all of them, one alone; odd sizes. */
void conformance_experts_are_their_formula(void **state)
{
    static const struct mixture_shape shapes[] = {
        {QUANT_F32, 64, 96, 8, 2, true},   {QUANT_F32, 37, 33, 5, 5, false},
        {QUANT_F32, 37, 33, 6, 3, true},   {QUANT_F32, 32, 48, 3, 1, false},
        {QUANT_F32, 32, 16, 64, 8, false}, {QUANT_F32, 64, 32, 4, 4, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_formula(shapes[i], false);
        check_formula(shapes[i], true);
    }
    check_formula((struct mixture_shape){QUANT_F32, 64, 32, 1, 1, true}, false);
}

void conformance_experts_are_products_of_each_type(void **state)
{
    static const enum quant_type types[] = {
#define X(name, ...) QUANT_##name,
        QUANT_TYPES(X)
#undef X
    };
    enum { WIDTH = 256 };
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct mixture_shape shape = {types[i], WIDTH, WIDTH, 5, 2, i % 2};
        struct matrix probe = fixture_matrix(types[i], WIDTH, 1);
        const bool is_accepted = conformance_accepts(&probe);
        struct mixture m;
        float got[ROWS * WIDTH];
        double expected[ROWS * WIDTH], most = 1;
        fixture_free(&probe);
        if (!is_accepted)
            continue;
        mixture_init(&m, shape);
        compute_whole(&m, got);
        expected_by_products(&m, expected);
        for (size_t k = 0; k < ROWS * WIDTH; k++)
            most = fabs(expected[k]) > most ? fabs(expected[k]) : most;
        conformance_near(expected, got, ROWS * WIDTH, 2e-6 * most, quant_traits(types[i])->name);
        check_any_batch(&m, got);
        mixture_deinit(&m);
    }
}

/* As many rows as a batch can have: x [n][width], scores [n][n_experts]. */
static void compute_full(struct mixture *m, const float *x, const float *scores, float *out)
{
    struct conformance_step s;
    conformance_step_init(&s, m->be);
    conformance_step_add(&s, 0, 0, m->be->traits.max_rows);
    conformance_step_begin(&s);
    m->be->ops->write(m->be, m->x, x);
    m->be->ops->write(m->be, m->scores, scores);
    m->be->ops->experts(m->be, m->x, m->scores, &m->experts, m->out);
    m->be->ops->read(m->be, m->out, out);
    conformance_step_end(&s);
}

/* Row `row` of such a batch is what it is alone. */
static void check_alone(struct mixture *m, const float *x, const float *scores, size_t row,
                        const float *got)
{
    const size_t width = m->shape.width, n_experts = m->shape.n_experts;
    float alone[MAX_WIDTH];
    memcpy(m->in, x + row * width, width * sizeof *x);
    memcpy(m->router, scores + row * n_experts, n_experts * sizeof *scores);
    mixture_compute(m, &(const uint32_t){0}, 1, false, alone);
    for (size_t i = 0; i < width; i++)
        assert_true(isfinite(alone[i]));
    conformance_same(m->be, alone, got + row * width, width, "a row of a full batch");
}

/* So many rows of experts that a backend may do them in turns; some experts have one row, some
 * most of them. */
void conformance_full_batches_of_experts_are_rows_alone(void **state)
{
    static const enum quant_type types[] = {QUANT_F32, QUANT_Q8_0, QUANT_AFFINE_4};
    enum { WIDTH = 128, EXPERTS = 48, STEP = 41 };
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct matrix probe = fixture_matrix(types[i], WIDTH, 1);
        const bool is_accepted = conformance_accepts(&probe);
        struct mixture m;
        fixture_free(&probe);
        if (!is_accepted)
            continue;
        mixture_init(&m, (struct mixture_shape){types[i], WIDTH, WIDTH / 2, EXPERTS, 8, true});
        const size_t n = m.be->traits.max_rows;
        float *x = floats(n * WIDTH), *scores = floats(n * EXPERTS), *got = floats(n * WIDTH);
        for (size_t k = 0; k < n * EXPERTS; k++)
            scores[k] += k % EXPERTS < 2 ? 10.0f : k % EXPERTS < 6 ? -3.0f : 0.0f;
        compute_full(&m, x, scores, got);
        for (size_t row = 0; row < n; row += STEP)
            check_alone(&m, x, scores, row, got);
        free(x);
        free(scores);
        free(got);
        mixture_deinit(&m);
    }
}

/* All rows but one are of a broken router. */
void conformance_rows_of_nan_spoil_themselves_alone(void **state)
{
    enum { WIDTH = 64, EXPERTS = 4, SOUND = 17 };
    struct mixture m;
    (void)state;
    mixture_init(&m, (struct mixture_shape){QUANT_Q8_0, WIDTH, WIDTH, EXPERTS, 3, true});
    const size_t n = m.be->traits.max_rows;
    float *x = floats(n * WIDTH), *scores = floats(n * EXPERTS), *got = floats(n * WIDTH);
    for (size_t i = 0; i < n * EXPERTS; i++)
        scores[i] = i / EXPERTS == SOUND ? scores[i] : NAN;
    compute_full(&m, x, scores, got);
    for (size_t i = 0; i < WIDTH; i++)
        assert_true(isnan(got[i]));
    check_alone(&m, x, scores, SOUND, got);
    free(x);
    free(scores);
    free(got);
    mixture_deinit(&m);
}
