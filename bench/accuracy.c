/* How much int8 activations cost: accuracy MODEL TEXT [n_threads]
 *
 * Computes TEXT in windows of 512 tokens twice, with the CPU backend as it is and with its matrix
 * products replaced: every row of weights decoded to floats and multiplied with float activations.
 * Embedding, norms, RoPE, attention and its pages are the same code. Prints one line of JSON: the
 * mean negative log-likelihood of each next token (nat) by both, and the mean KL divergence of the
 * int8 logits from the float ones. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/state.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = BACKEND_MAX_ROWS,
    N_PAGES = WINDOW / BACKEND_PAGE_TOKENS,
    TASK_ROWS = 16, /* weight rows decoded at once */
    STEP = 1024,    /* elements of a row that are multiplied at once: their activations stay in L1 */
};

static void fail(const char *what, const struct error *err)
{
    fprintf(stderr, "accuracy: %s%s%s\n", what, err ? ": " : "", err ? err->message : "");
    exit(1);
}

static void *allocate(size_t n_bytes)
{
    void *p = malloc(n_bytes);
    if (!p)
        fail("out of memory", NULL);
    return p;
}

/* ---- the products in floats ---- */

struct product {
    const struct cpu *cpu;
    const struct matrix *w;
    const float *bias, *x; /* x [n_rows][width] */
    float *y;              /* [n_rows][n_out] */
};

/* y of n tokens and n_rows decoded rows. */
static void multiply_tokens(const struct product *p, const float *rows, size_t n_rows, uint32_t t,
                            uint32_t n, float *y)
{
    const size_t width = p->w->n_cols, n_out = p->w->n_rows;
    float part[KERNELS_FEW_TOKENS * TASK_ROWS];
    for (size_t at = 0; at < width; at += STEP) {
        struct matrix columns = matrix_of_blocks(QUANT_F32, width, n_rows, 1, rows + at);
        struct kernels_row_x x[KERNELS_FEW_TOKENS] = {{.x = NULL}};
        columns.n_cols = width - at < STEP ? width - at : STEP;
        for (uint32_t i = 0; i < n; i++)
            x[i].x = p->x + (t + i) * width + at;
        p->cpu->kernels.types[QUANT_F32].rows(&columns, 0, n_rows, x, n, part, TASK_ROWS);
        for (uint32_t i = 0; i < n; i++)
            for (size_t r = 0; r < n_rows; r++)
                y[i * n_out + r] = part[i * TASK_ROWS + r] + (at ? y[i * n_out + r] : 0);
    }
}

static void multiply_rows(void *context, uint32_t task, uint32_t thread)
{
    const struct product *p = context;
    const size_t width = p->w->n_cols, n_out = p->w->n_rows, first = (size_t)task * TASK_ROWS;
    const size_t n = n_out - first < TASK_ROWS ? n_out - first : TASK_ROWS;
    float *rows = allocate(n * width * sizeof *rows);
    (void)thread;
    for (size_t r = 0; r < n; r++)
        matrix_decode(p->w, first + r, rows + r * width);
    for (uint32_t t = 0; t < p->cpu->n_rows; t += KERNELS_FEW_TOKENS) {
        const uint32_t left = p->cpu->n_rows - t;
        multiply_tokens(p, rows, n, t, left < KERNELS_FEW_TOKENS ? left : KERNELS_FEW_TOKENS,
                        p->y + t * n_out + first);
    }
    for (uint32_t t = 0; t < p->cpu->n_rows && p->bias; t++)
        p->cpu->kernels.add(p->y + t * n_out + first, p->bias + first, n);
    free(rows);
}

static void float_product(struct backend *be, const struct backend_activation *x,
                          const struct backend_matrix *w, const float *bias, float *y)
{
    struct cpu *cpu = (struct cpu *)be;
    struct product p = {cpu, &w->m, bias, x->data, y};
    pool_run(cpu->pool, (uint32_t)((w->m.n_rows + TASK_ROWS - 1) / TASK_ROWS), multiply_rows, &p);
}

static void float_linear(struct backend *be, const struct backend_activation *x,
                         const struct backend_linear *outputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        float_product(be, x, outputs[i].w, outputs[i].bias ? outputs[i].bias->vector : NULL,
                      outputs[i].y->data);
}

static void float_logits(struct backend *be, const struct backend_activation *x,
                         const struct backend_matrix *w, float *logits)
{
    float_product(be, x, w, NULL, logits);
}

/* ---- the comparison ---- */

