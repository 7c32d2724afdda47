/* `pensieve bench`: tokens per second of prompt and of generation, straight on model and backend,
 * with random tokens and no sampling. Each figure is the mean of several runs with its standard
 * deviation. */
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/loaded.h"
#include "cli/options.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPEATS = 100, MAX_SEQUENCES = 64, MAX_MIXED = BACKEND_MAX_ROWS - 1 };
enum { MAX_TOKENS = 1 << 24 };

struct bench_options {
    struct loaded_options load;
    struct setting_numbers prompts, generations, depths, sequences, mixed;
    uint32_t batch, repeats;
    bool is_json;
};

struct bench {
    const struct bench_options *options;
    struct loaded loaded;
    struct backend_row *rows; /* [BACKEND_MAX_ROWS] */
    bool failed;              /* a step, and why is in *err */
    struct error *err;
    struct backend_sequence *sequences; /* [n_sequences] */
    uint32_t *pages;                    /* [n_sequences * n_pages]: each owns its own */
    uint32_t n_sequences, n_pages;
    float *logits; /* [n_sequences][n_vocab] */
    uint64_t random;
    json_t *results;
};

enum test_kind {
    TEST_PROMPT,   /* n_tokens of one sequence, a batch in one step */
    TEST_GENERATE, /* n_tokens of each of n_sequences, a token of each in one step */
    TEST_MIXED,    /* one token of the first and n_tokens of the second sequence in one step */
};

struct test {
    enum test_kind kind;
    uint32_t n_tokens, depth, n_sequences;
};

struct figure {
    double mean, deviation; /* tokens per second */
};

/* ---- computing ---- */

static int32_t random_token(struct bench *b)
{
    b->random ^= b->random << 13; /* xorshift64 (Marsaglia 2003) */
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return (int32_t)(b->random % model_info(b->loaded.model)->n_vocab);
}

/* Adds n rows of a sequence to a step; its last one wants logits. */
static uint32_t add_rows(struct bench *b, uint32_t n_rows, uint32_t sequence, uint32_t position,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        b->rows[n_rows + i] = (struct backend_row){.token = random_token(b),
                                                   .position = (int32_t)(position + i),
                                                   .sequence = sequence,
                                                   .wants_logits = i + 1 == n};
    return n_rows + n;
}

static void bench_step(struct bench *b, uint32_t n_rows)
{
    const struct backend_batch batch = {b->rows, n_rows, b->sequences, b->n_sequences};
    if (!b->failed) /* the first error stays */
        b->failed = !model_compute(b->loaded.model, &batch, b->logits, b->err);
}

/* n tokens of one sequence from `position` on; logits of the last one only. */
static void compute_prompt(struct bench *b, uint32_t sequence, uint32_t position, uint32_t n)
{
    for (uint32_t done = 0; done < n;) {
        uint32_t n_rows = n - done < b->options->batch ? n - done : b->options->batch;
        add_rows(b, 0, sequence, position + done, n_rows);
        done += n_rows;
        b->rows[n_rows - 1].wants_logits = done == n;
        bench_step(b, n_rows);
    }
}

static void bench_generate(struct bench *b, const struct test *t)
{
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        uint32_t n_rows = 0;
        for (uint32_t s = 0; s < t->n_sequences; s++)
            n_rows = add_rows(b, n_rows, s, t->depth + i, 1);
        bench_step(b, n_rows);
    }
}

enum { MIXED_STEPS = 16 };

static void compute_mixed(struct bench *b, const struct test *t)
{
    for (uint32_t i = 0; i < MIXED_STEPS; i++) {
        uint32_t n_rows = add_rows(b, 0, 0, t->depth + i, 1);
        n_rows = add_rows(b, n_rows, 1, t->depth + i * t->n_tokens, t->n_tokens);
        b->rows[n_rows - 1].wants_logits = false; /* in the middle of its prompt */
        bench_step(b, n_rows);
    }
}

/* Does the test once and returns how many tokens that were. */
static uint32_t run(struct bench *b, const struct test *t)
{
    switch (t->kind) {
    case TEST_PROMPT:
        compute_prompt(b, 0, t->depth, t->n_tokens);
        return t->n_tokens;
    case TEST_GENERATE:
        bench_generate(b, t);
        return t->n_tokens * t->n_sequences;
    default:
        compute_mixed(b, t);
        return MIXED_STEPS * (1 + t->n_tokens);
    }
}

static struct figure bench_measure(struct bench *b, const struct test *t)
{
    double speeds[MAX_REPEATS], sum = 0, squares = 0;
    uint32_t repeats = b->options->repeats;
    for (uint32_t r = 0; r < repeats; r++) {
        int64_t start = clock_now_ns();
        uint32_t n = run(b, t);
        speeds[r] = n / ((double)(clock_now_ns() - start) / 1e9);
        sum += speeds[r];
    }
    struct figure f = {.mean = sum / repeats};
    for (uint32_t r = 0; r < repeats; r++)
        squares += (speeds[r] - f.mean) * (speeds[r] - f.mean);
    f.deviation = repeats > 1 ? sqrt(squares / (repeats - 1)) : 0;
    return f;
}

