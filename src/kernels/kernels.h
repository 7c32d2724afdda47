/* The arithmetic of a network: one table of function pointers per tier of CPU, each slot stated
 * once here. Every tier starts as the scalar reference and overwrites what it does better. Knows
 * no models, no files, and not what the threads that call it are for. One module: kernels, scalar,
 * x86/x86.
 *
 * Quantized products. Activations become int8 with one float scale d per block of 32: max|x| / 127
 * rounded up to a whole number of sixteenths of a power of two, and q = x * (1 / d) rounded to
 * nearest even. Such a scale is 2 % larger than it need be; its product with a weight's scale is
 * one of sixteen multiples times a power of two, which a tier may find without multiplying.
 * Weights are decoded to unsigned integers u with one of these forms:
 *
 *   OFFSET   w = d * (u - offset)        u < 32
 *   WIDE     w = d * (u - 128)           u < 256
 *   MIN      w = d * u + m               u < 32
 *   HALVES   w = d[half] * (u - offset)  u < 64, a scale for each 16 elements
 *   MINS     w = d * u + m[half]         u < 64, a minimum for each 16 elements
 *   WIDE_MIN w = d * (u - 128) + m       u < 256
 *   WIDE_HALVES  w = d[half] * (u - 128) u < 256
 *
 * An integer factor of a sub-block may be in u: a product of integers is exact where d times the
 * factor would be rounded, and the float operations become fewer (Q2_K, Q3_K).
 *
 * Integer sums of a block (of a half) are exact. Float additions have one order everywhere, so
 * that all paths and all tiers give the same bits: block b belongs to strand b mod 8; within a
 * strand, blocks ascend, each adding  acc = fma(dot - offset * sum(a), d * da, acc),  with HALVES
 * and WIDE_HALVES  acc = fma(fma(upper, d[1], lower * d[0]), da, acc)  of both halves' sums, and
 * for MIN and WIDE_MIN then  acc = fma(m, da * sum(a), acc)  (MINS: that of the lower half, then of
 * the upper, each with the sum of its half);  the strands end in the tree
 * ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)). */
#ifndef PENSIEVE_KERNELS_KERNELS_H
#define PENSIEVE_KERNELS_KERNELS_H

#include "kernels/attend.h"
#include "quant/matrix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    KERNELS_BLOCK = 32,       /* elements of a block of activations */
    KERNELS_STRANDS = 8,      /* independent sums along a row */
    KERNELS_PANEL_ROWS = 16,  /* weight rows unpacked side by side */
    KERNELS_TILE_TOKENS = 12, /* tokens whose activations are interleaved */
    KERNELS_FEW_TOKENS = 4,   /* tokens that the row kernels take at once */
    KERNELS_FLOAT_STRANDS = 16, /* element i of a float row belongs to strand i mod 16 */
    KERNELS_FLOAT_TOKENS = 16,  /* tokens of a float panel's tile */
    KERNELS_SCALE_BITS = 4,       /* of the fractions of activations' scales */
};

/* All but that of floats. */
#define KERNELS_INTEGER_FORMS(X)                                                                   \
    X(OFFSET) X(WIDE) X(MIN) X(HALVES) X(MINS) X(WIDE_MIN) X(WIDE_HALVES)

enum kernels_form {
    KERNELS_NONE, /* there is no such type */
    KERNELS_FLOAT,
#define X(form) KERNELS_##form,
    KERNELS_INTEGER_FORMS(X)
#undef X
    KERNELS_N_FORMS,
};

/* The form of each type, as its row in quant/types.h says. */
enum {
#define X(NAME, number, elements, bytes, form, ...) KERNELS_FORM_##NAME = KERNELS_##form,
    QUANT_TYPES(X)
#undef X
};

static inline bool kernels_form_has_min(enum kernels_form form)
{
    return form == KERNELS_MIN || form == KERNELS_MINS || form == KERNELS_WIDE_MIN;
}

/* Whether each half of a block has a scale of its own. */
static inline bool kernels_form_has_halves(enum kernels_form form)
{
    return form == KERNELS_HALVES || form == KERNELS_WIDE_HALVES;
}

/* Whether products add a correction -offset * sum(a). */
static inline bool kernels_form_has_offset(enum kernels_form form)
{
    return form == KERNELS_OFFSET || form == KERNELS_WIDE || form == KERNELS_WIDE_MIN ||
           kernels_form_has_halves(form);
}

