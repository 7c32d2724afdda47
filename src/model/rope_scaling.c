/* See rope_scaling.h. Files name the ways "none" or "default", "linear" (Chen et al. 2023,
 * arXiv:2306.15595), "yarn" (Peng et al. 2023, arXiv:2309.00071), "longrope" (Ding et al. 2024,
 * arXiv:2402.13753; once called "su") and "llama3" (the divisors of the frequencies as Llama 3.1's
 * published code computes them). In GGUF the divisors of the last two are tensors, often without a
 * name of the way; in config.json LongRoPE's are lists and Llama 3's are made here. */
#include "model/rope_scaling.h"

#include "weights/llama3_rope.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

enum rope_way {
    ROPE_PLAIN,
    ROPE_LINEAR,
    ROPE_YARN,
    ROPE_LONG,
    ROPE_LLAMA3,
    ROPE_UNKNOWN,
};

static const struct {
    const char *name;
    enum rope_way way;
} way_names[] = {
    {"none", ROPE_PLAIN},    {"default", ROPE_PLAIN}, {"linear", ROPE_LINEAR}, {"yarn", ROPE_YARN},
    {"longrope", ROPE_LONG}, {"su", ROPE_LONG},       {"llama3", ROPE_LLAMA3},
};

struct reader {
    struct network_loader *loader;
    const struct hyper *hyper;
    const struct model_info *info;
    struct backend_rope_params *out;
    bool is_folder;
};

