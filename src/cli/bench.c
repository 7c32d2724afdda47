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

enum { MAX_SIZES = 16, MAX_REPEATS = 100 };

struct sizes {
    uint32_t at[MAX_SIZES];
    uint32_t n;
};

struct bench_options {
    struct loaded_options load;
    const char *prompts_text, *generations_text, *depths_text;
    struct sizes prompts, generations, depths;
    uint32_t batch, repeats;
    bool is_json;
};

struct bench {
    const struct bench_options *options;
    struct loaded loaded;
    struct backend_row *rows; /* [batch] */
    uint32_t *pages;          /* [n_pages]: one sequence that owns them all */
    uint32_t n_pages;
    float *logits; /* [n_vocab] */
    uint64_t random;
    json_t *results;
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

/* n tokens from `position` on, `batch` in one step; logits of the last one only. */
static void compute(struct bench *b, uint32_t position, uint32_t n, uint32_t batch)
{
    const struct backend_sequence sequence = {b->pages, b->n_pages};
    for (uint32_t done = 0; done < n;) {
        uint32_t n_rows = n - done < batch ? n - done : batch;
        for (uint32_t i = 0; i < n_rows; i++)
            b->rows[i] = (struct backend_row){.token = random_token(b),
                                              .position = (int32_t)(position + done + i)};
        done += n_rows;
        b->rows[n_rows - 1].wants_logits = done == n || batch == 1;
        const struct backend_batch step = {b->rows, n_rows, &sequence, 1};
        model_compute(b->loaded.model, &step, b->logits);
    }
}

static struct figure measure(struct bench *b, uint32_t depth, uint32_t n, uint32_t batch)
{
    double speeds[MAX_REPEATS], sum = 0, squares = 0;
    uint32_t repeats = b->options->repeats;
    for (uint32_t r = 0; r < repeats; r++) {
        int64_t start = clock_now_ns();
        compute(b, depth, n, batch);
        speeds[r] = n / ((double)(clock_now_ns() - start) / 1e9);
        sum += speeds[r];
    }
    struct figure f = {.mean = sum / repeats};
    for (uint32_t r = 0; r < repeats; r++)
        squares += (speeds[r] - f.mean) * (speeds[r] - f.mean);
    f.deviation = repeats > 1 ? sqrt(squares / (repeats - 1)) : 0;
    return f;
}

static void report(struct bench *b, const char *kind, uint32_t n, uint32_t depth, struct figure f)
{
    json_array_append_new(b->results,
                          json_pack("{s:s, s:I, s:I, s:f, s:f}", "test", kind, "tokens",
                                    (json_int_t)n, "depth", (json_int_t)depth, "tokens_per_second",
                                    f.mean, "deviation", f.deviation));
    if (b->options->is_json)
        return;
    printf("%-10s %8u %8u %10.2f +- %.2f\n", kind, n, depth, f.mean, f.deviation);
    fflush(stdout);
}

static void run_all(struct bench *b)
{
    const struct bench_options *o = b->options;
    compute(b, 0, o->batch, o->batch); /* warms up: maps pages, wakes workers */
    for (uint32_t d = 0; d < o->depths.n; d++) {
        uint32_t depth = o->depths.at[d];
        if (depth)
            compute(b, 0, depth, o->batch);
        for (uint32_t i = 0; i < o->prompts.n; i++)
            report(b, "prompt", o->prompts.at[i], depth,
                   measure(b, depth, o->prompts.at[i], o->batch));
        for (uint32_t i = 0; i < o->generations.n; i++)
            report(b, "generate", o->generations.at[i], depth,
                   measure(b, depth, o->generations.at[i], 1));
    }
}

/* ---- setting up ---- */

static uint32_t largest(const struct sizes *s)
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
    return longest + largest(&o->depths); /* each is far below 2^31 */
}

static bool set_up(struct bench *b, struct error *err)
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
    const struct backend_kv_shape shape = {info->n_layers, info->n_kv_heads, info->head_dim,
                                           b->n_pages};
    struct backend *be = b->loaded.backend;
    if (!be->ops->kv_init(be, &shape, err))
        return false;
    b->rows = calloc(o->batch, sizeof *b->rows);
    b->pages = calloc(b->n_pages, sizeof *b->pages);
    b->logits = calloc(info->n_vocab, sizeof *b->logits);
    b->results = json_array();
    b->random = 88172645463325252u;
    if (!b->rows || !b->pages || !b->logits || !b->results)
        return error_set(err, ERROR_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < b->n_pages; i++)
        b->pages[i] = i;
    return true;
}

