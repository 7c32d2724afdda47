/* Memory in whole pages, and how much of it is really there. */
#ifndef PENSIEVE_BASE_MEMORY_H
#define PENSIEVE_BASE_MEMORY_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory that costs nothing until it is touched, or NULL with NO_MEMORY. */
void *memory_map(size_t n_bytes, const char *what, struct error *err);
void memory_unmap(void *memory, size_t n_bytes); /* NULL is let be */

/* Its physical memory goes back to the system; it can be used again, its content is lost. */
void memory_give_back(void *memory, size_t n_bytes);

/* Bytes of that range which this process has in physical memory, in whole pages. */
uint64_t memory_resident(const void *memory, size_t n_bytes);

/* The process as the system counts it, in bytes; 0 where the system does not say. */
struct memory_process {
    uint64_t resident;      /* all that is in physical memory */
    uint64_t resident_file; /* of it, pages of mapped files */
    uint64_t heap;          /* what malloc has taken */
};
void memory_of_process(struct memory_process *out);

#endif