/* Blocks of one strand when a row has n_blocks; a strand's room is that of the longest. */
static inline size_t kernels_strand_room(size_t n_blocks)
{
    return (n_blocks + KERNELS_STRANDS - 1) / KERNELS_STRANDS;
}
static inline size_t kernels_strand_length(size_t n_blocks, size_t strand)
{
    return (n_blocks + KERNELS_STRANDS - 1 - strand) / KERNELS_STRANDS;
}

/* Quantized activations. Block 8 * g + i of a row stands at place  i * strand + g * step. */
struct kernels_blocks {
    int8_t *q;        /* [place][32] */
    float *d;         /* [place] scales */
    float *s;         /* [place] d * sum of q */
    int32_t *half[2]; /* [place] sums of q over the lower and the upper 16 elements */
    size_t strand, step;
};

/* A token for the row kernels: places are block numbers, with room for a multiple of 8. Each group
 * of 8 blocks is in the order that its tier's arrange() makes of the natural one. A float type
 * looks at `x` alone, the others never. */
struct kernels_row_x {
    const float *x; /* [n_cols] the activations themselves */
    const int8_t *q;    /* [room][32] */
    const float *d, *s; /* [room] */
    /* [room] the correction -offset * sum(a): c[0] of the block (OFFSET, WIDE, WIDE_MIN), or of
     * each half (HALVES, WIDE_HALVES) */
    const int32_t *c[2];
    const float *sh[2]; /* [room] MINS: d * sum of q of each half */
};

/* KERNELS_TILE_TOKENS rows interleaved, strand by strand; room = kernels_strand_room(n_blocks).
 * Beside float weights KERNELS_FLOAT_TOKENS of them, which `pack` of F32 has put side by side. */
struct kernels_tile_x {
    const float *x;      /* FLOAT: [16][ceil(n_cols / 16)][tokens], and nothing else */
    const int8_t *q;     /* [8][room][tokens][32] */
    const float *d, *s;  /* [8][room][tokens] */
    const int32_t *c[2]; /* [8][room][tokens] as above */
    const float *sh[2];  /* [8][room][tokens] */
    const float *e;      /* [8][room][tokens] the exponents of d: d = 2^e * (1 + i / 16) */
};

/* The scale of a block of activations whose largest magnitude is `most`. */
static inline float kernels_scale_of(float most)
{
    float scale = most / 127.0f;
    uint32_t bits;
    if (most < 0x1p-100f) /* its inverse could overflow */
        return 0;
    memcpy(&bits, &scale, sizeof bits);
    const uint32_t below = (1u << (23 - KERNELS_SCALE_BITS)) - 1;
    bits = (bits + below) & ~below;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

/* The exponents of n scales; those of 0 are anything. */
static inline void kernels_scale_exponents(const float *d, size_t n, float *e)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &d[i], sizeof bits);
        e[i] = (float)((int32_t)(bits >> 23) - 127);
    }
}

/* Memory to be fetched beside the arithmetic, in even parts: those who compute say when. */
struct kernels_ahead {
    const char *at, *due, *end; /* [at, due) is fetched next */
    size_t per_pack;            /* bytes for each 64 that are packed */
    size_t per_place;           /* bytes for each place of a panel's products */
};

/* KERNELS_PANEL_ROWS weight rows unpacked, strand by strand. Places past a strand's end hold
 * anything. */
struct kernels_panel {
    uint8_t *q; /* [8][room][8 quads][16 rows][4 elements] */
    float *d;   /* [8][room][16 rows]; with halves: [8][room][2][16 rows]; aligned to 64.
                 * FLOAT: the weights, [16][ceil(n_cols / 16)][16 rows], and nothing else */
    float *m;   /* [8][room][16 rows], MIN and WIDE_MIN; MINS: [8][room][2][16 rows] */
    struct kernels_ahead *ahead; /* or NULL */
    bool has_long_scales; /* kernels_has_long_scales() of the matrix */
};

/* Whether scales may have more than 19 significant bits. No others have, but with halves, so that
 * their product with a scale of activations (above) is exact, but for its power of two. */
static inline bool kernels_has_long_scales(const struct matrix *m)
{
    return m->scale == MATRIX_SCALE_F32;
}

/* What the table knows about a type of weights. Both functions take rows first .. first + n of the
 * (first expert of the) matrix, in whatever parts it lies, and read nothing behind them. */
struct kernels_type {
    enum kernels_form form;
    int32_t offset;

    /* y[t * y_stride + r] = dot(row first + r, x[t]) for n rows and n_tokens <=
     * KERNELS_FEW_TOKENS. */
    void (*rows)(const struct matrix *m, size_t first, size_t n, const struct kernels_row_x *x,
                 size_t n_tokens, float *y, size_t y_stride);
    /* Unpacks n <= KERNELS_PANEL_ROWS rows; missing ones become zeros. */
    void (*pack)(const struct matrix *m, size_t first, size_t n,
                 const struct kernels_panel *panel);
};

