/* The networks on a tiny model: against logits that were computed from the papers
 * (scripts/golden_networks.py), and what fused files, windows and RoPE's scalings are, said through
 * other files that must give the same bits. */
#include "backend/cpu/cpu.h"
#include "model/model.h"
#include "support/tiny_model.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Logits have a deviation of about 5; keys and values are rounded to f16 in the tier used here. */
#define TOLERANCE 0.02

enum { N_TOKENS = 100, N_PAIRS = TINY_HEAD_DIM / 2, N_ORIGINAL = 128 };

struct world {
    struct tiny_model file;
    struct weights *weights;
    struct backend *be;
    struct model *model;
};

/* False, with the error, when the model is refused. */
static bool try_begin(struct world *w, const char *architecture,
                      void (*more)(struct gguf_builder *g), uint32_t n_ctx, struct error *err)
{
    *err = (struct error){0};
    tiny_model_init_as(&w->file, architecture, more);
    w->weights = weights_open_bytes(w->file.data, w->file.size, err);
    assert_non_null(w->weights);
    w->be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1, .tier = "c"}, err);
    assert_non_null(w->be);
    w->model = model_create(w->weights, w->be, &(struct model_options){.n_ctx = n_ctx}, err);
    return w->model;
}

static void end(struct world *w)
{
    model_destroy(w->model);
    w->be->ops->destroy(w->be);
    weights_close(w->weights);
    tiny_model_deinit(&w->file);
}

/* [N_TOKENS][TINY_VOCAB]; free() */
static float *compute(struct world *w)
{
    struct error err;
    enum { N_PAGES = N_TOKENS / BACKEND_PAGE_TOKENS + 1 };
    uint32_t pages[N_PAGES];
    for (uint32_t i = 0; i < N_PAGES; i++)
        pages[i] = i;
    struct backend_kv_shape shape = model_kv_shape(w->model);
    shape.n_pages = N_PAGES;
    assert_true(w->be->ops->kv_init(w->be, &shape, &err));
    struct backend_row rows[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++)
        rows[i] =
            (struct backend_row){.token = (i * 37 + 11) % 256, .position = i, .wants_logits = true};
    const struct backend_sequence sequence = {pages, N_PAGES};
    float *logits = malloc(N_TOKENS * TINY_VOCAB * sizeof *logits);
    assert_non_null(logits);
    assert_true(model_compute(w->model, &(struct backend_batch){rows, N_TOKENS, &sequence, 1},
                              logits, &err));
    return logits;
}

static float *logits_of(const char *architecture, void (*more)(struct gguf_builder *g),
                        uint32_t n_ctx)
{
    struct world w;
    struct error err;
    if (!try_begin(&w, architecture, more, n_ctx, &err))
        fail_msg("%s: %s", architecture, err.message);
    float *logits = compute(&w);
    for (int i = 0; i < N_TOKENS * TINY_VOCAB; i++)
        assert_true(isfinite(logits[i]));
    end(&w);
    return logits;
}

/* Are the bits the same? */
static bool same(const char *a, void (*more_a)(struct gguf_builder *), uint32_t n_ctx_a,
                 const char *b, void (*more_b)(struct gguf_builder *), uint32_t n_ctx_b)
{
    float *x = logits_of(a, more_a, n_ctx_a), *y = logits_of(b, more_b, n_ctx_b);
    bool is_same = memcmp(x, y, N_TOKENS * TINY_VOCAB * sizeof *x) == 0;
    free(x);
    free(y);
    return is_same;
}

static void put_factors(struct gguf_builder *g, const char *name, float step)
{
    float factors[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++)
        factors[i] = 1 + step * (float)i;
    gguf_builder_tensor(g, name, factors, N_PAIRS, 0);
}

static void short_factors(struct gguf_builder *g)
{
    put_factors(g, "rope_freqs.weight", 0.25f);
}
static void long_factors(struct gguf_builder *g)
{
    put_factors(g, "rope_freqs.weight", 3);
}

static void longrope(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.rope.scaling.original_context_length", N_ORIGINAL);
    gguf_builder_f32(g, "phi3.rope.scaling.attn_factor", 1);
    put_factors(g, "rope_factors_short.weight", 0.25f);
    put_factors(g, "rope_factors_long.weight", 3);
}

static void longrope_without_magnitude(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.rope.scaling.original_context_length", N_ORIGINAL);
    put_factors(g, "rope_factors_short.weight", 0.25f);
    put_factors(g, "rope_factors_long.weight", 3);
}

