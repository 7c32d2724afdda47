/* A disk that takes its time: while the gate is closed, whatever writes to a file waits. A program that links gate.c wraps
 * write and pwrite. */
#ifndef PENSIEVE_TESTS_ENGINE_GATE_H
#define PENSIEVE_TESTS_ENGINE_GATE_H

#include <stdbool.h>

void gate_close(void);
void gate_open(void);
/* Until somebody waits at the closed gate. */
void gate_wait_for_one(void);
/* It was closed for too long and has opened by itself: somebody waited for the disk who must not. */
bool gate_has_given_up(void);

#endif
