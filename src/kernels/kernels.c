/* The ladder of tiers: which table a CPU gets. Reading it from the top tells what runs where.
 * Knows what the CPU can do, not what the kernels do. */
#include "kernels/kernels.h"

#include "kernels/scalar.h"
#ifdef KERNELS_X86
#include "kernels/x86/x86.h"
#endif

#include <string.h>

enum tier { TIER_C, TIER_AVX2, TIER_AVX512, TIER_AVX512_BF16, N_TIERS };

static const char *const tier_names[N_TIERS] = {"c", "avx2", "avx512", "avx512_bf16"};

size_t kernels_n_tiers(void)
{
    return N_TIERS;
}

const char *kernels_tier_name(size_t i)
{
    return i < N_TIERS ? tier_names[i] : "";
}

bool kernels_tier_runs(size_t i)
{
    switch (i) {
    case TIER_C:
        return true;
#ifdef KERNELS_X86
    /* these look at the registers that the system saves, too */
    case TIER_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && x86_has_f16c();
    case TIER_AVX512:
        return kernels_tier_runs(TIER_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
    case TIER_AVX512_BF16:
        return kernels_tier_runs(TIER_AVX512) && __builtin_cpu_supports("avx512bf16");
#endif
    default:
        return false;
    }
}

int kernels_tier_find(const char *name)
{
    for (int i = 0; i < N_TIERS; i++)
        if (!strcmp(name, tier_names[i]))
            return i;
    return -1;
}

/* Whether a tier is faster than those below it wherever it runs, by the maker alone: what is
 * computed must not depend on a measurement. Products of bfloat16 have twice the rate of float32
 * on AMD's cores (Zen 4 and 5); on Intel's they have half of it, without AMX. */
static bool is_faster(size_t tier)
{
#ifdef KERNELS_X86
    if (tier == TIER_AVX512_BF16)
        return __builtin_cpu_is("amd");
#endif
    return true;
}

size_t kernels_tier_best(void)
{
    size_t best = TIER_C;
    for (size_t i = 0; i < N_TIERS; i++)
        if (kernels_tier_runs(i) && is_faster(i))
            best = i;
    return best;
}

void kernels_init(struct kernels *k, size_t tier)
{
    memset(k, 0, sizeof *k);
    k->tier = kernels_tier_name(tier);
    scalar_init_matmul(k);
    scalar_init_vector(k);
    scalar_init_attend(k);
    scalar_init_rank(k);
#ifdef KERNELS_X86
    if (tier < TIER_AVX2)
        return;
    x86_init_avx2(k);
    if (tier < TIER_AVX512)
        return;
    x86_init_avx512(k);
    if (tier < TIER_AVX512_BF16)
        return;
    avx512_bf16_init_attend(k);
#endif
}
