/* experts: what a layer of experts takes by itself, beside what memory gives in the same minute and
 * what one large matrix gets of it. The shape is Qwen3-30B-A3B's; rows choose experts at random. */
#include "backend/cpu/cpu.h"
#include "base/pool.h"
#include "base/clock.h"
#include "kernels/peaks.h"
#include "random_weights.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    WIDTH = 2048,
    FF = 768,
    EXPERTS = 128,
    USED = 8,
    GROUP = 64, /* of packed types */
    MAX_LAYERS = 16,
    MAX_ROUNDS = 1000,
    READ_TASK = 1 << 20,
};

struct layer {
    struct backend_experts experts;
    const struct backend_matrix *all; /* gate of all experts as one matrix */
};

struct bench {
    struct backend *be;
    struct pool *pool;
    struct kernels_peaks peaks;
    enum quant_type type;
    uint32_t n_layers, n_rounds;
    const char *tier;
    uint32_t n_threads;
    char *memory;
    size_t n_bytes, expert_bytes; /* of a layer's gate, up or down; of one expert's three */
    struct layer layers[MAX_LAYERS];
    struct backend_activation *x, *scores, *out, *wide;
    struct random_weights random;
    uint64_t sum[64];
};

static void die(const char *what)
{
    fprintf(stderr, "experts: %s\n", what);
    exit(1);
}

static void must(bool ok, const struct error *err)
{
    if (!ok)
        die(err->message);
}

/* ---- weights ---- */

static size_t matrix_bytes(enum quant_type type)
{
    const size_t n = (size_t)EXPERTS * WIDTH * FF;
    const struct quant_traits *traits = quant_traits(type);
    const size_t packed = n / traits->block_elements * traits->block_bytes;
    return type < QUANT_AFFINE_2 ? packed : packed + n / GROUP * 4;
}

/* [n_experts][n_out][n_in] at `memory`. */
static struct matrix matrix_at(const struct bench *b, char *memory, size_t n_in, size_t n_out,
                               size_t n_experts)
{
    const size_t n = n_in * n_out * n_experts;
    if (b->type < QUANT_AFFINE_2)
        return matrix_of_blocks(b->type, n_in, n_out, n_experts, memory);
    const size_t packed = quant_row_bytes(b->type, n);
    return matrix_of_packed(b->type, MATRIX_SCALE_BF16, GROUP, n_in, n_out, n_experts, memory,
                            memory + packed, memory + packed + n / GROUP * 2);
}

static void fill(struct bench *b, char *memory)
{
    const size_t n = (size_t)EXPERTS * WIDTH * FF, step = 1 << 18;
    if (b->type < QUANT_AFFINE_2) {
        for (size_t i = 0; i < n; i += step)
            random_weights_fill(&b->random, b->type, 0, 0.02f,
                                memory + quant_row_bytes(b->type, i), step);
        return;
    }
    const size_t packed = quant_row_bytes(b->type, n);
    random_weights_bytes(&b->random, memory, packed);
    for (size_t i = 0; i < 2 * n / GROUP; i += step)
        random_weights_fill(&b->random, QUANT_BF16, 0, 0.005f, memory + packed + 2 * i, step);
}

static const struct backend_matrix *take(struct bench *b, struct matrix m)
{
    struct error err = {0};
    const struct backend_matrix *taken = b->be->ops->matrix(b->be, &m, &err);
    must(taken, &err);
    return taken;
}

static struct backend_activation *activation(struct bench *b, uint32_t width)
{
    struct error err = {0};
    struct backend_activation *a = b->be->ops->activation(b->be, width, &err);
    must(a, &err);
    return a;
}

static void make_layers(struct bench *b)
{
    struct backend_activation *grouped = activation(b, USED * WIDTH);
    struct backend_activation *gate = activation(b, USED * FF), *up = activation(b, USED * FF);
    b->n_bytes = matrix_bytes(b->type);
    b->expert_bytes = 3 * b->n_bytes / EXPERTS;
    b->memory = mmap(NULL, 3 * b->n_layers * b->n_bytes + READ_TASK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->memory == MAP_FAILED)
        die("no memory");
#ifdef MADV_NOHUGEPAGE
    madvise(b->memory, 3 * b->n_layers * b->n_bytes, MADV_NOHUGEPAGE); /* as files are mapped */
#endif
    for (uint32_t i = 0; i < b->n_layers; i++) {
        char *at = b->memory + 3 * i * b->n_bytes;
        for (size_t k = 0; k < 3; k++)
            fill(b, at + k * b->n_bytes);
        b->layers[i] = (struct layer){
            {USED, true, take(b, matrix_at(b, at, WIDTH, FF, EXPERTS)),
             take(b, matrix_at(b, at + b->n_bytes, WIDTH, FF, EXPERTS)),
             take(b, matrix_at(b, at + 2 * b->n_bytes, FF, WIDTH, EXPERTS)), grouped, gate, up},
            take(b, matrix_at(b, at, WIDTH, FF * EXPERTS, 1))};
    }
}

/* ---- works: each returns bytes of weights ---- */

typedef double work_fn(struct bench *b, uint32_t layer, uint32_t n_rows);

static struct backend_row rows[BACKEND_MAX_ROWS];

static void begin(struct bench *b, uint32_t n_rows)
{
    static struct backend_batch batch;
    static struct backend_sequence sequence;
    static float x[BACKEND_MAX_ROWS * WIDTH], scores[BACKEND_MAX_ROWS * EXPERTS];
    batch = (struct backend_batch){rows, n_rows, &sequence, 1};
    for (uint32_t i = 0; i < n_rows; i++)
        rows[i].position = (int32_t)i;
    random_weights_fill(&b->random, QUANT_F32, 0, 1, x, (size_t)n_rows * WIDTH);
    random_weights_fill(&b->random, QUANT_F32, 0, 1, scores, (size_t)n_rows * EXPERTS);
    b->be->ops->begin(b->be, &batch);
    b->be->ops->write(b->be, b->x, x);
    b->be->ops->write(b->be, b->scores, scores);
}

