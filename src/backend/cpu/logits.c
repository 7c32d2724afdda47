/* Logits are worth more than int8. Some hundred of the largest of a row get a second product: with
 * what quantization left of the activations, quantized again. It costs little, as they are few, and
 * takes a quarter off the distance from exact activations (in nats). */
#include "backend/cpu/linear.h"

enum {
    TASK_LOGITS = 4096, /* of one row that one task looks through */
    MAX_BLOCKS = 1024,  /* of a row, to find the largest by */
    REFINED_BLOCKS = 64, /* so many blocks' largest are refined, and all that are as large */
};

struct refine_job {
    struct linear_job linear; /* of what was left, and the logits */
    uint32_t n_parts; /* tasks of a row */
    float least[BACKEND_MAX_ROWS]; /* of each row, that is refined */
};

/* What quantization leaves of x, row by row, where activations beside float weights else are. */
static const float *leave(const struct linear_input *in)
{
    const struct cpu_quantized *quantized = &in->cpu->quantized;
    struct kernels_blocks out = quantized->blocks;
    out.strand = 1;
    out.step = KERNELS_STRANDS;
    for (size_t t = 0; t < in->n_tokens; t++) {
        const float *x = in->x + t * in->width;
        float *left = quantized->floats + t * in->width;
        in->cpu->kernels.quantize(x, in->n_blocks, &out);
        for (size_t i = 0; i < in->width; i++)
            left[i] = x[i] - out.d[i / KERNELS_BLOCK] * (float)out.q[i];
    }
    return quantized->floats;
}

static size_t count_from(const float *x, size_t n, float least)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += x[i] >= least;
    return count;
}

/* A bound, at most 16 below the largest, above which REFINED_BLOCKS of the blocks' maxima are. */
static float bound_of(const float *maxima, size_t n)
{
    float high = maxima[0];
    for (size_t i = 1; i < n; i++)
        high = maxima[i] > high ? maxima[i] : high;
    float low = high - 16;
    for (int i = 0; i < 12; i++) {
        const float middle = low + (high - low) / 2;
        if (count_from(maxima, n, middle) >= REFINED_BLOCKS)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void find_bounds(const struct cpu_row_job *rows, uint32_t first, uint32_t n)
{
    struct refine_job *job = (struct refine_job *)rows->context;
    const size_t n_vocab = job->linear.outputs->n_out;
    const size_t block = (n_vocab / MAX_BLOCKS + 64) / 64 * 64;
    float maxima[MAX_BLOCKS];
    for (uint32_t t = first; t < first + n; t++) {
        rows->cpu->kernels.maxima(job->linear.outputs->y + t * n_vocab, n_vocab, NULL, block,
                                  maxima);
        job->least[t] = bound_of(maxima, (n_vocab + block - 1) / block);
    }
}

static void refine_task(void *context, uint32_t i, uint32_t thread)
{
    const struct refine_job *job = context;
    const struct linear_output *out = job->linear.outputs;
    const uint32_t t = i / job->n_parts;
    const size_t first = i % job->n_parts * (size_t)TASK_LOGITS, n_left = out->n_out - first;
    const struct kernels_row_x x = linear_row_x(&job->linear.in, out, t);
    float *y = out->y + t * out->n_out + first;
    struct kernels_ranked found[TASK_LOGITS];
    const size_t n = job->linear.in.cpu->kernels.above(
        y, n_left < TASK_LOGITS ? n_left : TASK_LOGITS, NULL, job->least[t], found);
    (void)thread;
    for (size_t k = 0; k < n; k++) {
        const size_t row = (size_t)found[k].index;
        float more;
        out->type->rows(&out->w, first + row, 1, &x, 1, &more, 1);
        y[row] += more;
    }
}

static void refine(struct linear_job *job, const struct matrix *w)
{
    struct refine_job more;
    linear_job_init(&more.linear, job->in.cpu, leave(&job->in), (uint32_t)job->in.width,
                    job->in.n_tokens);
    more.linear.in.few = true;
    linear_add_output(&more.linear, w, NULL, job->outputs->y);
    linear_quantize(&more.linear);
    more.n_parts = (uint32_t)((job->outputs->n_out + TASK_LOGITS - 1) / TASK_LOGITS);
    cpu_run_rows(job->in.cpu, job->in.n_tokens, job->outputs->n_out, find_bounds, &more);
    pool_run(job->in.cpu->pool, job->in.n_tokens * more.n_parts, refine_task, &more);
}

void cpu_logits(struct backend *be, const struct backend_activation *x,
                const struct backend_matrix *w, float *logits)
{
    struct cpu *cpu = (struct cpu *)be;
    struct linear_job job;
    linear_job_init(&job, cpu, x->data, x->width, cpu->n_rows);
    linear_add_output(&job, &w->m, NULL, logits);
    linear_run(&job);
    if (job.outputs->type->form != KERNELS_FLOAT)
        refine(&job, &w->m);
}
