/* Hyper-parameters of a GGUF file by the keys behind "<architecture>.". */
#ifndef PENSIEVE_CONVERT_FACTS_H
#define PENSIEVE_CONVERT_FACTS_H

#include "weights/weights.h"

/* "llama"; empty when the file does not say or it is too long to be one. */
struct facts_name {
    char text[64];
};
struct facts_name facts_architecture(const struct weights *w);

/* False, and *out as it was, when there is none. */
bool facts_uint(const struct weights *w, const char *key, uint64_t *out);
bool facts_float(const struct weights *w, const char *key, float *out);
bool facts_string(const struct weights *w, const char *key, struct weights_string *out);
/* 0 when there is none. */
uint64_t facts_number(const struct weights *w, const char *key);

#endif
