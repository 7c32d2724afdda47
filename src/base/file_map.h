/* A whole file as read-only memory. The mapping is shared, so two processes on one model share its
 * pages. Opening and closing are safe from any thread. */
#ifndef PENSIEVE_BASE_FILE_MAP_H
#define PENSIEVE_BASE_FILE_MAP_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct file_map {
    const uint8_t *data; /* [size]; NULL for an empty file */
    size_t size;
    int64_t modified_ns; /* when its content was last changed, since 1970 */
    uint64_t device, inode;
};

bool file_map_open(struct file_map *map, const char *path, struct error *err);
void file_map_close(struct file_map *map);
/* What was read of it leaves the process's physical memory; reading it again brings it back. */
void file_map_forget(const struct file_map *map);

/* Whether the mapped file, which still goes by that name, was written to since. One that another
 * file has replaced was not. */
bool file_map_is_written_to(const struct file_map *map, const char *path);

/* The name of the file that is mapped where `address` lies, for a handler of signals: a file that
 * is cut while it is mapped makes SIGBUS where its bytes were. NULL: none is. Async-signal-safe; a
 * long path is told by its end. */
const char *file_map_find(const void *address);

#endif
