/* A double of the claude for the server's tests. The body of a message is a command, not JSON:
 *   stream N MS    N events, one each MS milliseconds; "wake" is called more often than there is
 * news bytes N        a stream of N bytes at once whole MS       one JSON object after MS
 * milliseconds fail           one JSON object with status 500 hang-stream, hang-whole   nothing
 * until it is ended race-stream, race-whole   news and the wake come just after the server was told
 * that there are none slow-start MS  claude_call_start itself takes that long, then as `whole 0`
 * and anything else is refused as INPUT. */
#ifndef PENSIEVE_TESTS_SERVER_FAKE_CLAUDE_H
#define PENSIEVE_TESTS_SERVER_FAKE_CLAUDE_H

#include "claude/claude.h"

#include <stdatomic.h>

struct claude {
    atomic_int n_started, n_ended, n_ticks;
    atomic_size_t n_body_bytes; /* of the last message */
};

#endif