/* An element of a row and where it stood. */
struct kernels_ranked {
    float value;
    int32_t index;
};

struct kernels {
    const char *tier;
    struct kernels_type types[QUANT_N_TYPES];

    /* Quantizes n_blocks * 32 floats to the places of `out`. */
    void (*quantize)(const float *x, size_t n_blocks, const struct kernels_blocks *out);
    /* Puts a row in natural order (strand 1, step 8; n_blocks a multiple of 8, zeros behind the
     * last block there is) into the order in which this tier's row kernels read. */
    void (*arrange)(const struct kernels_blocks *row, size_t n_blocks);

    /* The many-token product by form: y[t * y_stride + r] for a panel of n_rows rows of n_cols and
     * a tile of n_tokens tokens. Strands of floats end as those of `rows` do: halves added to
     * halves. */
    void (*panel[KERNELS_N_FORMS])(const struct kernels_panel *w, size_t n_rows, size_t n_cols,
                                   const struct kernels_tile_x *x, size_t n_tokens, float *y,
                                   size_t y_stride);

    struct kernels_kv kv[KERNELS_KV_N_TYPES];

    /* Two results over different keys merged: the first becomes that of both. */
    void (*attend_merge)(float *o, float *m, float *l, const float *o2, float m2, float l2,
                         size_t head_dim);

    /* nearest even; finite stays finite */
    void (*f32_to_f16)(const float *x, uint16_t *out, size_t n);
    /* out[i] = x[i] / sqrt(mean(x^2) + eps) * w[i]; the mean in 16 strands, bits equal in every
     * tier */
    void (*rms_norm)(const float *x, const float *w, float eps, float *out, size_t n);
    void (*add)(float *x, const float *y, size_t n); /* x += y */
    /* gate = silu(gate) * up, within 4 ulp */
    void (*swiglu)(float *gate, const float *up, size_t n);
    /* gate = gelu(gate) * up, gelu(x) = x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), which
     * is the approximation by tanh; within 4e-6 of it, or 1e-7 * |up| */
    void (*geglu)(float *gate, const float *up, size_t n);
    /* Rotates n pairs: (a[i], b[i]) by angle i. */
    void (*rope_halves)(float *a, float *b, const float *cos, const float *sin, size_t n);
    /* The same for pairs (x[2i], x[2i + 1]). */
    void (*rope_pairs)(float *x, const float *cos, const float *sin, size_t n);

    /* Over a row of logits; bits equal in every tier. Elements whose bit in `masked` [n] is set
     * are left out (NULL: none), and so is NaN. */

    /* out[b] = the largest of x[b * block ..], -infinity if there is none (of zeros, any); block
     * is a multiple of 64 */
    void (*maxima)(const float *x, size_t n, const uint64_t *masked, size_t block, float *out);
    /* Those not below `least`, in ascending order of index; room for n. Returns how many. */
    size_t (*above)(const float *x, size_t n, const uint64_t *masked, float least,
                    struct kernels_ranked *out);
    /* The sum over the same of exp((x[i] - most) * scale), no x[i] being above `most`: within 3
     * ulp, added as doubles in 16 strands */
    double (*exp_sum)(const float *x, size_t n, const uint64_t *masked, float least, float most,
                      float scale);
    /* x[i] = exp(x[i] - most) / sum, `most` and `sum` being x's; no NaN */
    void (*softmax)(float *x, size_t n);
    /* out[i] = sum over j of weights[j] * rows[j][i], j ascending, each an fma; bits equal in every
     * tier */
    void (*weighted_sum)(const float *const *rows, const float *weights, size_t n_rows, size_t n,
                         float *out);
};

/* Tiers, lowest first, of the architecture that this was built for: "c" everywhere; on x86-64
 * "avx2", "avx512" (F, BW, VL, DQ and VNNI) and "avx512_bf16" (and BF16). */
size_t kernels_n_tiers(void);
const char *kernels_tier_name(size_t i);
bool kernels_tier_runs(size_t i); /* on this CPU and system */
/* The index of a tier's name, or -1; of the fastest one here, which is not always the last. */
int kernels_tier_find(const char *name);
size_t kernels_tier_best(void);
/* Fills the table of a tier. */
void kernels_init(struct kernels *k, size_t tier);
/* As a type's row says, without a table. */
enum kernels_form kernels_form_of(enum quant_type type);

#endif
