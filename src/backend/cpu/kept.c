/* Recurrent states, which are plain memory, and the saving and loading of pages and states: in
 * place, as the host's memory is the one that computes. */
#include "backend/cpu/state.h"

#include <string.h>

void cpu_kv_state_clear(struct backend *be, uint32_t state)
{
    size_t n_bytes;
    void *bytes = cpu_kv_bytes((struct cpu *)be, BACKEND_STATE, state, &n_bytes);
    memset(bytes, 0, n_bytes);
}

void cpu_kv_state_copy(struct backend *be, uint32_t dst, uint32_t src)
{
    size_t n_bytes;
    void *to = cpu_kv_bytes((struct cpu *)be, BACKEND_STATE, dst, &n_bytes);
    if (dst != src)
        memcpy(to, cpu_kv_bytes((struct cpu *)be, BACKEND_STATE, src, &n_bytes), n_bytes);
}

/* A save is the bytes' own address. */
struct backend_save *cpu_save_begin(struct backend *be, enum backend_kept kept, uint32_t id,
                                    struct error *err)
{
    size_t n_bytes;
    (void)err;
    return cpu_kv_bytes((struct cpu *)be, kept, id, &n_bytes);
}

const void *cpu_save_bytes(struct backend *be, struct backend_save *save, struct error *err)
{
    (void)be;
    (void)err;
    return save;
}

void cpu_save_end(struct backend *be, struct backend_save *save)
{
    (void)be;
    (void)save;
}

void *cpu_load_begin(struct backend *be, enum backend_kept kept, uint32_t id, struct error *err)
{
    size_t n_bytes;
    (void)err;
    return cpu_kv_bytes((struct cpu *)be, kept, id, &n_bytes);
}

bool cpu_load_end(struct backend *be, enum backend_kept kept, uint32_t id, void *bytes,
                  bool is_whole, struct error *err)
{
    (void)be;
    (void)kept;
    (void)id;
    (void)bytes;
    (void)is_whole;
    (void)err;
    return true;
}
