/* See rope_scaling.h. Files name the ways "none", "linear" (Chen et al. 2023, arXiv:2306.15595),
 * "yarn" (Peng et al. 2023, arXiv:2309.00071) and "longrope" (Ding et al. 2024, arXiv:2402.13753);
 * Llama 3's and LongRoPE's divisors of the frequencies come as tensors, often without a name. */
#include "model/rope_scaling.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

struct reader {
    struct network_loader *loader;
    const struct hyper *hyper;
    const struct model_info *info;
    struct backend_rope_params *out;
};

static bool read_base(const struct reader *r)
{
    uint64_t n_dims = r->info->head_dim;
    float base = 10000.0f;
    hyper_uint(r->hyper, HYPER_ROPE_DIMS, &n_dims);
    hyper_float(r->hyper, HYPER_ROPE_BASE, &base);
    if (n_dims < 2 || n_dims > r->info->head_dim || n_dims % 2)
        return network_fail(r->loader, ERROR_FORMAT, "RoPE over %llu of %u dimensions",
                         (unsigned long long)n_dims, r->info->head_dim);
    if (!(base > 1) || !isfinite(base))
        return network_fail(r->loader, ERROR_FORMAT, "RoPE with base %g", (double)base);
    r->out->n_dims = (uint32_t)n_dims;
    r->out->freq_base = base;
    return true;
}

/* The context before it was stretched. */
static bool read_original_context(const struct reader *r, uint32_t *out)
{
    uint64_t n = 0;
    if (!hyper_uint(r->hyper, HYPER_ROPE_N_CTX, &n))
        n = r->info->n_ctx_train;
    if (n < 2 || n > UINT32_MAX)
        return network_fail(r->loader, ERROR_FORMAT, "RoPE stretched from a context of %llu",
                         (unsigned long long)n);
    *out = (uint32_t)n;
    return true;
}

static bool read_magnitude(const struct reader *r)
{
    hyper_float(r->hyper, HYPER_ROPE_MAGNITUDE, &r->out->magnitude);
    return (r->out->magnitude > 0 && isfinite(r->out->magnitude)) ||
           network_fail(r->loader, ERROR_FORMAT, "RoPE with an attention factor of %g",
                     (double)r->out->magnitude);
}

static bool read_factor(const struct reader *r)
{
    float factor = 1.0f;
    hyper_float(r->hyper, HYPER_ROPE_FACTOR, &factor);
    r->out->freq_scale = 1.0f / factor;
    return (factor > 0 && isfinite(factor) && isfinite(r->out->freq_scale)) ||
           network_fail(r->loader, ERROR_FORMAT, "RoPE scaled by %g", (double)factor);
}

static bool read_yarn(const struct reader *r)
{
    struct backend_rope_yarn *yarn = &r->out->yarn;
    if (!read_factor(r) || !read_original_context(r, &yarn->n_ctx_original) || !read_magnitude(r))
        return false;
    *yarn = (struct backend_rope_yarn){yarn->n_ctx_original, 32.0f, 1.0f};
    hyper_float(r->hyper, HYPER_YARN_BETA_FAST, &yarn->beta_fast);
    hyper_float(r->hyper, HYPER_YARN_BETA_SLOW, &yarn->beta_slow);
    if (!(yarn->beta_slow > 0) || !(yarn->beta_fast >= yarn->beta_slow) ||
        !isfinite(yarn->beta_fast))
        return network_fail(r->loader, ERROR_FORMAT, "YaRN between %g and %g turns",
                         (double)yarn->beta_slow, (double)yarn->beta_fast);
    if (r->out->freq_scale < 1) /* the paper's section 3.4 */
        r->out->magnitude *= 1.0f - 0.1f * logf(r->out->freq_scale);
    return true;
}

static const float *read_factors(const struct reader *r, const char *name, unsigned flags)
{
    const float *factors = network_floats(r->loader, r->out->n_dims / 2, flags, name);
    for (uint32_t i = 0; factors && i < r->out->n_dims / 2 && !r->loader->failed; i++)
        if (!(factors[i] > 0) || !isfinite(factors[i]))
            network_fail(r->loader, ERROR_FORMAT, "%s: item %u is %g",
                                            name, i, (double)factors[i]);
    return factors;
}

/* A file that does not state the magnitude means the paper's: sqrt(1 + ln(s) / ln(original)), s how
 * many times longer the context became. */
static bool read_longrope(const struct reader *r)
{
    uint32_t n_original = 0;
    if (!read_original_context(r, &n_original))
        return false;
    if (r->info->n_ctx_train > n_original) {
        double s = (double)r->info->n_ctx_train / n_original;
        r->out->magnitude = (float)sqrt(1 + log(s) / log(n_original));
    }
    const float *brief = read_factors(r, "rope_factors_short.weight", 0);
    const float *extended = read_factors(r, "rope_factors_long.weight", 0);
    r->out->factors = r->loader->n_ctx > n_original ? extended : brief;
    return !r->loader->failed && read_magnitude(r);
}

/* Its number among those that are known, 4: none of them. */
static size_t rope_way(const struct reader *r, struct weights_string *way)
{
    static const char *const ways[] = {"none", "linear", "yarn", "longrope"};
    size_t i = 0;
    *way = (struct weights_string){"none", 4};
    hyper_string(r->hyper, HYPER_ROPE_SCALING, way);
    while (i < 4 && (strlen(ways[i]) != way->len || memcmp(ways[i], way->data, way->len) != 0))
        i++;
    struct matrix factors;
    if (i == 0 && weights_matrix(r->hyper->w, "rope_factors_long.weight", &factors))
        i = 3;
    return i;
}

static bool rope_read(const struct reader *r)
{
    struct weights_string way;
    if (!read_base(r))
        return false;
    const size_t i = rope_way(r, &way);
    if (i == 3)
        return read_longrope(r);
    r->out->factors = read_factors(r, "rope_freqs.weight", NETWORK_OPTIONAL);
    if (r->loader->failed)
        return false;
    if (i == 4)
        return network_fail(r->loader, ERROR_UNSUPPORTED, "RoPE scaling '%.*s' is not supported",
                            (int)(way.len < 32 ? way.len : 32), way.data);
    return i == 0 || (i == 1 ? read_factor(r) : read_yarn(r));
}

/* Keys in the pages are rotated by it. */
static void rope_identify(const struct reader *r)
{
    const struct backend_rope_params *rope = r->out;
    uint64_t factors = 0;
    if (rope->factors)
        factors = XXH3_64bits(rope->factors, rope->n_dims / 2 * sizeof *rope->factors);
    network_identify(r->loader, "rope %d %u %a %a %a %016" PRIx64 " yarn %u %a %a, ",
                     (int)rope->kind, rope->n_dims, (double)rope->freq_base,
                     (double)rope->freq_scale, (double)rope->magnitude, factors,
                     rope->yarn.n_ctx_original, (double)rope->yarn.beta_fast,
                     (double)rope->yarn.beta_slow);
}

void rope_scaling_read(struct network_loader *loader, struct backend_rope_params *out)
{
    const struct reader r = {loader, &loader->hyper, &loader->model->info, out};
    *out = (struct backend_rope_params){.kind = out->kind, .freq_scale = 1, .magnitude = 1};
    if (!loader->failed && rope_read(&r))
        rope_identify(&r);
}
