/* The header of a safetensors file (github.com/huggingface/safetensors): its length in 8 bytes,
 * then JSON that names each tensor's type, shape and place in the data behind it. Every number is
 * the file's claim until it was checked against the file's size and against the other tensors.
 * Knows no quantization. Private to src/weights. */
#ifndef PENSIEVE_WEIGHTS_SAFETENSORS_H
#define PENSIEVE_WEIGHTS_SAFETENSORS_H

#include "base/arena.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* X(name, bits of an element) */
#define SAFETENSORS_TYPES(X)                                                                       \
    X(BOOL, 8)                                                                                     \
    X(U8, 8)                                                                                       \
    X(I8, 8)                                                                                       \
    X(F8_E4M3, 8)                                                                                  \
    X(F8_E5M2, 8)                                                                                  \
    X(F8_E8M0, 8)                                                                                  \
    X(F4, 4)                                                                                       \
    X(F6_E2M3, 6)                                                                                  \
    X(F6_E3M2, 6)                                                                                  \
    X(I16, 16)                                                                                     \
    X(U16, 16)                                                                                     \
    X(F16, 16)                                                                                     \
    X(BF16, 16)                                                                                    \
    X(I32, 32)                                                                                     \
    X(U32, 32)                                                                                     \
    X(F32, 32)                                                                                     \
    X(I64, 64)                                                                                     \
    X(U64, 64)                                                                                     \
    X(F64, 64)                                                                                     \
    X(C64, 64)

enum safetensors_type {
#define X(name, bits) SAFETENSORS_##name,
    SAFETENSORS_TYPES(X)
#undef X
        SAFETENSORS_N_TYPES,
};

enum { SAFETENSORS_MAX_DIMS = 8 };

struct safetensors_tensor {
    const char *name; /* terminated, without zeros inside; in the arena */
    size_t name_len;
    enum safetensors_type type;
    uint32_t n_dims;                      /* 0: one number */
    uint64_t shape[SAFETENSORS_MAX_DIMS]; /* the outermost first */
    uint64_t begin, end;                  /* in the file */
};

struct safetensors {
    struct safetensors_tensor *tensors; /* [n_tensors] in the data's order; freed by the caller */
    size_t n_tensors;
    uint64_t data_begin;
    bool is_mlx; /* the file says that MLX's tools have written it */
};

/* Reads a file's header. FORMAT with tensor and byte, TOO_LARGE, or NO_MEMORY. The tensors fill the
 * data without holes, none reaches into another and each is as large as its shape says; two may
 * still have one name. */
bool safetensors_read(struct safetensors *out, const uint8_t *data, uint64_t size,
                      struct arena *names, struct error *err);
void safetensors_deinit(struct safetensors *s);

const char *safetensors_type_name(enum safetensors_type type);

#endif