static void bench_report(struct bench *b, const struct test *t)
{
    static const char *const names[] = {"prompt", "generate", "mixed"};
    const char *name = names[t->kind];
    const struct figure f = bench_measure(b, t);
    if (b->failed)
        return;
    json_array_append_new(b->results,
                          json_pack("{s:s, s:I, s:I, s:I, s:f, s:f}", "test", name, "tokens",
                                    (json_int_t)t->n_tokens, "depth", (json_int_t)t->depth,
                                    "sequences", (json_int_t)t->n_sequences, "tokens_per_second",
                                    f.mean, "deviation", f.deviation));
    if (b->options->is_json)
        return;
    printf("%-10s %8u %8u %10u %10.2f +- %.2f\n", name, t->n_tokens, t->depth, t->n_sequences,
           f.mean, f.deviation);
    fflush(stdout);
}

static void run_all(struct bench *b)
{
    const struct bench_options *o = b->options;
    compute_prompt(b, 0, 0, o->batch); /* warms up: maps pages, wakes workers */
    for (uint32_t d = 0; d < o->depths.n; d++) {
        const uint32_t depth = o->depths.at[d];
        for (uint32_t s = 0; depth && s < b->n_sequences; s++)
            compute_prompt(b, s, 0, depth);
        for (uint32_t i = 0; i < o->prompts.n; i++)
            bench_report(b, &(struct test){TEST_PROMPT, o->prompts.at[i], depth, 1});
        for (uint32_t i = 0; i < o->generations.n; i++)
            for (uint32_t s = 0; s < o->sequences.n; s++)
                bench_report(b, &(struct test){TEST_GENERATE, o->generations.at[i], depth,
                                               o->sequences.at[s]});
        for (uint32_t i = 0; i < o->mixed.n; i++)
            bench_report(b, &(struct test){TEST_MIXED, o->mixed.at[i], depth, 2});
    }
}

/* ---- setting up ---- */

static uint32_t largest(const struct setting_numbers *s)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < s->n; i++)
        max = s->at[i] > max ? s->at[i] : max;
    return max;
}

/* Tokens of the longest sequence. */
static uint32_t n_tokens_of(const struct bench_options *o)
{
    uint32_t longest = largest(&o->prompts);
    if (largest(&o->generations) > longest)
        longest = largest(&o->generations);
    if (largest(&o->mixed) * MIXED_STEPS > longest)
        longest = largest(&o->mixed) * MIXED_STEPS;
    return longest + largest(&o->depths); /* each is far below 2^31 */
}

static bool bench_set_up(struct bench *b, struct error *err)
{
    const struct bench_options *o = b->options;
    const struct model_info *info = model_info(b->loaded.model);
    uint32_t n_tokens = n_tokens_of(o);
    if (n_tokens > info->n_ctx_train)
        return error_set(err, ERROR_USAGE, "%u tokens: this model was made for %u", n_tokens,
                         info->n_ctx_train);
    if (n_tokens < o->batch)
        n_tokens = o->batch;
    b->n_pages = (n_tokens + BACKEND_PAGE_TOKENS - 1) / BACKEND_PAGE_TOKENS;
    b->n_sequences = largest(&o->sequences);
    if (o->mixed.n && b->n_sequences < 2)
        b->n_sequences = 2;
    struct backend_kv_shape shape = model_kv_shape(b->loaded.model);
    shape.n_pages = b->n_pages * b->n_sequences;
    shape.type = o->load.kv_type;
    struct backend *be = b->loaded.backend;
    if (!be->ops->kv_init(be, &shape, err))
        return false;
    b->rows = calloc(BACKEND_MAX_ROWS, sizeof *b->rows);
    b->sequences = calloc(b->n_sequences, sizeof *b->sequences);
    b->pages = calloc((size_t)b->n_pages * b->n_sequences, sizeof *b->pages);
    b->logits = calloc((size_t)info->n_vocab * b->n_sequences, sizeof *b->logits);
    b->results = json_array();
    b->random = 88172645463325252u;
    if (!b->rows || !b->sequences || !b->pages || !b->logits || !b->results)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < b->n_pages * b->n_sequences; i++)
        b->pages[i] = i;
    for (uint32_t s = 0; s < b->n_sequences; s++)
        b->sequences[s] = (struct backend_sequence){b->pages + s * b->n_pages, b->n_pages};
    return true;
}

static void bench_tear_down(struct bench *b)
{
    free(b->rows);
    free(b->sequences);
    free(b->pages);
    free(b->logits);
    json_decref(b->results);
    loaded_close(&b->loaded);
}

static void print_head(const struct bench *b)
{
    const struct model_info *info = model_info(b->loaded.model);
    printf("%s (%s, %.2f B parameters, %.0f MB), %s, batch %u\n\n", b->loaded.title,
           info->architecture, (double)info->n_params / 1e9,
           (double)weights_file_bytes(b->loaded.weights) / 1e6,
           b->loaded.backend->ops->describe(b->loaded.backend), b->options->batch);
    printf("%-10s %8s %8s %10s %10s\n", "TEST", "TOKENS", "DEPTH", "SEQUENCES", "TOKENS/S");
}

