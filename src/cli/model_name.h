/* What a model goes by that the catalogue does not know: the name of its folder, or of its file
 * without the ending. Knows no engine. */
#ifndef PENSIEVE_CLI_MODEL_NAME_H
#define PENSIEVE_CLI_MODEL_NAME_H

#include "weights/weights.h"

#include <stddef.h>

/* Writes the name of the model at `path`, printable and terminated. A file of a folder stands for
 * the folder, "." for what it is called elsewhere; a part of a split file loses its number, and in
 * Hugging Face's cache the model's own name counts, not the commit's. */
void model_name(char *out, size_t size, const char *path, const struct weights *w);

#endif
