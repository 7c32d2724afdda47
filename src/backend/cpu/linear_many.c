/* Products with many tokens, bound by arithmetic: a few panels of weight rows are unpacked into
 * the cache and multiplied with every tile of tokens. */
#include "backend/cpu/linear.h"

enum { T = KERNELS_TILE_TOKENS, R = KERNELS_PANEL_ROWS };

/* Places of a row, of blocks or of floats. */
static size_t n_places_of(enum kernels_form form, size_t width)
{
    enum { S = KERNELS_FLOAT_STRANDS };
    if (form == KERNELS_FLOAT)
        return (width + S - 1) / S * S;
    return kernels_strand_room((width + KERNELS_BLOCK - 1) / KERNELS_BLOCK) * KERNELS_STRANDS;
}

size_t linear_panel_bytes(enum kernels_form form, size_t width)
{
    const size_t place = form == KERNELS_FLOAT ? sizeof(float) : KERNELS_BLOCK + 3 * sizeof(float);
    return n_places_of(form, width) * R * place;
}

static struct kernels_panel panel_at(const struct linear_input *in, const struct linear_output *out,
                                     void *memory, size_t i)
{
    const enum kernels_form form = out->type->form;
    const size_t n = n_places_of(form, in->width) * R;
    uint8_t *q = (uint8_t *)memory + i * linear_panel_bytes(form, in->width);
    if (form == KERNELS_FLOAT)
        return (struct kernels_panel){.d = (float *)q};
    float *d = (float *)(q + n * KERNELS_BLOCK);
    return (struct kernels_panel){.q = q,
                                  .d = d, /* two of d, or two of m, or one of each */
                                  .m = d + n,
                                  .has_long_scales = kernels_has_long_scales(&out->w)};
}

static size_t tile_tokens(const struct linear_output *out)
{
    return out->type->form == KERNELS_FLOAT ? KERNELS_FLOAT_TOKENS : T;
}

/* The tile of tokens from t on. */
static struct kernels_tile_x tile_at(const struct linear_input *in, const struct linear_output *out,
                                     size_t t)
{
    const struct cpu_quantized *quantized = &in->cpu->quantized;
    const struct kernels_blocks *blocks = &quantized->blocks;
    const size_t p = (in->slot + t) * in->n_places;
    if (out->type->form == KERNELS_FLOAT)
        return (struct kernels_tile_x){
            .x = quantized->floats + (in->slot + t) * n_places_of(KERNELS_FLOAT, in->width)};
    struct kernels_tile_x x = {.q = blocks->q + p * KERNELS_BLOCK,
                               .d = blocks->d + p,
                               .s = blocks->s + p,
                               .e = quantized->e + p};
    for (int h = 0; h < 2; h++) {
        x.c[h] = out->correction ? out->correction->c[h] + p : NULL;
        x.sh[h] = quantized->sh[h] + p;
    }
    return x;
}

/* Some rows of an output, at most a panel, times a tile of tokens from t on. */
static void multiply(const struct linear_input *in, const struct linear_output *out,
                     const struct kernels_panel *panel, size_t row, size_t n_rows, size_t t)
{
    const size_t n_left = in->n_tokens - t, n_tile = tile_tokens(out);
    const struct kernels_tile_x tile = tile_at(in, out, t);
    in->cpu->kernels.panel[out->type->form](panel, n_rows, in->width, &tile,
                                            n_left < n_tile ? n_left : n_tile,
                                            out->y + t * out->n_out + row, out->n_out);
}

/* The panel behind that of row `row`: n_pack bytes of it while that is unpacked, the rest evenly
 * beside its products. Of packed types the numbers alone: scales are few. */
static struct kernels_ahead ahead_of(const struct linear_input *in, const struct linear_output *out,
                                     size_t row, size_t n_pack)
{
    const struct matrix_part *part = &out->w.parts[MATRIX_BLOCKS];
    const size_t n_bytes = R * part->row_bytes, n_tiles = (in->n_tokens + T - 1) / T;
    const char *begin = part->data, *end = begin + out->n_out * part->row_bytes;
    const char *next = begin + row * part->row_bytes + n_bytes;
    return (struct kernels_ahead){
        .at = next,
        .due = next,
        .end = next + n_bytes < end ? next + n_bytes : end,
        .per_pack = 64 * n_pack / n_bytes,
        .per_place = (n_bytes - n_pack) / n_tiles / in->n_blocks + 1,
    };
}

static size_t panel_rows(size_t n, size_t i)
{
    return n - i < R ? n - i : R;
}

/* Panel by panel: with few tiles it stays in the first cache, and the weights of the next one come
 * in from memory beside the arithmetic. */
static void multiply_by_panels(const struct linear_input *in, const struct linear_output *out,
                               size_t first, size_t n, void *memory)
{
    /* unpacking takes about as long as the products of four tokens */
    const size_t n_pack = R * out->w.parts[MATRIX_BLOCKS].row_bytes * 4 / (4 + in->n_tokens);
    struct kernels_panel panel = panel_at(in, out, memory, 0);
    for (size_t i = 0; i < n; i += R) {
        const size_t n_rows = panel_rows(n, i);
        struct kernels_ahead ahead = ahead_of(in, out, first + i, n_pack);
        panel.ahead = &ahead;
        out->type->pack(&out->w, first + i, n_rows, &panel);
        for (size_t t = 0; t < in->n_tokens; t += tile_tokens(out))
            multiply(in, out, &panel, first + i, n_rows, t);
    }
}

void linear_many_rows(const struct linear_input *in, const struct linear_output *out, size_t first,
                      size_t n, void *memory)
{
    if (in->n_tokens <= LINEAR_FEW_TILES * T) {
        multiply_by_panels(in, out, first, n, memory);
        return;
    }
    for (size_t i = 0; i < n; i += R) {
        const size_t n_bytes = R * out->w.parts[MATRIX_BLOCKS].row_bytes;
        struct kernels_ahead ahead = ahead_of(in, out, first + i, n_bytes);
        struct kernels_panel panel = panel_at(in, out, memory, i / R);
        panel.ahead = &ahead;
        out->type->pack(&out->w, first + i, panel_rows(n, i), &panel);
    }
    for (size_t t = 0; t < in->n_tokens; t += tile_tokens(out))
        for (size_t i = 0; i < n; i += R) {
            const struct kernels_panel panel = panel_at(in, out, memory, i / R);
            multiply(in, out, &panel, first + i, panel_rows(n, i), t);
        }
}
