/* What peaks.c sees of x86; each fills in what it does better. */
#ifndef PENSIEVE_KERNELS_X86_PEAKS_H
#define PENSIEVE_KERNELS_X86_PEAKS_H

#include "kernels/peaks.h"

void avx2_init_peaks(struct kernels_peaks *p);
void avx512_init_peaks(struct kernels_peaks *p);
void avx512_bf16_init_peaks(struct kernels_peaks *p);

#endif
