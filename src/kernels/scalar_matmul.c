/* The scalar reference of quantization and matrix products: what every tier must equal, bit for
 * bit. Written to be read; knows no instruction sets. */
#include "kernels/scalar.h"
#include "kernels/unpack.h"

#include <math.h>
#include <string.h>

/* ---- the one order of additions ---- */

static float tree(const float *s)
{
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static int32_t dot_bytes(const uint8_t *u, const int8_t *a, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += u[i] * a[i];
    return sum;
}

/* A block of one token's activations. */
struct block_x {
    const int8_t *q;
    float d, s, sh[2];
    int32_t c[2];
};

static struct block_x row_block(const struct kernels_row_x *x, enum kernels_form form, size_t b)
{
    struct block_x out = {x->q + b * 32, x->d[b], x->s[b], {0, 0}, {0, 0}};
    for (int h = 0; h < 2 && form == KERNELS_MINS; h++)
        out.sh[h] = x->sh[h][b];
    for (int h = 0; h < 2 && kernels_form_has_offset(form); h++)
        out.c[h] = x->c[h][b];
    return out;
}

static struct block_x tile_block(const struct kernels_tile_x *x, enum kernels_form form, size_t p)
{
    const struct kernels_row_x row = {
        NULL, x->q, x->d, x->s, {x->c[0], x->c[1]}, {x->sh[0], x->sh[1]}};
    return row_block(&row, form, p);
}

static float add_block(float acc, enum kernels_form form, const struct kernels_block *w,
                       const struct block_x *x)
{
    float both;
    switch (form) {
    case KERNELS_HALVES:
    case KERNELS_WIDE_HALVES:
        both = (float)(dot_bytes(w->u, x->q, 16) + x->c[0]) * w->d[0];
        both = fmaf((float)(dot_bytes(w->u + 16, x->q + 16, 16) + x->c[1]), w->d[1], both);
        return fmaf(both, x->d, acc);
    case KERNELS_MIN:
        acc = fmaf((float)dot_bytes(w->u, x->q, 32), w->d[0] * x->d, acc);
        return fmaf(w->m[0], x->s, acc);
    case KERNELS_MINS:
        acc = fmaf((float)dot_bytes(w->u, x->q, 32), w->d[0] * x->d, acc);
        return fmaf(w->m[1], x->sh[1], fmaf(w->m[0], x->sh[0], acc));
    case KERNELS_WIDE_MIN:
        acc = fmaf((float)(dot_bytes(w->u, x->q, 32) + x->c[0]), w->d[0] * x->d, acc);
        return fmaf(w->m[0], x->s, acc);
    default:
        return fmaf((float)(dot_bytes(w->u, x->q, 32) + x->c[0]), w->d[0] * x->d, acc);
    }
}

/* Calls through a pointer cost little beside the rest. */
static inline void dot_row(enum kernels_form form, const struct matrix *m, size_t row,
                           const struct kernels_row_x *x, size_t n_tokens, float *y,
                           size_t y_stride)
{
    kernels_unpack_fn *unpack = kernels_unpack_of(m->type);
    float acc[KERNELS_FEW_TOKENS][KERNELS_STRANDS] = {{0}};
    for (size_t b = 0; b < m->n_cols / KERNELS_BLOCK; b++) {
        struct kernels_block block;
        unpack(m, row, b, &block);
        for (size_t t = 0; t < n_tokens; t++) {
            float *strand = &acc[t][b % KERNELS_STRANDS];
            struct block_x in = row_block(&x[t], form, b);
            *strand = add_block(*strand, form, &block, &in);
        }
    }
    for (size_t t = 0; t < n_tokens; t++)
        y[t * y_stride] = tree(acc[t]);
}

#define DEFINE_ROWS(form)                                                                          \
    static void rows_##form(const struct matrix *m, size_t first, size_t n,                        \
                            const struct kernels_row_x *x, size_t n_tokens, float *y,              \
                            size_t y_stride)                                                       \
    {                                                                                              \
        for (size_t r = 0; r < n; r++)                                                             \
            dot_row(KERNELS_##form, m, first + r, x, n_tokens, y + r, y_stride);                   \
    }
KERNELS_INTEGER_FORMS(DEFINE_ROWS)

/* ---- the many-token product ---- */

static void panel_block(enum kernels_form form, const struct kernels_panel *w, size_t place,
                        size_t row, struct kernels_block *out)
{
    for (int quad = 0; quad < 8; quad++)
        memcpy(out->u + quad * 4, w->q + (place * 8 + quad) * 64 + row * 4, 4);
    const size_t n_d = kernels_form_has_halves(form) ? 2 : 1, n_m = form == KERNELS_MINS ? 2 : 1;
    for (size_t h = 0; h < n_d; h++)
        out->d[h] = w->d[(place * n_d + h) * 16 + row];
    for (size_t h = 0; h < n_m && kernels_form_has_min(form); h++)
        out->m[h] = w->m[(place * n_m + h) * 16 + row];
}

static inline void panel_rows(enum kernels_form form, const struct kernels_panel *w, size_t n_rows,
                              size_t n_cols, const struct kernels_tile_x *x, size_t n_tokens,
                              float *y, size_t y_stride)
{
    const size_t n_blocks = n_cols / KERNELS_BLOCK, room = kernels_strand_room(n_blocks);
    for (size_t r = 0; r < n_rows; r++) {
        float acc[KERNELS_TILE_TOKENS][KERNELS_STRANDS] = {{0}};
        for (size_t s = 0; s < KERNELS_STRANDS; s++) {
            for (size_t i = 0; i < kernels_strand_length(n_blocks, s); i++) {
                struct kernels_block block;
                panel_block(form, w, s * room + i, r, &block);
                for (size_t t = 0; t < n_tokens; t++) {
                    size_t p = (s * room + i) * KERNELS_TILE_TOKENS + t;
                    struct block_x in = tile_block(x, form, p);
                    acc[t][s] = add_block(acc[t][s], form, &block, &in);
                }
            }
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = tree(acc[t]);
    }
}

#define DEFINE_PANEL(form)                                                                         \
    static void panel_##form(const struct kernels_panel *w, size_t n_rows, size_t n_cols,          \
                             const struct kernels_tile_x *x, size_t n_tokens, float *y,            \
                             size_t y_stride)                                                      \
    {                                                                                              \
        panel_rows(KERNELS_##form, w, n_rows, n_cols, x, n_tokens, y, y_stride);                   \
    }
KERNELS_INTEGER_FORMS(DEFINE_PANEL)

/* ---- activations ---- */

static void quantize_block(const float *x, int8_t *q, float *d, float *s, int32_t *low,
                           int32_t *high)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    float scale = kernels_scale_of(most);
    float inverse = scale > 0 ? 1.0f / scale : 0;
    int32_t sum[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        q[i] = (int8_t)rintf(x[i] * inverse);
        sum[i / 16] += q[i];
    }
    *d = scale;
    *low = sum[0];
    *high = sum[1];
    *s = scale * (float)(sum[0] + sum[1]);
}

static void quantize(const float *x, size_t n_blocks, const struct kernels_blocks *out)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t p = b % KERNELS_STRANDS * out->strand + b / KERNELS_STRANDS * out->step;
        quantize_block(x + b * 32, out->q + p * 32, &out->d[p], &out->s[p], &out->half[0][p],
                       &out->half[1][p]);
    }
}

