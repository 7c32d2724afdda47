/* See fit.h. */
#include "quant/fit.h"

#include "quant/half.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Below it a block is nothing: its scale would be no half float, nor its inverse finite. */
#define NOTHING 1e-15f

/* To the nearest whole number, ties to even, without a call; |x| < 2^22. */
static inline float nearest_whole(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* NaN becomes `low`. */
static inline float between(float x, float low, float high)
{
    x = x > low ? x : low;
    return x < high ? x : high;
}

static float sum_of_lanes(const float lanes[FIT_LANES])
{
    float sum = 0;
    for (int k = 0; k < FIT_LANES; k++)
        sum += lanes[k];
    return sum;
}

static void round_whole(const struct fit_levels *levels, const float *x, size_t n, float inverse,
                        float *q)
{
    for (size_t i = 0; i < n; i++)
        q[i] = nearest_whole(between(inverse * x[i], levels->low, levels->high));
}

/* The nearest value of a table: the lowest, and a step for each middle that lies below. */
static void round_value(const struct fit_levels *levels, const float *x, size_t n, float inverse,
                        float *q)
{
    const float *values = levels->values;
    for (size_t i = 0; i < n; i++)
        q[i] = values[0];
    for (int k = 0; k < 15; k++) {
        const float middle = 0.5f * (values[k] + values[k + 1]), step = values[k + 1] - values[k];
        for (size_t i = 0; i < n; i++)
            q[i] += inverse * x[i] > middle ? step : 0.0f;
    }
}

static void round_levels(const struct fit_levels *levels, const float *x, size_t n, float inverse,
                         float *q)
{
    if (levels->values)
        round_value(levels, x, n, inverse, q);
    else
        round_whole(levels, x, n, inverse, q);
}

void fit_round(const struct fit_levels *levels, const float *x, size_t n, float scale, float *q)
{
    round_levels(levels, x, n, fabsf(scale) > FLT_MIN ? 1 / scale : 0, q);
}

static float error_of(const float *x, const float *weights, const float *q, size_t n,
                      struct fit_line line)
{
    float lanes[FIT_LANES] = {0};
    for (size_t i = 0; i < n; i += FIT_LANES)
        for (size_t k = 0; k < FIT_LANES; k++) {
            const float lost = line.scale * q[i + k] + line.offset - x[i + k];
            lanes[k] += weights[i + k] * lost * lost;
        }
    return sum_of_lanes(lanes);
}

float fit_scale_error(const struct fit_levels *levels, const float *x, const float *weights,
                      size_t n, float scale)
{
    float q[FIT_BLOCK];
    fit_round(levels, x, n, scale, q);
    return error_of(x, weights, q, n, (struct fit_line){scale, 0});
}

/* Weighted sums over x and q. */
struct sums {
    float q, qq, xq;
};

static struct sums sums_of(const float *x, const float *weights, const float *q, size_t n)
{
    float lanes[3][FIT_LANES] = {0};
    for (size_t i = 0; i < n; i += FIT_LANES)
        for (size_t k = 0; k < FIT_LANES; k++) {
            const float wq = weights[i + k] * q[i + k];
            lanes[0][k] += wq;
            lanes[1][k] += wq * q[i + k];
            lanes[2][k] += wq * x[i + k];
        }
    return (struct sums){sum_of_lanes(lanes[0]), sum_of_lanes(lanes[1]), sum_of_lanes(lanes[2])};
}

/* ---- one scale ---- */

/* The best scale so far, and how much of the sum of squares it explains. */
struct scale_search {
    const struct fit_levels *levels;
    const float *x, *weights;
    size_t n;
    float scale, gain;
};

/* Offers the scale that fits the q which an inverse scale makes. Returns whether it is better. */
static bool scale_offer(struct scale_search *s, float inverse)
{
    float q[FIT_BLOCK];
    round_levels(s->levels, s->x, s->n, inverse, q);
    const struct sums sums = sums_of(s->x, s->weights, q, s->n);
    if (!(sums.qq > 0) || !(sums.xq * sums.xq > s->gain * sums.qq))
        return false;
    s->scale = sums.xq / sums.qq;
    s->gain = sums.xq * s->scale;
    return true;
}

static float largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    return most;
}

float fit_scale(const struct fit_levels *levels, const float *x, const float *weights, size_t n)
{
    enum { STEPS = 9, ROUNDS = 3 };
    struct scale_search s = {levels, x, weights, n, 0, 0};
    const float most = largest(x, n);
    if (fabsf(most) < NOTHING)
        return 0;
    /* The largest x is near the lowest level, or near the highest; where there are many the two
     * hardly differ. */
    const float step = levels->values ? 1.5f : 0.1f;
    for (int k = -STEPS; k <= STEPS; k++) {
        scale_offer(&s, (levels->low + step * (float)k) / most);
        if (levels->high < 8 || levels->values)
            scale_offer(&s, (levels->high + step * (float)k) / most);
    }
    for (int k = 0; k < ROUNDS && s.scale != 0; k++)
        if (!scale_offer(&s, 1 / s.scale))
            break;
    return s.scale;
}

