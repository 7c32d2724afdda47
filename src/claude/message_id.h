/* The random names of the API's things: "msg_…", "toolu_…". Knows nothing of what they name.
 * Any thread. */
#ifndef PENSIEVE_CLAUDE_MESSAGE_ID_H
#define PENSIEVE_CLAUDE_MESSAGE_ID_H

#include <stdint.h>

enum { MESSAGE_ID_BYTES = 32 }; /* prefix, 24 characters and the end */

/* `prefix` and 24 random characters of [0-9A-Za-z]; the prefix has at most 7. */
void message_id_make(char out[MESSAGE_ID_BYTES], const char *prefix);

uint64_t message_id_random(void);

#endif
