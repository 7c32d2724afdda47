/* The limits of a core with AVX2 and FMA. Its int8 dot product is three instructions: pairs of
 * products, sums of pairs, and their addition. */
#include "kernels/x86/peaks.h"
#include "kernels/x86/x86.h"

#include <immintrin.h>

enum { N_SUMS = 12 };

static uint64_t int8(uint64_t n)
{
    enum { N_INTEGER_SUMS = 8 }; /* leaves registers for the products */
    __m256i sums[N_INTEGER_SUMS];
    __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8((char)(n & 1));
    const __m256i ones = _mm256_set1_epi16(1);
    UNROLL
    for (int i = 0; i < N_INTEGER_SUMS; i++)
        sums[i] = _mm256_setzero_si256();
    for (uint64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < N_INTEGER_SUMS; i++) {
            __asm__ volatile("" : "+x"(a)); /* or the products would be made but once */
            sums[i] =
                _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
            __asm__ volatile("" : "+x"(sums[i]));
        }
    }
    return n * N_INTEGER_SUMS * 64;
}

static uint64_t fp32(uint64_t n)
{
    __m256 sums[N_SUMS];
    const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps((float)(n & 1));
    UNROLL
    for (int i = 0; i < N_SUMS; i++)
        sums[i] = _mm256_setzero_ps();
    for (uint64_t r = 0; r < n; r++) {
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], a, b);
        UNROLL
        for (int i = 0; i < N_SUMS; i++)
            __asm__ volatile("" : "+x"(sums[i]));
    }
    return n * N_SUMS * 16;
}

static uint64_t read(const void *data, size_t n_bytes, size_t n_streams, size_t ahead)
{
    enum { STEP = 256 };
    const size_t n = n_bytes / n_streams;
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t at = 0; at < n; at += STEP)
        for (size_t s = 0; s < n_streams; s++) {
            const char *p = (const char *)data + s * n + at;
            UNROLL
            for (int i = 0; i < 8; i++) {
                if (ahead && i % 2 == 0)
                    _mm_prefetch(p + ahead + 32 * i, _MM_HINT_T0);
                const __m256i x = _mm256_loadu_si256((const __m256i *)(p + 32 * i));
                sums[i % 2] = _mm256_or_si256(sums[i % 2], x);
            }
        }
    uint64_t words[4];
    _mm256_storeu_si256((__m256i *)words, _mm256_or_si256(sums[0], sums[1]));
    return words[0] | words[1] | words[2] | words[3];
}

void avx2_init_peaks(struct kernels_peaks *p)
{
    p->int8 = (struct kernels_peak){int8, "vpmaddubsw, vpmaddwd, vpaddd ymm", 64};
    p->fp32 = (struct kernels_peak){fp32, "vfmadd ymm", 16};
    p->read = read;
}