/* ---- a line ---- */

void fit_line_round(struct fit_line line, int high, const float *x, size_t n, float *u)
{
    const float inverse = line.scale > FLT_MIN ? 1 / line.scale : 0;
    for (size_t i = 0; i < n; i++)
        u[i] = nearest_whole(between(inverse * (x[i] - line.offset), 0, (float)high));
}

float fit_line_error(struct fit_line line, int high, const float *x, const float *weights,
                     size_t n)
{
    float u[FIT_BLOCK];
    fit_line_round(line, high, x, n, u);
    return error_of(x, weights, u, n, line);
}

/* What does not change during a search. */
struct line_search {
    const float *x, *weights;
    size_t n;
    int high;
    bool below;
    float sum_w, sum_x;
    struct fit_line best;
    float error;
};

/* The line through the points (u, x), in the least squares' sense. */
static struct fit_line line_through(const struct line_search *s, const struct sums *sums)
{
    struct fit_line line = {0, 0};
    const float determinant = s->sum_w * sums->qq - sums->q * sums->q;
    if (determinant > 0) {
        line.scale = (s->sum_w * sums->xq - s->sum_x * sums->q) / determinant;
        line.offset = (sums->qq * s->sum_x - sums->q * sums->xq) / determinant;
    }
    if (s->below && line.offset > 0)
        line = (struct fit_line){sums->qq > 0 ? sums->xq / sums->qq : 0, 0};
    return line;
}

/* Offers the line that fits the u which a line makes. Returns whether it is better. */
static bool line_offer(struct line_search *s, struct fit_line guess)
{
    float u[FIT_BLOCK];
    fit_line_round(guess, s->high, s->x, s->n, u);
    const struct sums sums = sums_of(s->x, s->weights, u, s->n);
    const struct fit_line line = line_through(s, &sums);
    const float error = error_of(s->x, s->weights, u, s->n, line);
    if (!(line.scale > 0) || !(error < s->error))
        return false;
    s->best = line;
    s->error = error;
    return true;
}

struct fit_line fit_line(int high, int below, const float *x, const float *weights, size_t n)
{
    enum { STEPS = 10, ROUNDS = 3 };
    float least = x[0], most = x[0];
    struct line_search s = {x, weights, n, high, below != 0, 0, 0, {0, 0}, FLT_MAX};
    for (size_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        s.sum_w += weights[i];
        s.sum_x += weights[i] * x[i];
    }
    if (below && least > 0)
        least = 0;
    if (!(most - least > NOTHING))
        return (struct fit_line){0, least};
    s.best = (struct fit_line){(most - least) / (float)high, least};
    s.error = fit_line_error(s.best, high, x, weights, n);
    for (int k = -STEPS; k <= STEPS; k++)
        line_offer(&s, (struct fit_line){(most - least) / ((float)high + 0.1f * (float)k), least});
    for (int k = 0; k < ROUNDS; k++)
        if (!line_offer(&s, s.best))
            break;
    return s.best;
}

/* ---- blocks with scales of their own in subblocks ---- */

static float half_of(float x)
{
    return half_to_float(half_from_float(between(x, -65504, 65504)));
}

/* Whole numbers beside the best one that are tried. */
enum { AROUND = 1 };

static int whole(float x, int low, int high)
{
    return (int)nearest_whole(between(x, (float)low, (float)high));
}

/* The scale of a subblock that loses least under d. Returns what it loses. */
static float choose_scale(const struct fit_levels *levels, int least, const float *x,
                          const float *weights, size_t n, float d, float wanted, int *scale)
{
    const int most = -least - 1, middle = d != 0 ? whole(wanted / d, least, most) : 0;
    float best = FLT_MAX;
    *scale = 0;
    for (int s = middle - AROUND; s <= middle + AROUND; s++) {
        if (s < least || s > most)
            continue;
        const float error = fit_scale_error(levels, x, weights, n, d * (float)s);
        if (!(error < best))
            continue;
        best = error;
        *scale = s;
    }
    return best;
}

/* Chooses all scales under d; returns what the block loses. */
static float choose_scales(const struct fit_levels *levels, int least, const float *x,
                           const float *weights, size_t n_sub, size_t n, const float *wanted,
                           struct fit_scales *out)
{
    float error = 0;
    for (size_t j = 0; j < n_sub; j++)
        error += choose_scale(levels, least, x + j * n, weights + j * n, n, out->d, wanted[j],
                              &out->scales[j]);
    return error;
}

/* The d that fits the numbers that were chosen. */
static float refit_scale(const struct fit_levels *levels, const float *x, const float *weights,
                         size_t n_sub, size_t n, const struct fit_scales *f)
{
    float q[FIT_BLOCK], sum_qq = 0, sum_xq = 0;
    for (size_t j = 0; j < n_sub; j++) {
        const float scale = (float)f->scales[j];
        fit_round(levels, x + j * n, n, f->d * scale, q);
        const struct sums sums = sums_of(x + j * n, weights + j * n, q, n);
        sum_qq += scale * scale * sums.qq;
        sum_xq += scale * sums.xq;
    }
    return sum_qq > 0 ? half_of(sum_xq / sum_qq) : 0;
}

