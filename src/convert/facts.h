/* What a model says of itself, in either format, and what is said the same way in both. */
#ifndef PENSIEVE_CONVERT_FACTS_H
#define PENSIEVE_CONVERT_FACTS_H

#include "weights/hyper.h"

#include <stddef.h>

/* Of a GGUF file: "llama"; empty when it does not say or it is too long to be one. */
struct facts_name {
    char text[64];
};
struct facts_name facts_architecture(const struct weights *w);

/* 0 when there is none, or one of more than 32 bits. */
uint32_t facts_number(const struct hyper *h, enum hyper_key key);

/* The hyper-parameters that are the same numbers in both formats. */
struct facts_row {
    enum hyper_key key;
    bool is_float;
};
enum { FACTS_N_ROWS = 13 };
extern const struct facts_row facts_rows[FACTS_N_ROWS];

#endif
