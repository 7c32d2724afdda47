/* What the tiers are made of, and the one question that compilers have no name for everywhere. */
#include "kernels/x86/x86.h"

#include <cpuid.h>

bool x86_has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

void x86_init_avx2(struct kernels *k)
{
    avx2_init_rows(k);
    avx2_init_panel(k);
    avx2_init_float_panel(k);
    avx2_init_vector(k);
    avx2_init_rank(k);
    if (!HOSTILE)
        avx2_init_attend(k);
}

void x86_init_avx512(struct kernels *k)
{
    avx512_init_rows(k);
    avx512_init_panel(k);
    avx512_init_float_panel(k);
    avx512_init_vector(k);
    avx512_init_rank(k);
    if (!HOSTILE)
        avx512_init_attend(k);
}
