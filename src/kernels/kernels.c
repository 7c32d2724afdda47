/* The ladder of tiers: which table a CPU gets. Reading it from the top tells what runs where.
 * Knows what the CPU can do, not what the kernels do. */
#include "kernels/kernels.h"

#include "kernels/scalar.h"
#ifdef KERNELS_X86
#include "kernels/x86/x86.h"
#endif

#include <string.h>

/* A rung: what it adds to the table that those below it have filled. */
struct tier {
    const char *name;
    bool (*runs)(void); /* where those below run; NULL: everywhere */
    /* Whether it is faster than those below it wherever it runs, by the maker alone: what is
     * computed must not depend on a measurement. NULL: it is. */
    bool (*is_faster)(void);
    void (*init)(struct kernels *k);
};

static void init_scalar(struct kernels *k)
{
    scalar_init_matmul(k);
    scalar_init_vector(k);
    scalar_init_attend(k);
    scalar_init_rank(k);
}

#ifdef KERNELS_X86
/* These look at the registers that the system saves, too. */
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && x86_has_f16c();
}

static bool runs_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool runs_avx512_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
}

/* Products of bfloat16 have twice the rate of float32 on AMD's cores (Zen 4 and 5); on Intel's
 * they have half of it, without AMX. */
static bool is_amd(void)
{
    return __builtin_cpu_is("amd");
}
#endif

static const struct tier tiers[] = {
    {"c", NULL, NULL, init_scalar},
#ifdef KERNELS_X86
    {"avx2", runs_avx2, NULL, x86_init_avx2},
    {"avx512", runs_avx512, NULL, x86_init_avx512},
    {"avx512_bf16", runs_avx512_bf16, is_amd, avx512_bf16_init_attend},
#endif
};

enum { N_TIERS = sizeof tiers / sizeof *tiers };

size_t kernels_n_tiers(void)
{
    return N_TIERS;
}

const char *kernels_tier_name(size_t i)
{
    return i < N_TIERS ? tiers[i].name : "";
}

bool kernels_tier_runs(size_t i)
{
    if (i >= N_TIERS)
        return false;
    for (size_t below = 0; below <= i; below++)
        if (tiers[below].runs && !tiers[below].runs())
            return false;
    return true;
}

int kernels_tier_find(const char *name)
{
    for (int i = 0; i < N_TIERS; i++)
        if (!strcmp(name, tiers[i].name))
            return i;
    return -1;
}

size_t kernels_tier_best(void)
{
    size_t best = 0;
    for (size_t i = 0; i < N_TIERS; i++)
        if (kernels_tier_runs(i) && (!tiers[i].is_faster || tiers[i].is_faster()))
            best = i;
    return best;
}

static const struct kernels_type types[QUANT_N_TYPES] = {
#define X(NAME, number, elements, bytes, form, offset, ...)                                        \
    [number] = {KERNELS_##form, offset, NULL, NULL},
    QUANT_TYPES(X)
#undef X
};

enum kernels_form kernels_form_of(enum quant_type type)
{
    return types[type].form;
}

void kernels_init(struct kernels *k, size_t tier)
{
    memset(k, 0, sizeof *k);
    k->tier = kernels_tier_name(tier);
    memcpy(k->types, types, sizeof types);
    for (size_t i = 0; i <= tier && i < N_TIERS; i++)
        tiers[i].init(k);
}
