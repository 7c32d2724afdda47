/* A build for tests (meson -Dhostile=true) that is as unkind as the rules allow: KV pages of four
 * tokens, prompts read token by token, requests paused at random. Nothing that it computes may
 * differ. */
#ifndef PENSIEVE_BASE_HOSTILE_H
#define PENSIEVE_BASE_HOSTILE_H

#ifdef PENSIEVE_HOSTILE
enum { HOSTILE = 1 };
#else
enum { HOSTILE = 0 };
#endif

#endif