static void longrope_with_its_magnitude(struct gguf_builder *g)
{
    longrope_without_magnitude(g);
    gguf_builder_f32(g, "phi3.rope.scaling.attn_factor",
                     (float)sqrt(1 + log((double)TINY_CONTEXT / N_ORIGINAL) / log(N_ORIGINAL)));
}

static void linear_by_4(struct gguf_builder *g)
{
    gguf_builder_string(g, "qwen2.rope.scaling.type", "linear");
    gguf_builder_f32(g, "qwen2.rope.scaling.factor", 4);
}

static void yarn_by_4(struct gguf_builder *g)
{
    gguf_builder_string(g, "qwen2.rope.scaling.type", "yarn");
    gguf_builder_f32(g, "qwen2.rope.scaling.factor", 4);
    gguf_builder_u32(g, "qwen2.rope.scaling.original_context_length", N_ORIGINAL);
}

static void window_of_64(struct gguf_builder *g)
{
    gguf_builder_u32(g, "phi3.attention.sliding_window", 64);
}

static void check_logits(const char *name, const float *logits, const json_t *golden)
{
    const json_t *positions = json_object_get(golden, "positions");
    const json_t *tokens = json_object_get(golden, "tokens");
    const json_t *rows = json_object_get(json_object_get(golden, "cases"), name);
    assert_int_equal(json_array_size(rows), json_array_size(positions));
    assert_true(json_array_size(tokens) > 0);
    for (size_t p = 0; p < json_array_size(positions); p++) {
        json_int_t position = json_integer_value(json_array_get(positions, p));
        for (size_t t = 0; t < json_array_size(tokens); t++) {
            json_int_t token = json_integer_value(json_array_get(tokens, t));
            double truth = json_number_value(json_array_get(json_array_get(rows, p), t));
            double ours = (double)logits[position * TINY_VOCAB + token];
            if (!(fabs(ours - truth) < TOLERANCE))
                fail_msg("%s, position %d, token %d: %f, not %f", name, (int)position, (int)token,
                         ours, truth);
        }
    }
}

static void logits_are_those_of_the_papers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *architecture;
        void (*more)(struct gguf_builder *);
        uint32_t n_ctx;
    } cases[] = {
        {"llama", "llama", NULL, 0},
        {"qwen2", "qwen2", NULL, 0},
        {"linear", "qwen2", linear_by_4, 0},
        {"llama3", "llama", short_factors, 0},
        {"yarn", "qwen2", yarn_by_4, 0},
        {"window", "phi3", window_of_64, 0},
        {"longrope-short", "phi3", longrope_without_magnitude, N_ORIGINAL},
        {"longrope-long", "phi3", longrope_without_magnitude, 0},
    };
    json_error_t err;
    json_t *golden = json_load_file(GOLDEN_DIR "/networks.json", 0, &err);
    if (!golden)
        fail_msg("%s", err.text);
    assert_int_equal(json_object_size(json_object_get(golden, "cases")),
                     sizeof cases / sizeof *cases);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *logits = logits_of(cases[i].architecture, cases[i].more, cases[i].n_ctx);
        check_logits(cases[i].name, logits, golden);
        free(logits);
    }
    json_decref(golden);
}

static void fused_matrices_are_their_parts(void **state)
{
    (void)state;
    assert_true(same("phi3", NULL, 0, "qwen2", NULL, 0));
    assert_false(same("phi3", NULL, 0, "llama", NULL, 0)); /* it pairs other dimensions */
}

static void longrope_chooses_its_factors_by_the_context(void **state)
{
    (void)state;
    assert_true(same("phi3", longrope, N_ORIGINAL, "qwen2", short_factors, 0));
    assert_true(same("phi3", longrope, N_ORIGINAL + 1, "qwen2", long_factors, 0));
    assert_true(same("phi3", longrope, 0, "qwen2", long_factors, 0));
    assert_false(same("phi3", longrope, N_ORIGINAL, "phi3", longrope, 0));
}

static void longrope_computes_a_magnitude_that_is_not_stated(void **state)
{
    (void)state;
    assert_true(
        same("phi3", longrope_without_magnitude, 0, "phi3", longrope_with_its_magnitude, 0));
    assert_false(same("phi3", longrope_without_magnitude, 0, "phi3", longrope, 0));
}

static void yarn_of_nothing(struct gguf_builder *g)
{
    gguf_builder_string(g, "qwen2.rope.scaling.type", "yarn");
    gguf_builder_f32(g, "qwen2.rope.scaling.factor", 1);
}

static void linear_of_nothing(struct gguf_builder *g)
{
    gguf_builder_string(g, "qwen2.rope.scaling.type", "linear");
}

