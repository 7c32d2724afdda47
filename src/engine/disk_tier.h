/* Pages on disk, so that a prefix outlives both the memory and the process. A *slot* is the place
 * of one whole page in a segment file; beside the page it says which tokens it holds after which
 * others. docs/kv-store.md describes the files. Whatever is torn, cut, damaged or somebody else's
 * is never used: it costs a computation, nothing more.
 *
 * Used by the engine's thread; all writing is done by a thread of its own, and nobody waits for
 * it. */
#ifndef PENSIEVE_ENGINE_DISK_TIER_H
#define PENSIEVE_ENGINE_DISK_TIER_H

#include "backend/backend.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_NO_SLOT = UINT32_MAX };

struct disk_options {
    const char *folder;   /* made when missing; those of all models */
    const char *identity; /* all that a page depends on beside its tokens */
    uint64_t max_bytes;   /* of all files in the folder; 0: 8 GiB or a tenth of the free disk, the
                             smaller */
    /* Called by the writing thread when a page's writing has ended, or NULL. */
    void (*done)(void *context);
    void *context;
};

/* Which tokens a page holds. */
struct disk_label {
    uint64_t key;    /* disk_key of its tokens */
    uint64_t parent; /* that of the page before it, or disk_root_key */
    uint64_t space;  /* whose it is */
    uint32_t depth;  /* pages before it */
    int32_t tokens[BACKEND_PAGE_TOKENS];
};

uint64_t disk_root_key(uint64_t space);
uint64_t disk_key(uint64_t parent, const int32_t *tokens);

struct disk_tier;

/* Opens the folder of that identity and reads what its slots are, not the pages. BUSY when another
 * process has it, IO. `options` need not outlive the call. */
struct disk_tier *disk_tier_open(const struct disk_options *options, uint64_t page_bytes,
                                 struct error *err);
/* Waits for what is being written. */
void disk_tier_close(struct disk_tier *d);

/* What was found when it was opened, in ascending order of depth and, of one depth, of use. */
struct disk_found {
    struct disk_label label;
    uint32_t slot;
    int64_t used; /* seconds since 1970 */
};
const struct disk_found *disk_tier_found(const struct disk_tier *d, size_t *n);
void disk_tier_forget_found(struct disk_tier *d); /* frees that list */

/* A free slot, or DISK_NO_SLOT: all that the budget allows are taken. */
uint32_t disk_tier_take(struct disk_tier *d);
/* Not one that is being written. If too much is being written already, its entry stands for what is
 * in it until another page is written. */
void disk_tier_free(struct disk_tier *d, uint32_t slot);

/* Begins to write a page to a slot that was taken. The writing thread asks bytes(owner) for it,
 * which may wait; they must not change or go until it is done, and `owner` comes back then. NULL:
 * there are none, and it is done without success. False: too much is being written already. */
bool disk_tier_write(struct disk_tier *d, uint32_t slot, const struct disk_label *label,
                     const void *(*bytes)(void *owner), void *owner);

/* The next page whose writing ended. */
struct disk_done {
    void *owner;
    uint32_t slot;
    bool ok;
};
bool disk_tier_done(struct disk_tier *d, struct disk_done *out);

/* Reads a page that was found or written. False when it is not what was written; its content is
 * then undefined. */
bool disk_tier_read(struct disk_tier *d, uint32_t slot, void *page);

uint64_t disk_tier_bytes(const struct disk_tier *d); /* of the files, soon */
/* The folder of this identity, for what belongs to its pages. */
const char *disk_tier_folder(const struct disk_tier *d);

#endif
