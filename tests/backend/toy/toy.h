/* A second backend, as small as one can be: plain C on the calling thread, every weight and every
 * key and value a float, a batch row by row. It is there to prove that backend.h is all that the
 * rest of the house knows of where it computes; so what the interface lets a backend do later is
 * done later here: saves and loads are copies, and what a step gives to the host comes at its end.
 */
#ifndef PENSIEVE_TESTS_BACKEND_TOY_H
#define PENSIEVE_TESTS_BACKEND_TOY_H

#include "backend/backend.h"

/* NULL with NO_MEMORY; destroy through ops->destroy. */
struct backend *toy_create(struct error *err);

#endif
