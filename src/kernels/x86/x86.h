/* What kernels.c sees of the x86 tiers. */
#ifndef PENSIEVE_KERNELS_X86_X86_H
#define PENSIEVE_KERNELS_X86_X86_H

#include "kernels/kernels.h"

bool x86_has_f16c(void);
void x86_init_avx2(struct kernels *k);
void x86_init_avx512(struct kernels *k); /* over the table of avx2 */

/* The files of each tier. */
void avx2_init_rows(struct kernels *k);
void avx2_init_panel(struct kernels *k);
void avx2_init_float_panel(struct kernels *k);
void avx2_init_vector(struct kernels *k);
void avx2_init_rank(struct kernels *k);
void avx2_init_attend(struct kernels *k);
struct kernels_run avx2_unpack_run(const struct kernels_run *run, size_t pair_bytes);
void avx512_init_rows(struct kernels *k);
void avx512_init_panel(struct kernels *k);
void avx512_init_float_panel(struct kernels *k);
void avx512_init_vector(struct kernels *k);
void avx512_init_rank(struct kernels *k);
void avx512_init_attend(struct kernels *k);
void avx512_bf16_init_attend(struct kernels *k);

/* Whether rows of weights are always fetched into the second cache, far ahead. Of lines on their
 * way to the first one Intel's cores have ten to sixteen, which at DRAM's latency is half of what
 * memory gives a core; to the second there are 48. */
static inline bool x86_fetches_far(void)
{
    return __builtin_cpu_is("intel");
}

/* Bytes of eight blocks of 32 of a block type. */
#define X86_GROUP_BYTES(NAME) (256 / QUANT_ELEMENTS_##NAME * QUANT_BYTES_##NAME)

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

#endif
