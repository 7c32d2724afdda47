/* The promise for every weight type on every tier that runs here: a row's products are the same
 * bits alone, in any chunk of a batch, beside any neighbours, on one thread or several, and whether
 * the outputs share a pass. Odd numbers of outputs, widths of odd numbers of blocks. */
#include "fixture.h"

enum { ROWS = 29, MAX_WIDTH = 5 * 256, MAX_OUT = 35 };

static const enum quant_type types[] = {
#define X(name, ...) QUANT_##name,
    QUANT_TYPES(X)
#undef X
};
enum { N_TYPES = sizeof types / sizeof *types };

static float x[ROWS * MAX_WIDTH], alone[ROWS * MAX_OUT], got[ROWS * MAX_OUT];

/* One matrix on one backend, to be multiplied as the checks like. */
struct subject {
    const struct matrix *w;
    struct backend *be;
    struct backend_activation *in, *out, *beside;
    const struct backend_matrix *taken, *taken_neighbour;
    bool neighbour; /* is another output of the same pass */
    bool logits;
};

/* y[i] = the products of row order[i] of x, for n rows in one batch. */
static void multiply(const struct subject *s, const uint32_t *order, uint32_t n, float *y)
{
    struct backend_row rows[ROWS];
    struct backend_sequence sequence = {NULL, 0};
    const struct backend_batch batch = {rows, n, &sequence, 1};
    const size_t width = s->w->n_cols, n_out = s->w->n_rows;
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = (struct backend_row){0, (int32_t)i, 0, true};
        memcpy(s->in->data + i * width, x + order[i] * width, width * sizeof *x);
    }
    s->be->ops->begin(s->be, &batch);
    if (s->logits) {
        s->be->ops->logits(s->be, s->in, s->taken, y);
    } else {
        const struct backend_linear outputs[] = {{s->taken_neighbour, NULL, s->beside},
                                                 {s->taken, NULL, s->out}};
        const uint32_t first = s->neighbour ? 0 : 1;
        s->be->ops->linear(s->be, s->in, outputs + first, 2 - first);
        memcpy(y, s->out->data, n * n_out * sizeof *y);
    }
    s->be->ops->end(s->be, NULL);
}

/* All rows in chunks of `chunk`, forwards or backwards, against `alone`. */
static void check_chunks(const struct subject *s, uint32_t chunk, bool backwards, const char *what)
{
    const size_t n_out = s->w->n_rows;
    uint32_t order[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = backwards ? ROWS - 1 - i : i;
    for (uint32_t i = 0; i < ROWS; i += chunk)
        multiply(s, order + i, ROWS - i < chunk ? ROWS - i : chunk, got + i * n_out);
    for (uint32_t i = 0; i < ROWS; i++)
        fixture_assert_same(alone + order[i] * n_out, got + i * n_out, n_out, what);
}

static void check_matrix(const struct matrix *w, const struct matrix *neighbour,
                         const char *tier, bool logits)
{
    static const uint32_t chunks[] = {1, 2, 3, 4, 5, 7, 9, 13, 28, ROWS};
    const size_t width = w->n_cols, n_out = w->n_rows;
    char what[96];
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        struct subject s = {.w = w, .be = fixture_backend(n_threads, tier), .logits = logits};
        s.in = fixture_activation(s.be, (uint32_t)width);
        s.out = fixture_activation(s.be, (uint32_t)n_out);
        s.beside = fixture_activation(s.be, (uint32_t)neighbour->n_rows);
        s.taken = fixture_take(s.be, w);
        s.taken_neighbour = fixture_take(s.be, neighbour);
        for (uint32_t i = 0; i < ROWS && n_threads == 1; i++)
            multiply(&s, &i, 1, alone + i * n_out);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            s.neighbour = i % 2;
            snprintf(what, sizeof what, "%s%s, tier %s, %zu x %zu, %u threads, chunks of %u",
                     quant_traits(w->type)->name, logits ? " logits" : "", tier, n_out, width,
                     n_threads, chunks[i]);
            check_chunks(&s, chunks[i], i % 3 == 1, what);
        }
        s.be->ops->destroy(s.be);
    }
}

static void check_type(enum quant_type type, enum quant_type other, const char *tier)
{
    static const uint64_t n_blocks[] = {1, 3, 5}, n_out[] = {1, 17, MAX_OUT};
    const uint64_t unit = quant_traits(type)->block_elements;
    for (size_t i = 0; i < 3; i++) {
        uint64_t width = unit == 1 ? 1 + 32 * i * n_blocks[i] : unit * n_blocks[i];
        struct matrix w = fixture_matrix(type, width, n_out[i]);
        if (width % quant_traits(other)->block_elements)
            other = width % 32 ? QUANT_F32 : QUANT_Q8_0;
        struct matrix neighbour = fixture_matrix(other, width, 23);
        check_matrix(&w, &neighbour, tier, false);
        check_matrix(&w, &neighbour, tier, true);
        fixture_free(&w);
        fixture_free(&neighbour);
    }
}

static void every_type_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    fixture_fill(x, ROWS * MAX_WIDTH);
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++)
        for (size_t i = 0; i < N_TYPES && kernels_tier_runs(tier); i++)
            check_type(types[i], types[(i + 1) % N_TYPES], kernels_tier_name(tier));
}

/* And the same in all tiers, for products: the order of additions is the formats'. */
static void products_are_the_same_in_every_tier(void **state)
{
    (void)state;
    enum { WIDTH = 768 };
    static float expected[ROWS * MAX_OUT];
    uint32_t order[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    for (size_t i = 0; i < N_TYPES; i++) {
        struct matrix w = fixture_matrix(types[i], WIDTH, MAX_OUT);
        for (size_t tier = 0; tier < kernels_n_tiers(); tier++) {
            if (!kernels_tier_runs(tier))
                continue;
            struct subject s = {.w = &w, .be = fixture_backend(2, kernels_tier_name(tier))};
            s.in = fixture_activation(s.be, WIDTH);
            s.out = fixture_activation(s.be, MAX_OUT);
            s.taken = fixture_take(s.be, &w);
            multiply(&s, order, ROWS, tier ? got : expected);
            if (tier)
                fixture_assert_same(expected, got, ROWS * MAX_OUT, quant_traits(types[i])->name);
            s.be->ops->destroy(s.be);
        }
        fixture_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_the_same_bits_everywhere),
        cmocka_unit_test(products_are_the_same_in_every_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