static void none(struct gguf_builder *g)
{
    gguf_builder_string(g, "qwen2.rope.scaling.type", "none");
    gguf_builder_f32(g, "qwen2.rope.scaling.factor", 8);
}

static void a_scaling_by_one_is_none(void **state)
{
    (void)state;
    assert_true(same("qwen2", yarn_of_nothing, 0, "qwen2", NULL, 0));
    assert_true(same("qwen2", linear_of_nothing, 0, "qwen2", NULL, 0));
    assert_true(same("qwen2", none, 0, "qwen2", NULL, 0));
}

/* ---- what is refused ---- */

static void unknown_scaling(struct gguf_builder *g)
{
    gguf_builder_string(g, "phi3.rope.scaling.type", "elastic");
}

static void only_long(struct gguf_builder *g)
{
    put_factors(g, "rope_factors_long.weight", 3);
}

static void zero_factor(struct gguf_builder *g)
{
    only_long(g);
    put_factors(g, "rope_factors_short.weight", -1);
}

static void zero_scale(struct gguf_builder *g)
{
    gguf_builder_string(g, "phi3.rope.scaling.type", "linear");
    gguf_builder_f32(g, "phi3.rope.scaling.factor", 0);
}

static void backward_yarn(struct gguf_builder *g)
{
    gguf_builder_string(g, "phi3.rope.scaling.type", "yarn");
    gguf_builder_f32(g, "phi3.rope.scaling.factor", 4);
    gguf_builder_f32(g, "phi3.rope.scaling.yarn_beta_slow", 64);
}

static void no_magnitude(struct gguf_builder *g)
{
    longrope_without_magnitude(g);
    gguf_builder_f32(g, "phi3.rope.scaling.attn_factor", NAN);
}

static void wrong_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        void (*more)(struct gguf_builder *);
        enum error_code code;
        const char *says;
    } cases[] = {
        {unknown_scaling, ERROR_UNSUPPORTED, "elastic"},
        {only_long, ERROR_FORMAT, "rope_factors_short.weight"},
        {zero_factor, ERROR_FORMAT, "rope_factors_short.weight"},
        {zero_scale, ERROR_FORMAT, "scaled by 0"},
        {backward_yarn, ERROR_FORMAT, "64"},
        {no_magnitude, ERROR_FORMAT, "nan"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct error err;
        assert_false(try_begin(&w, "phi3", cases[i].more, 0, &err));
        assert_int_equal(err.code, cases[i].code);
        if (!strstr(err.message, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].says);
        end(&w);
    }
}

static void a_window_that_is_never_full_is_none(void **state)
{
    (void)state;
    assert_true(same("phi3", window_of_64, 64, "phi3", NULL, 64));
    assert_false(same("phi3", window_of_64, 65, "phi3", NULL, 65));
}

static const char *identity_of(const char *architecture, void (*more)(struct gguf_builder *g),
                               uint32_t n_ctx)
{
    static char text[512];
    struct world w;
    struct error err;
    if (!try_begin(&w, architecture, more, n_ctx, &err))
        fail_msg("%s", err.message);
    strcpy(text, model_kv_identity(w.model));
    end(&w);
    return text;
}

/* The very text of earlier versions: pages on disk go by it. */
static void what_names_the_pages_on_disk_stays(void **state)
{
    (void)state;
    assert_string_equal(identity_of("llama", NULL, 0),
                        "rope 0 16 0x1.388p+13 0x1p+0 0x1p+0 0000000000000000 yarn 0 0x0p+0 "
                        "0x0p+0, window 0");
    assert_string_equal(identity_of("phi3", window_of_64, 0),
                        "rope 1 16 0x1.388p+13 0x1p+0 0x1p+0 0000000000000000 yarn 0 0x0p+0 "
                        "0x0p+0, window 64");
    char brief[512];
    strcpy(brief, identity_of("phi3", longrope, N_ORIGINAL));
    assert_string_not_equal(brief, identity_of("phi3", longrope, 0));
    assert_string_not_equal(brief, identity_of("phi3", NULL, 0));
    assert_non_null(strstr(identity_of("qwen2", yarn_by_4, 0), " yarn 128 0x1p+5 0x1p+0, "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_papers),
        cmocka_unit_test(fused_matrices_are_their_parts),
        cmocka_unit_test(longrope_chooses_its_factors_by_the_context),
        cmocka_unit_test(longrope_computes_a_magnitude_that_is_not_stated),
        cmocka_unit_test(a_scaling_by_one_is_none),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(a_window_that_is_never_full_is_none),
        cmocka_unit_test(what_names_the_pages_on_disk_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
