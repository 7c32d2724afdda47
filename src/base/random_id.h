/* Random names of things that people and programs refer to: "req_…", "msg_…". Knows nothing of what
 * they name. Any thread. */
#ifndef PENSIEVE_BASE_RANDOM_ID_H
#define PENSIEVE_BASE_RANDOM_ID_H

#include <stdint.h>

enum { RANDOM_ID_BYTES = 32 }; /* prefix, 24 characters and the end */

/* `prefix` and 24 random characters of [0-9A-Za-z]; the prefix has at most 7. */
void random_id_make(char out[RANDOM_ID_BYTES], const char *prefix);

uint64_t random_id_number(void);

#endif
