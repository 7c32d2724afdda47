/* The catalogue's text (data/catalogue.json) as checked structs. Knows no folders and no network.
 * One module: catalogue, store. */
#ifndef PENSIEVE_STORE_CATALOGUE_H
#define PENSIEVE_STORE_CATALOGUE_H

#include "base/arena.h"
#include "store/store.h"

struct catalogue {
    struct store_model *models; /* [n_models], in order of preference; lives in the arena */
    size_t n_models;
    struct arena arena;
};

/* Parses and checks json[n_bytes]; the message names the model and what is wrong. On failure
 * nothing is held. */
bool catalogue_parse(struct catalogue *c, const char *json, size_t n_bytes, struct error *err);
void catalogue_deinit(struct catalogue *c);

#endif