static void tear_down(struct bench *b)
{
    free(b->rows);
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
    printf("%-10s %8s %8s %10s\n", "TEST", "TOKENS", "DEPTH", "TOKENS/S");
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

static bool bench(const struct bench_options *o, struct error *err)
{
    struct bench b = {.options = o};
    struct loaded_options load = o->load;
    load.n_ctx = n_tokens_of(o);
    if (!loaded_open_model(&b.loaded, &load, err))
        return false;
    bool ok = set_up(&b, err);
    if (ok) {
        if (!o->is_json)
            print_head(&b);
        run_all(&b);
        if (o->is_json)
            print_json(&b);
    }
    tear_down(&b);
    return ok;
}

/* ---- the command line ---- */

/* "512,4096" */
static bool parse_sizes(const char *text, struct sizes *out, uint32_t min)
{
    *out = (struct sizes){0};
    if (!*text)
        return true;
    for (;;) {
        char *end;
        unsigned long value = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || value < min || value > 1 << 24 || out->n == MAX_SIZES)
            return false;
        out->at[out->n++] = (uint32_t)value;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static bool parse_all_sizes(struct bench_options *o)
{
    static const char wrong[] = "--%s wants numbers and commas, not '%s'";
    if (!parse_sizes(o->prompts_text, &o->prompts, 1))
        cli_usage_error("bench", wrong, "prompt", o->prompts_text);
    else if (!parse_sizes(o->generations_text, &o->generations, 1))
        cli_usage_error("bench", wrong, "generate", o->generations_text);
    else if (!parse_sizes(o->depths_text, &o->depths, 0) || !o->depths.n)
        cli_usage_error("bench", wrong, "depth", o->depths_text);
    else
        return true;
    return false;
}

static bool parse(int argc, char **argv, struct bench_options *o, int *exit_code)
{
    struct loaded_options load = {0};
    const struct option_row rows[] = {
        {"prompt", 'p', OPTION_TEXT, &o->prompts_text, NULL, 0, 0, "N,N",
         "prompt lengths in tokens (default: 512; '': none)"},
        {"generate", 'n', OPTION_TEXT, &o->generations_text, NULL, 0, 0, "N,N",
         "tokens to generate (default: 64; '': none)"},
        {"depth", 'd', OPTION_TEXT, &o->depths_text, NULL, 0, 0, "N,N",
         "tokens that stand before (default: 0)"},
        {"batch", 'b', OPTION_UINT, &o->batch, NULL, 1, BACKEND_MAX_ROWS, "N",
         "prompt tokens in one step (default: 256, as serve)"},
        {"repeats", 'r', OPTION_UINT, &o->repeats, NULL, 1, MAX_REPEATS, "N",
         "runs of each test (default: 3)"},
        {"json", 0, OPTION_FLAG, &o->is_json, NULL, 0, 0, NULL, "machine-readable output"},
        LOADED_OPTION_ROWS,
    };
    const struct command command = {
        .name = "bench",
        .synopsis = "[options] MODEL",
        .about =
            "Measures tokens per second of prompt reading and of generation, without sampling.",
        .options = rows,
        .n_options = sizeof rows / sizeof *rows,
    };
    int n_args;
    if (!options_parse(&command, argc, argv, 1, &n_args, exit_code))
        return false;
    o->load = load;
    o->load.model = n_args ? argv[1] : NULL;
    *exit_code = CLI_USAGE;
    if (n_args)
        return parse_all_sizes(o);
    cli_usage_error("bench", "which MODEL?");
    return false;
}

int cli_bench(int argc, char **argv)
{
    struct bench_options o = {.prompts_text = "512",
                              .generations_text = "64",
                              .depths_text = "0",
                              .batch = 256,
                              .repeats = 3};
    struct error err = {0};
    int exit_code;
    if (!parse(argc, argv, &o, &exit_code))
        return exit_code;
    return bench(&o, &err) ? CLI_OK : cli_report("bench", &err);
}