static bool read_base(const struct reader *r)
{
    uint64_t n_dims = r->info->head_dim;
    float base = 10000.0f, share = 1.0f;
    if (hyper_float(r->hyper, HYPER_ROPE_SHARE, &share) && share > 0 && share < 1)
        n_dims = (uint64_t)((double)r->info->head_dim * (double)share);
    hyper_uint(r->hyper, HYPER_ROPE_DIMS, &n_dims);
    hyper_float(r->hyper, HYPER_ROPE_BASE, &base);
    if (n_dims < 2 || n_dims > r->info->head_dim || n_dims % 2 || !(share > 0 && share <= 1))
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

/* What YaRN multiplies by, section 3.4 of the paper. GGUF's attention factor is one more; a
 * folder's is instead of it, and two strengths may be, as DeepSeek has them, of which the quotient
 * counts. */
static bool read_yarn_magnitude(const struct reader *r)
{
    float given, strength = r->is_folder ? 0 : 1, strength_all = 0; /* GGUF has the second alone */
    const float more = r->out->freq_scale < 1 ? -0.1f * logf(r->out->freq_scale) : 0;
    if (!read_magnitude(r))
        return false;
    if (r->is_folder && hyper_float(r->hyper, HYPER_ROPE_MAGNITUDE, &given))
        return true;
    hyper_float(r->hyper, HYPER_YARN_MSCALE, &strength);
    hyper_float(r->hyper, HYPER_YARN_MSCALE_ALL, &strength_all);
    if (strength == 0 || strength_all == 0) {
        r->out->magnitude *= 1.0f + more;
        return true;
    }
    r->out->magnitude *= (1.0f + strength * more) / (1.0f + strength_all * more);
    return (r->out->magnitude > 0 && isfinite(r->out->magnitude)) ||
           network_fail(r->loader, ERROR_FORMAT, "YaRN with strengths %g and %g",
                        (double)strength, (double)strength_all);
}

static bool read_yarn(const struct reader *r)
{
    struct backend_rope_yarn *yarn = &r->out->yarn;
    bool truncates = true;
    if (!read_factor(r) || !read_original_context(r, &yarn->n_ctx_original) ||
        !read_yarn_magnitude(r))
        return false;
    *yarn = (struct backend_rope_yarn){yarn->n_ctx_original, 32.0f, 1.0f};
    hyper_float(r->hyper, HYPER_YARN_BETA_FAST, &yarn->beta_fast);
    hyper_float(r->hyper, HYPER_YARN_BETA_SLOW, &yarn->beta_slow);
    if (!(yarn->beta_slow > 0) || !(yarn->beta_fast >= yarn->beta_slow) ||
        !isfinite(yarn->beta_fast))
        return network_fail(r->loader, ERROR_FORMAT, "YaRN between %g and %g turns",
                         (double)yarn->beta_slow, (double)yarn->beta_fast);
    if (hyper_bool(r->hyper, HYPER_YARN_TRUNCATES, &truncates) && !truncates)
        return network_fail(r->loader, ERROR_UNSUPPORTED,
                            "YaRN between broken numbers of pairs is not supported");
    if (hyper_n_items(r->hyper, HYPER_ROPE_LONG))
        return network_fail(r->loader, ERROR_UNSUPPORTED,
                            "YaRN with lists of factors is not supported");
    return true;
}

/* ---- divisors of the frequencies ---- */

static bool check_divisors(const struct reader *r, const char *name, const float *factors)
{
    for (uint32_t i = 0; i < r->out->n_dims / 2; i++)
        if (!(factors[i] > 0) || !isfinite(factors[i]))
            return network_fail(r->loader, ERROR_FORMAT, "%s: item %u is %g", name, i,
                                (double)factors[i]);
    return true;
}

/* Those of a list in config.json. */
static const float *list_factors(const struct reader *r, enum hyper_key key)
{
    const struct hyper_name name = hyper_name(r->hyper, key);
    const uint32_t n = r->out->n_dims / 2;
    const size_t n_items = hyper_n_items(r->hyper, key);
    if (n_items != n) {
        network_fail(r->loader, ERROR_FORMAT, "%s has %zu numbers, not %u", name.text, n_items, n);
        return NULL;
    }
    float *factors = network_make_floats(r->loader, n);
    for (uint32_t i = 0; factors && i < n; i++)
        hyper_item_float(r->hyper, key, i, &factors[i]); /* else it stays 0, and is refused */
    return factors && check_divisors(r, name.text, factors) ? factors : NULL;
}

/* Those of a GGUF tensor. */
static const float *tensor_factors(const struct reader *r, const char *name, unsigned flags)
{
    const float *factors = network_floats(r->loader, r->out->n_dims / 2, flags, name);
    return factors && !r->loader->failed && check_divisors(r, name, factors) ? factors : NULL;
}

/* Pairs that turn more than `high` times within the original context keep their frequency, those
 * that turn less than `low` times get a factor of it, and between them it is blended. */
static bool read_llama3(const struct reader *r)
{
    const uint32_t n = r->out->n_dims / 2;
    struct llama3_rope rope = {.factor = 8, .low = 1, .high = 4};
    uint32_t n_original = 0;
    if (!read_original_context(r, &n_original))
        return false;
    rope.n_original = (float)n_original;
    hyper_float(r->hyper, HYPER_ROPE_FACTOR, &rope.factor);
    hyper_float(r->hyper, HYPER_ROPE_LOW, &rope.low);
    hyper_float(r->hyper, HYPER_ROPE_HIGH, &rope.high);
    if (!llama3_rope_is_sound(&rope))
        return network_fail(r->loader, ERROR_FORMAT,
                            "RoPE of llama3 with factor %g between %g and %g turns",
                            (double)rope.factor, (double)rope.low, (double)rope.high);
    float *factors = network_make_floats(r->loader, n);
    for (uint32_t i = 0; factors && i < n; i++)
        factors[i] = llama3_rope_divisor(&rope, r->out->freq_base, i, n);
    r->out->factors = factors;
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
    const float *brief = r->is_folder ? list_factors(r, HYPER_ROPE_SHORT)
                                      : tensor_factors(r, "rope_factors_short.weight", 0);
    const float *extended = r->is_folder ? list_factors(r, HYPER_ROPE_LONG)
                                         : tensor_factors(r, "rope_factors_long.weight", 0);
    r->out->factors = r->loader->n_ctx > n_original ? extended : brief;
    return !r->loader->failed && read_magnitude(r);
}

/* ---- which ---- */

static enum rope_way read_way(const struct reader *r, struct weights_string *name)
{
    enum rope_way way = ROPE_UNKNOWN;
    struct matrix factors;
    *name = (struct weights_string){"none", 4};
    hyper_string(r->hyper, HYPER_ROPE_SCALING, name);
    for (size_t i = 0; i < sizeof way_names / sizeof *way_names; i++)
        if (strlen(way_names[i].name) == name->len &&
            !memcmp(way_names[i].name, name->data, name->len))
            way = way_names[i].way;
    if (way == ROPE_PLAIN && weights_matrix(r->hyper->w, "rope_factors_long.weight", &factors))
        way = ROPE_LONG;
    return way;
}

static bool rope_read(const struct reader *r)
{
    struct weights_string name;
    if (!read_base(r))
        return false;
    const enum rope_way way = read_way(r, &name);
    if (way == ROPE_LONG)
        return read_longrope(r);
    if (way == ROPE_LLAMA3 && r->is_folder)
        return read_llama3(r);
    if (!r->is_folder)
        r->out->factors = tensor_factors(r, "rope_freqs.weight", NETWORK_OPTIONAL);
    if (r->loader->failed)
        return false;
    if (way == ROPE_UNKNOWN)
        return network_fail(r->loader, ERROR_UNSUPPORTED, "RoPE scaling '%.*s' is not supported",
                            (int)(name.len < 32 ? name.len : 32), name.data);
    return way == ROPE_YARN ? read_yarn(r) : way != ROPE_LINEAR || read_factor(r);
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
    const struct reader r = {loader, &loader->hyper, &loader->model->info, out,
                             weights_format(loader->hyper.w) != WEIGHTS_GGUF};
    *out = (struct backend_rope_params){.kind = out->kind, .freq_scale = 1, .magnitude = 1};
    if (!loader->failed && rope_read(&r))
        rope_identify(&r);
}