static void end(struct bench *b)
{
    struct error err = {0};
    must(b->be->ops->end(b->be, &err), &err);
}

static double run_experts(struct bench *b, uint32_t layer, uint32_t n_rows)
{
    b->be->ops->experts(b->be, b->x, b->scores, &b->layers[layer].experts, b->out);
    const double unused = pow(1.0 - (double)USED / EXPERTS, n_rows);
    return EXPERTS * (1 - unused) * (double)b->expert_bytes;
}

static double run_dense(struct bench *b, uint32_t layer, uint32_t n_rows)
{
    (void)n_rows;
    b->be->ops->linear(b->be, b->x, &(struct backend_linear){b->layers[layer].all, NULL, b->wide},
                       1);
    return (double)b->n_bytes;
}

struct reading {
    struct bench *bench;
    const char *data;
};

static void read_task(void *context, uint32_t i, uint32_t thread)
{
    const struct reading *r = context;
    r->bench->sum[thread % 64] +=
        r->bench->peaks.read(r->data + (size_t)i * READ_TASK, READ_TASK, 1, 4096);
}

static double run_read(struct bench *b, uint32_t layer, uint32_t n_rows)
{
    struct reading r = {b, b->memory + 3 * layer * b->n_bytes};
    const uint32_t n = (uint32_t)(3 * b->n_bytes / READ_TASK / 4);
    (void)n_rows;
    pool_run_parts(b->pool, n, read_task, &r);
    return (double)n * READ_TASK;
}

/* ---- rounds ---- */

static int by_value(const void *a, const void *b)
{
    const double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

static void measure(struct bench *b)
{
    static const struct {
        const char *name;
        work_fn *run;
        uint32_t n_rows;
    } works[] = {{"read", run_read, 1},       {"one matrix, 1 row", run_dense, 1},
                 {"experts", run_experts, 1}, {"experts", run_experts, 4},
                 {"experts", run_experts, 32}, {"experts", run_experts, 512}};
    enum { N = sizeof works / sizeof *works };
    static double gbs[N][MAX_ROUNDS], ms[N][MAX_ROUNDS];
    for (uint32_t round = 0; round < b->n_rounds; round++)
        for (size_t i = 0; i < N; i++) {
            begin(b, works[i].n_rows);
            const int64_t start = clock_now_ns();
            const double bytes = works[i].run(b, (round + (uint32_t)i) % b->n_layers, works[i].n_rows);
            const double ns = (double)(clock_now_ns() - start);
            end(b);
            gbs[i][round] = bytes / ns;
            ms[i][round] = ns / 1e6;
        }
    const double read = median(gbs[0], b->n_rounds);
    for (size_t i = 0; i < N; i++) {
        const double rate = median(gbs[i], b->n_rounds), time = median(ms[i], b->n_rounds);
        const double ops = 6.0 * WIDTH * FF * USED * works[i].n_rows;
        printf("%-18s %4u rows %8.3f ms %6.2f GB/s %3.0f %% of read", works[i].name,
               works[i].n_rows, time, rate, 100 * rate / read);
        if (works[i].run == run_experts)
            printf("  %6.0f Gop/s", ops / time / 1e6);
        printf("\n");
    }
}

static enum quant_type type_of(const char *name)
{
    for (uint32_t i = 0; i < QUANT_N_TYPES; i++)
        if (quant_traits(i) && !strcmp(quant_traits(i)->name, name))
            return (enum quant_type)i;
    die("no such type");
    return QUANT_F32;
}

static void parse(int argc, char **argv, struct bench *b)
{
    static const struct option longs[] = {{"type", 1, 0, 't'},    {"layers", 1, 0, 'l'},
                                          {"rounds", 1, 0, 'r'},  {"cpu", 1, 0, 'c'},
                                          {"threads", 1, 0, 'n'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (option) {
        case 't':
            b->type = type_of(optarg);
            break;
        case 'l':
            b->n_layers = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            b->n_rounds = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            b->tier = optarg;
            break;
        case 'n':
            b->n_threads = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        default:
            die("usage: experts [--type NAME] [--layers N] [--rounds N] [--cpu TIER] "
                "[--threads N]");
        }
    if (b->n_layers < 1 || b->n_layers > MAX_LAYERS || b->n_rounds < 1 || b->n_rounds > MAX_ROUNDS)
        die("1 to 16 layers, 1 to 1000 rounds");
}

int main(int argc, char **argv)
{
    static struct bench b = {.type = QUANT_Q4_K, .n_layers = 3, .n_rounds = 20};
    struct error err = {0};
    parse(argc, argv, &b);
    const struct backend_cpu_options options = {.n_threads = b.n_threads, .tier = b.tier};
    b.be = backend_cpu_create(&options, &err);
    must(b.be, &err);
    b.pool = pool_create(b.n_threads, false, &err);
    must(b.pool, &err);
    kernels_peaks_init(&b.peaks);
    random_weights_init(&b.random, 1, "experts");
    make_layers(&b);
    b.x = activation(&b, WIDTH);
    b.scores = activation(&b, EXPERTS);
    b.out = activation(&b, WIDTH);
    b.wide = activation(&b, FF * EXPERTS);
    printf("%s, %s, %u layers, medians of %u rounds\n", b.be->ops->describe(b.be),
           quant_traits(b.type)->name, b.n_layers, b.n_rounds);
    measure(&b);
    b.be->ops->destroy(b.be);
    pool_destroy(b.pool);
    return 0;
}