static void arrange(const struct kernels_blocks *row, size_t n_blocks)
{
    (void)row; /* the natural order will do */
    (void)n_blocks;
}

/* ---- weights that are floats: sixteen strands, element i in strand i mod 16 ---- */

enum { S = KERNELS_FLOAT_STRANDS };

static float sum_halves(float *acc)
{
    for (int width = S / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            acc[i] += acc[i + width];
    return acc[0];
}

static void rows_FLOAT(const struct matrix *m, size_t first, size_t n,
                       const struct kernels_row_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n; r++) {
        float acc[KERNELS_FEW_TOKENS][S] = {{0}}, w[KERNELS_CHUNK];
        for (size_t i = 0, n_here; i < m->n_cols; i += n_here) {
            n_here = kernels_decode_chunk(m, first + r, i, w);
            for (size_t t = 0; t < n_tokens; t++)
                for (size_t j = 0; j < n_here; j++)
                    acc[t][j % S] = fmaf(w[j], x[t].x[i + j], acc[t][j % S]);
        }
        for (size_t t = 0; t < n_tokens; t++)
            y[t * y_stride + r] = sum_halves(acc[t]);
    }
}

static void pack_floats(const struct matrix *m, size_t first, size_t n,
                        const struct kernels_panel *panel)
{
    const size_t room = (m->n_cols + S - 1) / S;
    for (size_t r = 0; r < KERNELS_PANEL_ROWS; r++) {
        float w[KERNELS_CHUNK] = {0};
        for (size_t i = 0, n_here = KERNELS_CHUNK; i < m->n_cols; i += n_here) {
            if (r < n)
                n_here = kernels_decode_chunk(m, first + r, i, w);
            for (size_t j = 0; j < n_here && i + j < m->n_cols; j++)
                panel->d[((i + j) % S * room + (i + j) / S) * KERNELS_PANEL_ROWS + r] = w[j];
        }
    }
}

static void panel_FLOAT(const struct kernels_panel *w, size_t n_rows, size_t n_cols,
                        const struct kernels_tile_x *x, size_t n_tokens, float *y, size_t y_stride)
{
    const size_t room = (n_cols + S - 1) / S;
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t r = 0; r < n_rows; r++) {
            float acc[S] = {0};
            for (size_t i = 0; i < n_cols; i++) {
                const size_t at = i % S * room + i / S;
                acc[i % S] = fmaf(w->d[at * KERNELS_PANEL_ROWS + r],
                                  x->x[at * KERNELS_FLOAT_TOKENS + t], acc[i % S]);
            }
            y[t * y_stride + r] = sum_halves(acc);
        }
    }
}

void scalar_init_matmul(struct kernels *k)
{
#define X(NAME, number, elements, bytes, form, ...)                                                \
    k->types[number].rows = rows_##form;                                                           \
    k->types[number].pack = KERNELS_##form == KERNELS_FLOAT ? pack_floats : kernels_pack_blocks;
    QUANT_TYPES(X)
#undef X
#define X(form) k->panel[KERNELS_##form] = panel_##form;
    KERNELS_INTEGER_FORMS(X)
    X(FLOAT)
#undef X
    k->quantize = quantize;
    k->arrange = arrange;
}
