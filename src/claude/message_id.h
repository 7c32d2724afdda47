/* The random names of the API's things: "msg_…", "toolu_…". Any thread. */
#ifndef PENSIEVE_CLAUDE_MESSAGE_ID_H
#define PENSIEVE_CLAUDE_MESSAGE_ID_H

#include "base/random_id.h"

enum { MESSAGE_ID_BYTES = RANDOM_ID_BYTES };

static inline void message_id_make(char out[MESSAGE_ID_BYTES], const char *prefix)
{
    random_id_make(out, prefix);
}

static inline uint64_t message_id_random(void)
{
    return random_id_number();
}

#endif
