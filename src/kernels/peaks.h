/* What a core can do at most: loops of nothing but multiply-adds in registers, or of nothing but
 * loads. For bench/ and the kernels' own bench, so that a figure is also a share of the limit; no
 * part of the table, and nothing that computes a model calls them. One module: peaks, x86/peaks. */
#ifndef PENSIEVE_KERNELS_PEAKS_H
#define PENSIEVE_KERNELS_PEAKS_H

#include <stddef.h>
#include <stdint.h>

/* `run` does n rounds and returns the operations in them, a multiplication and an addition being
 * two; NULL: this CPU has no such instruction. */
struct kernels_peak {
    uint64_t (*run)(uint64_t n);
    const char *instruction; /* "vpdpbusd zmm" */
    uint32_t n_operations;   /* of one such instruction */
};

struct kernels_peaks {
    struct kernels_peak int8, bf16, fp32;
    /* Reads data[n_bytes] as n_streams streams side by side, each of n_bytes / n_streams (a
     * multiple of 256), with a prefetch `ahead` bytes before each load (0: none). The result
     * depends on all of it. */
    uint64_t (*read)(const void *data, size_t n_bytes, size_t n_streams, size_t ahead);
};

/* The best that this CPU has. */
void kernels_peaks_init(struct kernels_peaks *p);

/* n dependent integer multiplications, 3 cycles each on every x86-64 and most Arm cores: they tell
 * the clock. */
uint64_t kernels_peaks_chain(uint64_t n);

#endif
