#include "backend/conformance_house.h"

/* Values are about 1. f16 rounds by 2^-11 (bfloat16 by 2^-9, of differences), q8_0 by 1/254 of the
 * largest of 32, q4_0 by 1/16 of it; each shifts the weights of the softmax, too. */
static const double tolerances[] = {
    [BACKEND_KV_F16] = 1e-2, [BACKEND_KV_Q8_0] = 2e-2, [BACKEND_KV_Q4_0] = 0.3};

static size_t q_width(const struct house_layer *layer)
{
    return (size_t)layer->n_heads * layer->kv.head_dim;
}

static size_t kv_width(const struct house_layer *layer)
{
    return (size_t)layer->kv.n_kv_heads * layer->kv.head_dim;
}

static bool is_own(const struct house_layer *layer)
{
    return layer->kv.n_kv_heads && !layer->kv.n_back;
}

bool house_init(struct house *h, const struct house_layer *layers, uint32_t n_layers,
                enum backend_kv_type type)
{
    struct error err = {.message = ""};
    memset(h, 0, sizeof *h);
    h->be = conformance_backend();
    h->layers = layers;
    h->n_layers = n_layers;
    h->type = type;
    for (uint32_t i = 0; i < n_layers; i++)
        h->kv[i] = layers[i].kv;
    h->shape = (struct backend_kv_shape){.layers = h->kv,
                                         .n_layers = n_layers,
                                         .n_pages = HOUSE_POOL,
                                         .n_states = HOUSE_STATES,
                                         .type = type};
    if (!h->be->ops->kv_init(h->be, &h->shape, &err)) {
        if (type == BACKEND_KV_F16 || err.code != ERROR_UNSUPPORTED)
            fail_msg("%s", err.message);
        house_deinit(h);
        return false;
    }
    for (uint32_t i = 0; i < n_layers; i++) {
        if (!layers[i].n_heads)
            continue;
        h->q[i] = conformance_activation(h->be, (uint32_t)q_width(&layers[i]));
        h->out[i] = conformance_activation(h->be, (uint32_t)q_width(&layers[i]));
        h->k[i] = conformance_activation(h->be, (uint32_t)kv_width(&layers[i]));
        h->v[i] = conformance_activation(h->be, (uint32_t)kv_width(&layers[i]));
    }
    conformance_step_init(&h->step, h->be);
    uint32_t stride = 2; /* without a divisor in common with the pool */
    while (HOUSE_POOL % stride == 0)
        stride++;
    for (uint32_t s = 0; s < CONFORMANCE_SEQUENCES; s++) {
        for (uint32_t i = 0; i < HOUSE_PAGES; i++)
            h->pages[s][i] = (i * CONFORMANCE_SEQUENCES + s) * stride % HOUSE_POOL;
        h->step.sequences[s] = (struct backend_sequence){h->pages[s], HOUSE_PAGES, s};
    }
    return true;
}

void house_deinit(struct house *h)
{
    h->be->ops->destroy(h->be);
}

static float *random_floats(size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    fixture_fill(x, n);
    return x;
}

void story_init(struct story *s, const struct house *h, uint32_t n)
{
    assert_true(n <= HOUSE_MAX_TOKENS);
    *s = (struct story){.n = n};
    for (uint32_t i = 0; i < h->n_layers; i++) {
        s->q[i] = random_floats(n * q_width(&h->layers[i]));
        s->out[i] = random_floats(n * q_width(&h->layers[i]));
        s->k[i] = random_floats(n * kv_width(&h->layers[i]));
        s->v[i] = random_floats(n * kv_width(&h->layers[i]));
    }
}

void story_deinit(struct story *s)
{
    for (uint32_t i = 0; i < HOUSE_MAX_LAYERS; i++) {
        free(s->q[i]);
        free(s->k[i]);
        free(s->v[i]);
        free(s->out[i]);
    }
}

void house_add(struct house *h, struct story *s, uint32_t sequence, uint32_t first, uint32_t n)
{
    conformance_step_add(&h->step, sequence, first, n);
    h->stories[sequence] = s;
    h->first[sequence] = first;
    h->n[sequence] = n;
}

/* The rows of the step, of which each sequence's are part(story) from its first position on, to the
 * backend, or the other way. */
static void write_rows(struct house *h, struct backend_activation *to, uint32_t layer,
                       float *(*part)(struct story *, uint32_t), size_t width)
{
    float *rows = random_floats(h->step.n_rows * width), *at = rows;
    for (uint32_t s = 0; s < CONFORMANCE_SEQUENCES; s++) {
        if (h->n[s])
            memcpy(at, part(h->stories[s], layer) + h->first[s] * width,
                   h->n[s] * width * sizeof *at);
        at += h->n[s] * width;
    }
    h->be->ops->write(h->be, to, rows);
    free(rows);
}

