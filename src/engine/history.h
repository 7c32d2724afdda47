/* What the model said, token by token: the tokens of an answer by the content that the client was
 * told. A later turn shows that content again, and is then made of the same tokens, so that what
 * was computed for them is found. Any thread; none ever waits for the disk, which has one of its
 * own. */
#ifndef PENSIEVE_ENGINE_HISTORY_H
#define PENSIEVE_ENGINE_HISTORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct history;

/* `path`: a file to keep it in beyond the process, or NULL. What is torn or damaged in it is left
 * out. NULL: out of memory. */
struct history *history_create(const char *path, struct error *err);
/* Waits until all that is known has been written. */
void history_destroy(struct history *h);

/* Remembers tokens[n] under an identity (a hash of the content) in a space; the oldest ones are
 * forgotten for it. It is written later, if it is not forgotten until then. */
void history_remember(struct history *h, uint64_t space, const uint64_t identity[2],
                      const int32_t *tokens, size_t n);

/* A copy of the tokens, to be freed; NULL: not known. */
int32_t *history_recall(struct history *h, uint64_t space, const uint64_t identity[2], size_t *n);

#endif