/* Logits of every token of a window, on pages of its own. */
static void compute(struct model *m, const int32_t *tokens, uint32_t first_page, float *logits)
{
    static struct backend_row rows[WINDOW];
    uint32_t pages[N_PAGES];
    for (uint32_t i = 0; i < N_PAGES; i++)
        pages[i] = first_page + i;
    for (uint32_t i = 0; i < WINDOW; i++)
        rows[i] = (struct backend_row){tokens[i], (int32_t)i, 0, true};
    const struct backend_sequence sequence = {pages, N_PAGES};
    struct error err;
    if (!model_compute(m, &(struct backend_batch){rows, WINDOW, &sequence, 1}, logits, &err))
        fail("the step failed", &err);
}

/* log(sum(exp(logits))) */
static double log_sum(const float *logits, uint32_t n)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, (double)logits[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

struct tally {
    double nll[2], kl; /* of int8, of float */
    size_t n;
};

/* Adds one place, whose next token is `next`. */
static void compare(struct tally *tally, const float *int8, const float *exact, uint32_t n_vocab,
                    int32_t next)
{
    const double a = log_sum(int8, n_vocab), b = log_sum(exact, n_vocab);
    tally->nll[0] += a - (double)int8[next];
    tally->nll[1] += b - (double)exact[next];
    for (uint32_t i = 0; i < n_vocab; i++) {
        double log_p = (double)exact[i] - b;
        if (log_p > -40)
            tally->kl += exp(log_p) * (log_p - ((double)int8[i] - a));
    }
    tally->n++;
}

static struct token_list read_tokens(const char *path, const struct weights *w)
{
    struct error err = {.message = ""};
    struct token_list tokens = {NULL, 0, 0};
    FILE *f = fopen(path, "rb");
    if (!f)
        fail("the text cannot be opened", NULL);
    char *text = allocate(1 << 20);
    size_t n = fread(text, 1, 1 << 20, f);
    fclose(f);
    struct tokenizer *t = tokenizer_create(w, &err);
    if (!t || !tokenizer_encode(t, text, n, TOKENIZER_BOS, &tokens, &err))
        fail("the text cannot be tokenized", &err);
    tokenizer_destroy(t);
    free(text);
    return tokens;
}

/* Two sets of pages: int8's keys and values are not float's. */
static struct model *open_model(const struct weights *w, struct backend *be)
{
    struct error err = {.message = ""};
    struct model *m = be ? model_create(w, be, NULL, &err) : NULL;
    if (!m)
        fail("the model cannot be used", &err);
    struct backend_kv_shape shape = model_kv_shape(m);
    shape.n_pages = 2 * N_PAGES;
    if (!be->ops->kv_init(be, &shape, &err))
        fail("no pages", &err);
    return m;
}

static struct tally compare_windows(struct model *m, struct backend *be,
                                    const struct token_list *tokens)
{
    const struct backend_ops *ops = be->ops;
    struct backend_ops float_ops = *ops;
    const uint32_t n_vocab = model_info(m)->n_vocab;
    float *int8 = allocate((size_t)WINDOW * n_vocab * sizeof *int8);
    float *exact = allocate((size_t)WINDOW * n_vocab * sizeof *exact);
    struct tally tally = {{0, 0}, 0, 0};
    float_ops.linear = float_linear;
    float_ops.logits = float_logits;
    for (size_t at = 0; at + WINDOW <= tokens->n; at += WINDOW) {
        compute(m, tokens->ids + at, 0, int8);
        be->ops = &float_ops;
        compute(m, tokens->ids + at, N_PAGES, exact);
        be->ops = ops;
        for (size_t i = 0; i + 1 < WINDOW; i++)
            compare(&tally, int8 + i * n_vocab, exact + i * n_vocab, n_vocab,
                    tokens->ids[at + i + 1]);
    }
    free(int8);
    free(exact);
    return tally;
}

int main(int argc, char **argv)
{
    struct error err = {.message = ""};
    if (argc < 3) {
        fprintf(stderr, "usage: accuracy MODEL TEXT [n_threads]\n");
        return 2;
    }
    const struct backend_cpu_options options = {argc > 3 ? (uint32_t)atoi(argv[3]) : 0, NULL};
    struct weights *w = weights_open(argv[1], &err);
    if (!w)
        fail("the model cannot be opened", &err);
    struct token_list tokens = read_tokens(argv[2], w);
    struct backend *be = backend_cpu_create(&options, &err);
    struct model *m = open_model(w, be);
    const struct tally t = compare_windows(m, be, &tokens);
    if (!t.n)
        fail("the text is shorter than one window", NULL);
    const double n = (double)t.n;
    printf("{\"tokens\": %zu, \"nll_int8\": %.6f, \"nll_float\": %.6f, \"kl\": %.6f}\n", t.n,
           t.nll[0] / n, t.nll[1] / n, t.kl / n);
    token_list_deinit(&tokens);
    model_destroy(m);
    be->ops->destroy(be);
    weights_close(w);
    return 0;
}
