/* A whole model that says what it is told: attention and feed-forward add nothing, so that each
 * token's successor is a matter of its own row of the output matrix. */
#ifndef PENSIEVE_TESTS_SUPPORT_PARROT_MODEL_H
#define PENSIEVE_TESTS_SUPPORT_PARROT_MODEL_H

#include <stddef.h>

enum { PARROT_CONTEXT = 2048, PARROT_MAX_PIECES = 24 };

/* A GGUF file (free()) of *n_bytes, with that chat template; NULL when out of memory. After a line
 * end it says the pieces, each of which is one token, and then <|end|>; after anything else it ends
 * at once. Its vocabulary is the bytes, <|end|> (256), <|start|> (257) and the pieces. */
void *parrot_model_make(const char *chat_template, const char *const *pieces, unsigned n_pieces,
                        size_t *n_bytes);

#endif
