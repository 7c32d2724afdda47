/* The types of avx512_pair.h that are rarer: each row's eight blocks come as a group
 * (avx512_unpack_more.h), and two groups are put into the order of a pair. */
#ifndef PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H
#define PENSIEVE_KERNELS_X86_AVX512_PAIR_MORE_H

#include "kernels/x86/avx512_pair.h"
#include "kernels/x86/avx512_unpack_more.h"

/* Two registers of blocks (f, f + 1) and (f + 2, f + 3) of both rows to those of (f, f + 2) and
 * (f + 1, f + 3). */
INLINE void pair_of_registers(struct pair *g, const struct group *a, const struct group *b,
                              const int j)
{
    __m512i v[2] = {_mm512_shuffle_i32x4(a->u[j], a->u[j + 1], 0x44),
                    _mm512_shuffle_i32x4(a->u[j], a->u[j + 1], 0xee)};
    __m512i w[2] = {_mm512_shuffle_i32x4(b->u[j], b->u[j + 1], 0x44),
                    _mm512_shuffle_i32x4(b->u[j], b->u[j + 1], 0xee)};
    UNROLL
    for (int i = 0; i < 2; i++) {
        g->u[j + i][0] = _mm512_shuffle_i32x4(v[i], w[i], 0x88);
        g->u[j + i][1] = _mm512_shuffle_i32x4(v[i], w[i], 0xdd);
    }
}

INLINE __m512 pair_of_floats(__m256 a, __m256 b)
{
    const __m512i order =
        _mm512_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    return _mm512_permutexvar_ps(order, _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1));
}

/* The lower (part 0) or upper halves' floats of two rows of sixteen. */
INLINE __m512 pair_of_halves(__m512 a, __m512 b, const int part)
{
    const __m512i order = _mm512_setr_epi32(0, 2, 8, 10, 4, 6, 12, 14, 16, 18, 24, 26, 20, 22, 28,
                                            30);
    return _mm512_permutex2var_ps(a, _mm512_add_epi32(order, _mm512_set1_epi32(part)), b);
}

INLINE void pair_of_groups(struct pair *g, const enum kernels_form form, const struct group *a,
                           const struct group *b, const int n_blocks)
{
    pair_of_registers(g, a, b, 0);
    if (n_blocks > 4)
        pair_of_registers(g, a, b, 2);
    g->d = pair_of_floats(a->d, b->d);
    if (form == KERNELS_MIN || form == KERNELS_WIDE_MIN)
        g->m = pair_of_floats(a->m, b->m);
    if (form == KERNELS_MINS) {
        g->m = pair_of_halves(a->d16, b->d16, 0);
        g->m_upper = pair_of_halves(a->d16, b->d16, 1);
    }
    g->subtracts_m = false;
}

/* Only the 16-bit scales need an index, that of avx512_unpack.h. */
#define DEFINE_PAIR(type, form, n_words)                                                           \
    INLINE void pair_init_##type(struct pair_index *index)                                         \
    {                                                                                              \
        index->group = (struct words){.mask = {0}};                                                \
        if (n_words)                                                                               \
            index->group = words_init(sizeof(struct quant_##type), n_words);                       \
    }                                                                                              \
    INLINE void pair_##type(struct pair *g, const struct pair_index *index,                        \
                            const uint8_t *const *p, const int n_blocks)                           \
    {                                                                                              \
        struct group a, b;                                                                         \
        group_##type(&a, &index->group, p[0], n_blocks / 2);                                       \
        group_##type(&b, &index->group, p[1], n_blocks / 2);                                       \
        pair_of_groups(g, form, &a, &b, n_blocks);                                                 \
    }
DEFINE_PAIR(q2_k, KERNELS_MINS, 0)
DEFINE_PAIR(q3_k, KERNELS_WIDE, 0)
DEFINE_PAIR(iq4_nl, KERNELS_WIDE, 1)
DEFINE_PAIR(iq4_xs, KERNELS_WIDE, 0)
DEFINE_PAIR(mxfp4, KERNELS_OFFSET, 0)

#endif
