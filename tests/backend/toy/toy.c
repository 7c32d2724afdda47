#include "backend/toy/toy_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static struct backend_activation *toy_activation(struct backend *be, uint32_t width,
                                                 struct error *err)
{
    struct toy *toy = (struct toy *)be;
    const size_t n_bytes = (size_t)TOY_MAX_ROWS * width * sizeof(float);
    struct backend_activation *a = calloc(1, sizeof *a + n_bytes);
    if (!a) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for activations");
        return NULL;
    }
    a->width = width;
    a->next = toy->activations;
    toy->activations = a;
    return a;
}

/* Memory of its own is allowed, too. */
static struct backend_activation *toy_activation_within(struct backend *be,
                                                        struct backend_activation *other,
                                                        uint32_t first, uint32_t width,
                                                        struct error *err)
{
    assert(first + width <= other->width);
    return toy_activation(be, width, err);
}

/* Whatever the file has becomes floats. */
static struct backend_matrix *toy_matrix(struct backend *be, const struct matrix *m,
                                         struct error *err)
{
    struct toy *toy = (struct toy *)be;
    if (!quant_traits(m->type) || m->n_experts < 1 || m->n_experts > BACKEND_MAX_EXPERTS) {
        error_set(err, ERROR_UNSUPPORTED, "a matrix of type %u with %zu experts",
                  (unsigned)m->type, m->n_experts);
        return NULL;
    }
    const size_t n = m->n_rows * m->n_cols;
    struct backend_matrix *taken = malloc(sizeof *taken + m->n_experts * n * sizeof(float));
    if (!taken) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for a matrix");
        return NULL;
    }
    taken->n_in = m->n_cols;
    taken->n_out = m->n_rows;
    taken->n_experts = m->n_experts;
    for (size_t e = 0; e < m->n_experts; e++) {
        const struct matrix expert = matrix_expert(m, e);
        for (size_t i = 0; i < m->n_rows; i++)
            matrix_decode(&expert, i, taken->data + e * n + i * m->n_cols);
    }
    taken->next = toy->matrices;
    toy->matrices = taken;
    return taken;
}

static void toy_memory(const struct backend *be, struct backend_memory *out)
{
    const struct toy *toy = (const struct toy *)be;
    *out = (struct backend_memory){
        .kv = (toy->kv.n_pages * toy->kv.page_floats + toy->kv.n_states * toy->kv.state_floats) *
              sizeof(float)};
    for (const struct backend_activation *a = toy->activations; a; a = a->next)
        out->activations += (uint64_t)TOY_MAX_ROWS * a->width * sizeof(float);
    for (const struct backend_matrix *m = toy->matrices; m; m = m->next)
        out->buffers += m->n_in * m->n_out * m->n_experts * sizeof(float);
}

static void toy_trim(struct backend *be)
{
    (void)be;
}

/* ---- the step ---- */

static void toy_begin(struct backend *be, const struct backend_batch *batch)
{
    struct toy *toy = (struct toy *)be;
    assert(!toy->batch && batch->n_rows >= 1 && batch->n_rows <= TOY_MAX_ROWS);
    toy->batch = batch;
    toy->n_rows = batch->n_rows;
    toy->failed = false;
}

/* Room for n floats that go to the host at the step's end, or NULL: it fails. */
static float *give(struct toy *toy, float *to, size_t n)
{
    float *from = toy->n_given < TOY_MAX_GIVEN ? malloc(n * sizeof *from + 1) : NULL;
    if (from)
        toy->given[toy->n_given++] = (struct toy_given){to, from, n};
    else
        toy->failed = true;
    return from;
}

static bool toy_end(struct backend *be, struct error *err)
{
    struct toy *toy = (struct toy *)be;
    toy->batch = NULL;
    while (toy->n_given) {
        const struct toy_given *given = &toy->given[--toy->n_given];
        if (!toy->failed)
            memcpy(given->to, given->from, given->n * sizeof *given->to);
        free(given->from);
    }
    return !toy->failed || error_set(err, ERROR_NO_MEMORY, "out of memory for a step's results");
}

static void toy_read(struct backend *be, const struct backend_activation *x, float *out)
{
    struct toy *toy = (struct toy *)be;
    const size_t n = toy->n_rows * x->width;
    float *from = give(toy, out, n);
    if (from)
        memcpy(from, x->data, n * sizeof *from);
}