static float *q_of(struct story *s, uint32_t layer)
{
    return s->q[layer];
}

static float *k_of(struct story *s, uint32_t layer)
{
    return s->k[layer];
}

static float *v_of(struct story *s, uint32_t layer)
{
    return s->v[layer];
}

static void compute_layer(struct house *h, uint32_t i)
{
    const struct backend_ops *op = h->be->ops;
    const struct house_layer *layer = &h->layers[i];
    const struct backend_attend_params params = {
        .n_heads = layer->n_heads, .scale = 1 / sqrtf((float)layer->kv.head_dim)};
    write_rows(h, h->q[i], i, q_of, q_width(layer));
    if (is_own(layer)) {
        write_rows(h, h->k[i], i, k_of, kv_width(layer));
        write_rows(h, h->v[i], i, v_of, kv_width(layer));
        op->kv_store(h->be, i, h->k[i], h->v[i]);
    }
    op->attend(h->be, i, h->q[i], &params, h->out[i]);
}

void house_run(struct house *h)
{
    float *rows[HOUSE_MAX_LAYERS] = {NULL};
    conformance_step_begin(&h->step);
    for (uint32_t i = 0; i < h->n_layers; i++) {
        if (!h->layers[i].n_heads)
            continue;
        rows[i] = random_floats(h->step.n_rows * q_width(&h->layers[i]));
        compute_layer(h, i);
        h->be->ops->read(h->be, h->out[i], rows[i]);
    }
    conformance_step_end(&h->step);
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const size_t width = q_width(&h->layers[i]);
        const float *at = rows[i];
        for (uint32_t s = 0; width && s < CONFORMANCE_SEQUENCES; s++) {
            if (h->n[s])
                memcpy(h->stories[s]->out[i] + h->first[s] * width, at,
                       h->n[s] * width * sizeof *at);
            at += h->n[s] * width;
        }
        free(rows[i]);
    }
    memset(h->n, 0, sizeof h->n);
}

void house_tell(struct house *h, struct story *s, uint32_t sequence, uint32_t first,
                uint32_t chunk)
{
    if (chunk > h->be->traits.max_rows)
        chunk = h->be->traits.max_rows;
    for (uint32_t i = first; i < s->n; i += chunk) {
        house_add(h, s, sequence, i, s->n - i < chunk ? s->n - i : chunk);
        house_run(h);
    }
}

/* ---- the formula ---- */

/* softmax(q k^T scale) v of one head of the row at a position. */
static void attention(const struct house *h, const struct story *s, uint32_t layer, uint32_t row,
                      uint32_t head, double *out)
{
    const struct house_layer *l = &h->layers[layer];
    const uint32_t source = layer - l->kv.n_back, n = l->kv.head_dim;
    const uint32_t kv_head = head / (l->n_heads / l->kv.n_kv_heads);
    const uint32_t start =
        l->kv.window && row + 1 > l->kv.window ? row + 1 - l->kv.window : 0;
    const float *q = s->q[layer] + row * q_width(l) + head * n;
    double scores[HOUSE_MAX_TOKENS], most = -INFINITY, sum = 0;
    for (uint32_t j = start; j <= row; j++) {
        const float *k = s->k[source] + j * kv_width(l) + kv_head * n;
        scores[j] = 0;
        for (uint32_t i = 0; i < n; i++)
            scores[j] += (double)q[i] * (double)k[i] / sqrt((double)n);
        most = fmax(most, scores[j]);
    }
    memset(out, 0, n * sizeof *out);
    for (uint32_t j = start; j <= row; j++) {
        const float *v = s->v[source] + j * kv_width(l) + kv_head * n;
        const double weight = exp(scores[j] - most);
        sum += weight;
        for (uint32_t i = 0; i < n; i++)
            out[i] += weight * (double)v[i];
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] /= sum;
}

void house_check(const struct house *h, const struct story *s)
{
    double expected[256];
    char what[96];
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const struct house_layer *l = &h->layers[i];
        for (uint32_t row = 0; row < s->n; row += 1 + row / 9)
            for (uint32_t head = 0; head < l->n_heads; head++) {
                snprintf(what, sizeof what, "layer %u (%u heads of %u), KV type %d, row %u", i,
                         l->n_heads, l->kv.head_dim, (int)h->type, row);
                attention(h, s, i, row, head, expected);
                conformance_near(expected, s->out[i] + row * q_width(l) + head * l->kv.head_dim,
                                 l->kv.head_dim, tolerances[h->type], what);
            }
    }
}

void house_same(const struct house *h, const struct story *a, const struct story *b,
                uint32_t first, const char *what)
{
    assert_int_equal(a->n, b->n);
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const size_t width = q_width(&h->layers[i]);
        conformance_same(h->be, a->out[i] + first * width, b->out[i] + first * width,
                         (a->n - first) * width, what);
    }
}
