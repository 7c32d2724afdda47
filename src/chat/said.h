/* Which answer a message is: a hash of the content that a client was told, and shows again in later
 * requests. Knows no tokens. */
#ifndef PENSIEVE_CHAT_SAID_H
#define PENSIEVE_CHAT_SAID_H

#include "base/buf.h"
#include "chat/conversation.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct said {
    struct buf blocks; /* those that are whole */
    struct buf text;   /* of the one that is being said */
    struct buf call;   /* the arguments of the call that is being said */
};

void said_init(struct said *s);
void said_deinit(struct said *s);
void said_reset(struct said *s); /* nothing was said yet */

void said_text(struct said *s, const char *bytes, size_t n);
/* Ids are left out: a client shows them again, but a model never wrote them. Numbers are rounded to
 * doubles, as many clients do before they show them again. */
void said_call(struct said *s, const char *name, const json_t *arguments);
/* The same in pieces: JSON. */
void said_call_bytes(struct said *s, const char *bytes, size_t n);
void said_call_end(struct said *s, const char *name);

/* The identity of what was said so far. False: nothing was, or out of memory. */
bool said_identity(struct said *s, uint64_t identity[2]);
/* That of a message of a request; false also where it holds what is not told to clients. */
bool said_identity_of(const struct conversation_message *m, uint64_t identity[2]);

#endif