static void print_json(const struct bench *b)
{
    const struct model_info *info = model_info(b->loaded.model);
    json_t *all = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:O}", "version", PENSIEVE_VERSION,
                            "model", b->loaded.name, "architecture", info->architecture,
                            "parameters", (json_int_t)info->n_params, "file_bytes",
                            (json_int_t)weights_file_bytes(b->loaded.weights), "backend",
                            b->loaded.backend->ops->describe(b->loaded.backend), "batch",
                            (json_int_t)b->options->batch, "results", b->results);
    if (all)
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

static bool bench_run(const struct bench_options *o, struct error *err)
{
    struct bench b = {.options = o, .err = err};
    struct loaded_options load = o->load;
    load.n_ctx = n_tokens_of(o);
    if (!loaded_open_model(&b.loaded, &load, err))
        return false;
    bool ok = bench_set_up(&b, err);
    if (ok) {
        if (!o->is_json)
            print_head(&b);
        run_all(&b);
        ok = !b.failed;
        if (ok && o->is_json)
            print_json(&b);
    }
    bench_tear_down(&b);
    return ok;
}

/* ---- the command line ---- */

#define BENCH_VALUE(kind, member) SETTING_VALUE(kind, struct bench_options, member)

static const struct setting test_rows[] = {
    {.name = "prompt",
     .letter = 'p',
     BENCH_VALUE(NUMBERS, prompts),
     .min = 1,
     .max = MAX_TOKENS,
     .fallback = "512",
     .metavar = "N,N",
     .help = "prompt lengths in tokens (default: {default}; '': none)"},
    {.name = "generate",
     .letter = 'n',
     BENCH_VALUE(NUMBERS, generations),
     .min = 1,
     .max = MAX_TOKENS,
     .fallback = "64",
     .metavar = "N,N",
     .help = "tokens to generate (default: {default}; '': none)"},
    {.name = "depth",
     .letter = 'd',
     BENCH_VALUE(NUMBERS, depths),
     .needs_one = true,
     .max = MAX_TOKENS,
     .fallback = "0",
     .metavar = "N,N",
     .help = "tokens that stand before (default: {default})"},
    {.name = "sequences",
     .letter = 's',
     BENCH_VALUE(NUMBERS, sequences),
     .needs_one = true,
     .min = 1,
     .max = MAX_SEQUENCES,
     .fallback = "1",
     .metavar = "N,N",
     .help = "sequences that generate together (default: {default}); their tokens\nare added up"},
    {.name = "mixed",
     .letter = 'm',
     BENCH_VALUE(NUMBERS, mixed),
     .min = 1,
     .max = MAX_MIXED,
     .metavar = "N,N",
     .help = "steps of one generated token and N tokens of another\nsequence's prompt (default: "
             "none)"},
    {.name = "batch",
     .letter = 'b',
     BENCH_VALUE(UINT, batch),
     .min = 1,
     .max = BACKEND_MAX_ROWS,
     .fallback = "512",
     .metavar = "N",
     .help = "prompt tokens in one step (default: {default}, as serve)"},
    {.name = "repeats",
     .letter = 'r',
     BENCH_VALUE(UINT, repeats),
     .min = 1,
     .max = MAX_REPEATS,
     .fallback = "3",
     .metavar = "N",
     .help = "runs of each test (default: {default})"},
};
static const struct setting_table test_settings = SETTING_TABLE(test_rows);

static const struct setting output_rows[] = {
    {.name = "json", BENCH_VALUE(FLAG, is_json), .help = "machine-readable output"},
};
static const struct setting_table output_settings = SETTING_TABLE(output_rows);

static bool bench_parse(int argc, char **argv, struct bench_options *o, int *exit_code)
{
    const struct settings_part parts[] = {
        {&test_settings, o},
        {&loaded_kv_type_settings, &o->load},
        {&output_settings, o},
        {&loaded_compute_settings, &o->load},
    };
    const struct command command = {
        .name = "bench",
        .synopsis = "[options] MODEL",
        .about =
            "Measures tokens per second of prompt reading and of generation, without sampling.",
        .parts = parts,
        .n_parts = sizeof parts / sizeof *parts,
        .max_args = 1,
    };
    struct settings settings;
    int n_args;
    if (!options_parse(&command, argc, argv, &settings, &n_args, exit_code))
        return false;
    o->load.model = n_args ? argv[1] : NULL;
    if (!n_args)
        *exit_code = cli_usage_error("bench", "which MODEL?");
    return n_args;
}

int cli_bench(int argc, char **argv)
{
    struct bench_options o = {0};
    struct error err = {0};
    int exit_code;
    if (!bench_parse(argc, argv, &o, &exit_code))
        return exit_code;
    return bench_run(&o, &err) ? CLI_OK : cli_report("bench", &err);
}
