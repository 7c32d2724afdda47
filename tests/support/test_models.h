/* Where tests that need a real model file find it. */
#ifndef PENSIEVE_TESTS_SUPPORT_TEST_MODELS_H
#define PENSIEVE_TESTS_SUPPORT_TEST_MODELS_H

#include <stdbool.h>
#include <stddef.h>

enum { TEST_MODELS_SKIPPED = 77 }; /* the exit code of a test whose model is not there */

/* The folder is PENSIEVE_TEST_MODELS, else the store's. */
void test_models_path(char *out, size_t size, const char *file);
/* The same; false, said loudly, when the file is not there. */
bool test_models_find(char *out, size_t size, const char *file);

#endif