static void toy_write(struct backend *be, struct backend_activation *x, const float *values)
{
    memcpy(x->data, values, ((struct toy *)be)->n_rows * x->width * sizeof *values);
}

static uint32_t toy_select(struct backend *be, const struct backend_activation *x,
                           struct backend_activation *out)
{
    struct toy *toy = (struct toy *)be;
    uint32_t n = 0;
    for (uint32_t i = 0; i < toy->n_rows; i++)
        if (toy->batch->rows[i].wants_logits)
            memmove(out->data + (size_t)n++ * x->width, x->data + (size_t)i * x->width,
                    x->width * sizeof *x->data);
    toy->n_rows = n;
    return n;
}

/* ---- the operations ---- */

static void toy_embed(struct backend *be, const struct backend_matrix *table,
                      struct backend_activation *out)
{
    const struct toy *toy = (const struct toy *)be;
    for (uint32_t i = 0; i < toy->n_rows; i++)
        memcpy(out->data + i * table->n_in,
               table->data + (size_t)toy->batch->rows[i].token * table->n_in,
               table->n_in * sizeof(float));
}

static void toy_rms_norm(struct backend *be, const struct backend_activation *x,
                         const struct backend_matrix *w, float eps, struct backend_activation *out)
{
    assert(x->width % w->n_in == 0 && out->width == x->width);
    for (size_t at = 0; at < ((struct toy *)be)->n_rows * (size_t)x->width; at += w->n_in) {
        const float *in = x->data + at;
        double sum = 0;
        for (size_t i = 0; i < w->n_in; i++)
            sum += (double)in[i] * (double)in[i];
        const float scale = (float)(1 / sqrt(sum / (double)w->n_in + (double)eps));
        for (size_t i = 0; i < w->n_in; i++)
            out->data[at + i] = in[i] * scale * w->data[i];
    }
}

float toy_dot(const float *a, const float *b, size_t n)
{
    float sums[8] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int k = 0; k < 8; k++)
        sum += sums[k];
    return sum;
}

static void product(const struct toy *toy, const struct backend_activation *x,
                    const struct backend_matrix *w, const struct backend_matrix *bias, float *y)
{
    assert(x->width == w->n_in && w->n_experts == 1);
    for (size_t i = 0; i < w->n_out; i++)
        for (uint32_t row = 0; row < toy->n_rows; row++)
            y[row * w->n_out + i] = toy_dot(w->data + i * w->n_in, x->data + row * w->n_in, w->n_in) +
                                    (bias ? bias->data[i] : 0);
}

static void toy_linear(struct backend *be, const struct backend_activation *x,
                       const struct backend_linear *outputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        product((struct toy *)be, x, outputs[i].w, outputs[i].bias, outputs[i].y->data);
}

static void toy_logits(struct backend *be, const struct backend_activation *x,
                       const struct backend_matrix *w, float *logits)
{
    struct toy *toy = (struct toy *)be;
    float *from = give(toy, logits, toy->n_rows * w->n_out);
    if (from)
        product(toy, x, w, NULL, from);
}

static void toy_add(struct backend *be, struct backend_activation *x,
                    const struct backend_activation *y)
{
    for (size_t i = 0; i < (size_t)((struct toy *)be)->n_rows * x->width; i++)
        x->data[i] += y->data[i];
}

static void toy_scale(struct backend *be, struct backend_activation *x,
                      const struct backend_scale *scale)
{
    const struct toy *toy = (const struct toy *)be;
    for (uint32_t row = 0; row < toy->n_rows; row++) {
        double factor = (double)scale->factor;
        if (scale->n_positions)
            factor *= 1 + (double)scale->stretch *
                              log1p((uint32_t)toy->batch->rows[row].position / scale->n_positions);
        for (uint32_t i = 0; i < x->width; i++)
            x->data[(size_t)row * x->width + i] *= (float)factor;
    }
}

static void toy_swiglu(struct backend *be, struct backend_activation *gate,
                       const struct backend_activation *up)
{
    for (size_t i = 0; i < (size_t)((struct toy *)be)->n_rows * gate->width; i++)
        gate->data[i] = gate->data[i] / (1 + expf(-gate->data[i])) * up->data[i];
}

static void toy_geglu(struct backend *be, struct backend_activation *gate,
                      const struct backend_activation *up)
{
    const float root = sqrtf(2 / acosf(-1));
    for (size_t i = 0; i < (size_t)((struct toy *)be)->n_rows * gate->width; i++) {
        const float g = gate->data[i], z = root * (g + 0.044715f * g * g * g);
        gate->data[i] = 0.5f * g * (1 + tanhf(z)) * up->data[i];
    }
}

