/* From a name to its number in a list, in one step, also for names that an enemy chose: the hash is
 * keyed with a secret of the process. Private to src/weights. */
#ifndef PENSIEVE_WEIGHTS_NAME_INDEX_H
#define PENSIEVE_WEIGHTS_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_index_slot {
    const char *name; /* [len], the caller's; NULL in a free slot */
    uint32_t len, number;
};

struct name_index {
    struct name_index_slot *slots; /* [n_slots], a power of two, at most half of them taken */
    size_t n_slots, n_used;
    uint64_t key[2];
};

#define NAME_INDEX_NONE UINT32_MAX

void name_index_deinit(struct name_index *index);

/* The number under a name, or NAME_INDEX_NONE. */
uint32_t name_index_find(const struct name_index *index, const char *name, size_t len);

/* Puts a name that is not there yet; the bytes must outlive the index. False: out of memory. */
bool name_index_add(struct name_index *index, const char *name, size_t len, uint32_t number);

#endif
