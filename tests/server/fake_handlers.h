/* Handlers for the server's tests. The body of a message is a command, not JSON:
 *   stream N MS     N events, one each MS milliseconds; "wake" is called more often than there is
 *                   news
 *   bytes N         a stream of N bytes at once
 *   whole MS        one JSON object after MS milliseconds
 *   fail            one JSON object with status 500
 *   break N         a stream that fails after N bytes
 *   hang-stream, hang-whole   nothing until it is ended; the stream answers a probe
 *   race-stream, race-whole   news and the wake come just after the server was told that there are
 *                   none
 *   slow-start MS   start itself takes that long, then as `whole 0`
 *   slow-OP MS      head, read, usage or end itself takes that long, then as `whole 0`
 *   hang-slow-tick MS   as hang-stream, and each tick takes that long
 *   endless         a stream that always has more
 * and anything else is refused as INPUT. */
#ifndef PENSIEVE_TESTS_SERVER_FAKE_HANDLERS_H
#define PENSIEVE_TESTS_SERVER_FAKE_HANDLERS_H

#include "server/handler.h"

#include <stdatomic.h>

struct fake {
    atomic_int n_started, n_ended, n_ticks, n_probes;
    atomic_int n_blocked;       /* in a slow operation now */
    atomic_bool is_released;    /* no slow operation takes its time any more */
    atomic_size_t n_body_bytes; /* of the last message */
    atomic_size_t n_made;       /* bytes by `endless` */
};

struct handler_table fake_handlers(struct fake *f);

/* Two shapes of errors: {"api":"plain",…} for all, {"api":"other",…} below /other/. */
extern const struct handler_api fake_apis[2];

#endif
