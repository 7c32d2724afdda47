/* See rope_scaling.h. Files name the ways "none", "linear" (Chen et al. 2023, arXiv:2306.15595),
 * "yarn" (Peng et al. 2023, arXiv:2309.00071) and "longrope" (Ding et al. 2024, arXiv:2402.13753);
 * Llama 3's and LongRoPE's divisors of the frequencies come as tensors, often without a name. */
#include "model/rope_scaling.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const struct network_loader *loader;
    const struct model_info *info;
    uint32_t n_ctx;
    struct backend_rope_params *out;
};

static bool read_float(const struct reader *r, const char *name, float *value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.rope.%s", r->info->architecture, name);
    return weights_float(r->loader->w, key, value);
}

static bool read_uint(const struct reader *r, const char *name, uint64_t *value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.rope.%s", r->info->architecture, name);
    return weights_uint(r->loader->w, key, value);
}

static bool read_base(const struct reader *r)
{
    uint64_t n_dims = r->info->head_dim;
    float base = 10000.0f;
    read_uint(r, "dimension_count", &n_dims);
    read_float(r, "freq_base", &base);
    if (n_dims < 2 || n_dims > r->info->head_dim || n_dims % 2)
        return error_set(r->loader->err, ERROR_FORMAT, "RoPE over %llu of %u dimensions",
                         (unsigned long long)n_dims, r->info->head_dim);
    if (!(base > 1) || !isfinite(base))
        return error_set(r->loader->err, ERROR_FORMAT, "RoPE with base %g", (double)base);
    r->out->n_dims = (uint32_t)n_dims;
    r->out->freq_base = base;
    return true;
}

/* The context before it was stretched. */
static bool read_original_context(const struct reader *r, uint32_t *out)
{
    uint64_t n = 0;
    if (!read_uint(r, "scaling.original_context_length", &n))
        n = r->info->n_ctx_train;
    if (n < 2 || n > UINT32_MAX)
        return error_set(r->loader->err, ERROR_FORMAT, "RoPE stretched from a context of %llu",
                         (unsigned long long)n);
    *out = (uint32_t)n;
    return true;
}

static bool read_magnitude(const struct reader *r)
{
    read_float(r, "scaling.attn_factor", &r->out->magnitude);
    return (r->out->magnitude > 0 && isfinite(r->out->magnitude)) ||
           error_set(r->loader->err, ERROR_FORMAT, "RoPE with an attention factor of %g",
                     (double)r->out->magnitude);
}

static bool read_factor(const struct reader *r)
{
    float factor = 1.0f;
    read_float(r, "scaling.factor", &factor);
    r->out->freq_scale = 1.0f / factor;
    return (factor > 0 && isfinite(factor) && isfinite(r->out->freq_scale)) ||
           error_set(r->loader->err, ERROR_FORMAT, "RoPE scaled by %g", (double)factor);
}

static bool read_yarn(const struct reader *r)
{
    struct backend_rope_yarn *yarn = &r->out->yarn;
    if (!read_factor(r) || !read_original_context(r, &yarn->n_ctx_original) || !read_magnitude(r))
        return false;
    *yarn = (struct backend_rope_yarn){yarn->n_ctx_original, 32.0f, 1.0f};
    read_float(r, "scaling.yarn_beta_fast", &yarn->beta_fast);
    read_float(r, "scaling.yarn_beta_slow", &yarn->beta_slow);
    if (!(yarn->beta_slow > 0) || !(yarn->beta_fast >= yarn->beta_slow) ||
        !isfinite(yarn->beta_fast))
        return error_set(r->loader->err, ERROR_FORMAT, "YaRN between %g and %g turns",
                         (double)yarn->beta_slow, (double)yarn->beta_fast);
    if (r->out->freq_scale < 1) /* the paper's section 3.4 */
        r->out->magnitude *= 1.0f - 0.1f * logf(r->out->freq_scale);
    return true;
}

static const float *read_factors(const struct reader *r, const char *name, unsigned flags)
{
    const float *factors = network_floats(r->loader, r->out->n_dims / 2, flags, name);
    for (uint32_t i = 0; factors && i < r->out->n_dims / 2 && !*r->loader->failed; i++)
        if (!(factors[i] > 0) || !isfinite(factors[i]))
            *r->loader->failed = !error_set(r->loader->err, ERROR_FORMAT, "%s: item %u is %g",
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
    r->out->factors = r->n_ctx > n_original ? extended : brief;
    return !*r->loader->failed && read_magnitude(r);
}

bool rope_scaling_read(const struct network_loader *loader, const struct model_info *info,
                       uint32_t n_ctx, struct backend_rope_params *out)
{
    const struct reader r = {loader, info, n_ctx, out};
    const enum backend_rope kind = out->kind;
    struct weights_string way = {"none", 4};
    char key[96];
    *out = (struct backend_rope_params){.kind = kind, .freq_scale = 1, .magnitude = 1};
    if (!read_base(&r))
        return false;
    snprintf(key, sizeof key, "%s.rope.scaling.type", info->architecture);
    weights_string(loader->w, key, &way);
    const char *const ways[] = {"none", "linear", "yarn", "longrope"};
    size_t i = 0;
    while (i < 4 && (strlen(ways[i]) != way.len || memcmp(ways[i], way.data, way.len) != 0))
        i++;
    if (i == 0 && weights_tensor(loader->w, "rope_factors_long.weight"))
        i = 3;
    if (i == 3)
        return read_longrope(&r);
    out->factors = read_factors(&r, "rope_freqs.weight", NETWORK_OPTIONAL);
    if (*loader->failed)
        return false;
    if (i == 4)
        return error_set(loader->err, ERROR_UNSUPPORTED, "RoPE scaling '%.*s' is not supported",
                         (int)(way.len < 32 ? way.len : 32), way.data);
    return i == 0 || (i == 1 ? read_factor(&r) : read_yarn(&r));
}
