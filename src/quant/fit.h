/* The search behind every encoder: scales, and integers under them, that are nearest to a few
 * floats by a weighted sum of squares. Knows no format's bytes. Private to src/quant.
 *
 * The grid of first guesses is the one that ggml's quantizers made common
 * (github.com/ggml-org/ggml, src/ggml-quants.c); here each guess is a least-squares fit, and the
 * two levels of scales of a K-block are fitted together. Sums are taken in lanes, in an order that
 * depends on places only. */
#ifndef PENSIEVE_QUANT_FIT_H
#define PENSIEVE_QUANT_FIT_H

#include <stddef.h>
#include <stdint.h>

enum {
    FIT_LANES = 16,       /* counts of elements are multiples of it */
    FIT_BLOCK = 256,      /* the longest block */
    FIT_MAX_SUBBLOCKS = 16,
};

/* What a number q may be: whole ones, or the sixteen values of a table, which rise. */
struct fit_levels {
    float low, high;
    const float *values; /* [16], or NULL */
};

/* The q of x under `scale` (0: the q that is nearest to nothing). */
void fit_round(const struct fit_levels *levels, const float *x, size_t n, float scale, float *q);
/* x ~ scale * q: the scale, which may be negative. 0 where all x are. */
float fit_scale(const struct fit_levels *levels, const float *x, const float *weights, size_t n);
/* The weighted sum of squares of what is lost under a scale. */
float fit_scale_error(const struct fit_levels *levels, const float *x, const float *weights,
                      size_t n, float scale);

/* x ~ scale * u + offset, u whole in 0..high, scale >= 0. */
struct fit_line {
    float scale, offset;
};
void fit_line_round(struct fit_line line, int high, const float *x, size_t n, float *u);
/* `below`: the offset is at most 0. */
struct fit_line fit_line(int high, int below, const float *x, const float *weights, size_t n);
float fit_line_error(struct fit_line line, int high, const float *x, const float *weights,
                     size_t n);

/* A block of n_sub subblocks of n elements: x ~ d * scales[j] * q. d is a half float, `least` the
 * lowest scale, which is negative; the highest is -least - 1. */
struct fit_scales {
    float d;
    int scales[FIT_MAX_SUBBLOCKS];
};
void fit_block_scales(const struct fit_levels *levels, int least, const float *x,
                      const float *weights, size_t n_sub, size_t n, struct fit_scales *out);

/* The same of x ~ d * scales[j] * u - dmin * mins[j], scales and mins in 0..top. */
struct fit_lines {
    float d, dmin;
    int scales[FIT_MAX_SUBBLOCKS], mins[FIT_MAX_SUBBLOCKS];
};
void fit_block_lines(int high, int top, const float *x, const float *weights, size_t n_sub,
                     size_t n, struct fit_lines *out);
static inline struct fit_line fit_lines_at(const struct fit_lines *f, size_t j)
{
    return (struct fit_line){f->d * (float)f->scales[j], -(f->dmin * (float)f->mins[j])};
}

#endif