void fit_block_scales(const struct fit_levels *levels, int least, const float *x,
                      const float *weights, size_t n_sub, size_t n, struct fit_scales *out)
{
    enum { ROUNDS = 2 };
    float wanted[FIT_MAX_SUBBLOCKS], most = 0, error;
    for (size_t j = 0; j < n_sub; j++) {
        wanted[j] = fit_scale(levels, x + j * n, weights + j * n, n);
        most = fabsf(wanted[j]) > fabsf(most) ? wanted[j] : most;
    }
    out->d = half_of(most / (float)least);
    error = choose_scales(levels, least, x, weights, n_sub, n, wanted, out);
    for (int k = 0; k < ROUNDS; k++) {
        struct fit_scales next = {.d = refit_scale(levels, x, weights, n_sub, n, out)};
        const float next_error =
            choose_scales(levels, least, x, weights, n_sub, n, wanted, &next);
        if (!(next_error < error))
            break;
        error = next_error;
        *out = next;
    }
}

/* Scale and minimum of a subblock under d and dmin; returns what it loses. */
static float choose_line(int high, int top, const float *x, const float *weights, size_t n,
                         const struct fit_lines *f, struct fit_line wanted, int *scale, int *min)
{
    const int s0 = f->d > 0 ? whole(wanted.scale / f->d, 0, top) : 0;
    const int m0 = f->dmin > 0 ? whole(-wanted.offset / f->dmin, 0, top) : 0;
    float best = FLT_MAX;
    *scale = *min = 0;
    for (int s = s0 - AROUND; s <= s0 + AROUND; s++)
        for (int m = m0 - AROUND; m <= m0 + AROUND; m++) {
            if (s < 0 || s > top || m < 0 || m > top)
                continue;
            const struct fit_line line = {f->d * (float)s, -(f->dmin * (float)m)};
            const float error = fit_line_error(line, high, x, weights, n);
            if (!(error < best))
                continue;
            best = error;
            *scale = s;
            *min = m;
        }
    return best;
}

static float choose_lines(int high, int top, const float *x, const float *weights, size_t n_sub,
                          size_t n, const struct fit_line *wanted, struct fit_lines *out)
{
    float error = 0;
    for (size_t j = 0; j < n_sub; j++)
        error += choose_line(high, top, x + j * n, weights + j * n, n, out, wanted[j],
                             &out->scales[j], &out->mins[j]);
    return error;
}

/* d and dmin that fit the numbers that were chosen: two equations in two unknowns. */
static struct fit_lines refit_lines(int high, const float *x, const float *weights, size_t n_sub,
                                    size_t n, const struct fit_lines *f)
{
    float aa = 0, ab = 0, bb = 0, ax = 0, bx = 0; /* a = scale * u, b = -min */
    float u[FIT_BLOCK];
    for (size_t j = 0; j < n_sub; j++) {
        const float scale = (float)f->scales[j], min = -(float)f->mins[j];
        float sum_w = 0, sum_x = 0;
        fit_line_round(fit_lines_at(f, j), high, x + j * n, n, u);
        const struct sums sums = sums_of(x + j * n, weights + j * n, u, n);
        for (size_t i = 0; i < n; i++) {
            sum_w += weights[j * n + i];
            sum_x += weights[j * n + i] * x[j * n + i];
        }
        aa += scale * scale * sums.qq;
        ab += scale * min * sums.q;
        bb += min * min * sum_w;
        ax += scale * sums.xq;
        bx += min * sum_x;
    }
    const float determinant = aa * bb - ab * ab;
    struct fit_lines next = {.d = aa > 0 ? ax / aa : 0};
    if (determinant > 0) {
        next.d = (bb * ax - ab * bx) / determinant;
        next.dmin = (aa * bx - ab * ax) / determinant;
    }
    next.d = half_of(next.d > 0 ? next.d : 0);
    next.dmin = half_of(next.dmin > 0 ? next.dmin : 0);
    return next;
}

void fit_block_lines(int high, int top, const float *x, const float *weights, size_t n_sub,
                     size_t n, struct fit_lines *out)
{
    enum { ROUNDS = 2 };
    struct fit_line wanted[FIT_MAX_SUBBLOCKS];
    float scale = 0, min = 0, error;
    for (size_t j = 0; j < n_sub; j++) {
        wanted[j] = fit_line(high, 1, x + j * n, weights + j * n, n);
        scale = wanted[j].scale > scale ? wanted[j].scale : scale;
        min = -wanted[j].offset > min ? -wanted[j].offset : min;
    }
    out->d = half_of(scale / (float)top);
    out->dmin = half_of(min / (float)top);
    error = choose_lines(high, top, x, weights, n_sub, n, wanted, out);
    for (int k = 0; k < ROUNDS; k++) {
        struct fit_lines next = refit_lines(high, x, weights, n_sub, n, out);
        const float next_error = choose_lines(high, top, x, weights, n_sub, n, wanted, &next);
        if (!(next_error < error))
            break;
        error = next_error;
        *out = next;
    }
}