/* ---- RoPE ---- */

/* The pair that turns `turns` times within YaRN's original context. */
static double yarn_pair(const struct backend_rope_params *p, double turns)
{
    return p->n_dims * log(p->yarn.n_ctx_original / (turns * 2 * acos(-1))) /
           (2 * log((double)p->freq_base));
}

/* Radians for each position of pair i. */
static double frequency(const struct backend_rope_params *p, uint32_t i)
{
    double scaled = 1;
    if (p->yarn.n_ctx_original) {
        const double first = fmax(floor(yarn_pair(p, (double)p->yarn.beta_fast)), 0);
        const double last =
            fmin(ceil(yarn_pair(p, (double)p->yarn.beta_slow)), p->n_dims - 1.0);
        scaled = fmin(fmax((i - first) / fmax(last - first, 0.001), 0), 1);
    }
    return pow((double)p->freq_base, -2.0 * i / p->n_dims) *
           (1 - scaled + scaled * (double)p->freq_scale) / (double)(p->factors ? p->factors[i] : 1);
}

static void toy_rope(struct backend *be, struct backend_activation *x, uint32_t n_heads,
                     uint32_t head_dim, const struct backend_rope_params *p)
{
    const struct toy *toy = (const struct toy *)be;
    const bool halves = p->kind == BACKEND_ROPE_HALVES;
    for (uint32_t row = 0; row < toy->n_rows; row++)
        for (uint32_t i = 0; i < p->n_dims / 2; i++) {
            const double angle = toy->batch->rows[row].position * frequency(p, i);
            const float c = p->magnitude * (float)cos(angle), s = p->magnitude * (float)sin(angle);
            for (uint32_t h = 0; h < n_heads; h++) {
                float *head = x->data + ((size_t)row * n_heads + h) * head_dim;
                float *a = head + (halves ? i : 2 * i);
                float *b = a + (halves ? p->n_dims / 2 : 1);
                const float rotated = *a * c - *b * s;
                *b = *a * s + *b * c;
                *a = rotated;
            }
        }
}

/* ---- making and end ---- */

static const char *toy_describe(const struct backend *be)
{
    (void)be;
    return "toy";
}

static const char *toy_kv_identity(const struct backend *be)
{
    (void)be;
    return "toy 1";
}

static void toy_destroy(struct backend *be)
{
    struct toy *toy = (struct toy *)be;
    for (struct backend_activation *a = toy->activations, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    for (struct backend_matrix *m = toy->matrices, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    toy_kv_deinit(toy);
    free(toy);
}

static const struct backend_ops toy_ops = {
    .destroy = toy_destroy,
    .describe = toy_describe,
    .matrix = toy_matrix,
    .activation = toy_activation,
    .activation_within = toy_activation_within,
    .kv_init = toy_kv_init,
    .kv_page_bytes = toy_kv_page_bytes,
    .kv_state_bytes = toy_kv_state_bytes,
    .kv_identity = toy_kv_identity,
    .kv_page_copy = toy_kv_page_copy,
    .kv_state_clear = toy_kv_state_clear,
    .kv_state_copy = toy_kv_state_copy,
    .save_begin = toy_save_begin,
    .save_bytes = toy_save_bytes,
    .save_end = toy_save_end,
    .load_begin = toy_load_begin,
    .load_end = toy_load_end,
    .memory = toy_memory,
    .trim = toy_trim,
    .begin = toy_begin,
    .end = toy_end,
    .read = toy_read,
    .write = toy_write,
    .embed = toy_embed,
    .rms_norm = toy_rms_norm,
    .linear = toy_linear,
    .rope = toy_rope,
    .kv_store = toy_kv_store,
    .attend = toy_attend,
    .add = toy_add,
    .scale = toy_scale,
    .swiglu = toy_swiglu,
    .geglu = toy_geglu,
    .experts = toy_experts,
    .select = toy_select,
    .logits = toy_logits,
};

struct backend *toy_create(struct error *err)
{
    struct toy *toy = calloc(1, sizeof *toy);
    if (!toy) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the toy");
        return NULL;
    }
    toy->base = (struct backend){&toy_ops, {.same_bits = true, TOY_MAX_ROWS, 1}};
    return &toy->base;
}
