/* What the files of the networks share with model.c, and with nobody else. */
#ifndef PENSIEVE_MODEL_NETWORK_H
#define PENSIEVE_MODEL_NETWORK_H

#include "model/model.h"

/* One architecture: how it is wired from a file's tensors, and what it computes. */
struct network {
    const char *name; /* general.architecture */
    struct model *(*create)(const struct weights *w, struct backend *be,
                            const struct model_info *info, const struct model_options *options,
                            struct error *err);
    void (*destroy)(struct model *m);
    void (*compute)(struct model *m, float *logits); /* within a step that has begun */
};

/* The head of every network's own struct. */
struct model {
    const struct network *network;
    struct model_info info;
    const struct weights *weights;
    struct backend *be;
    struct backend_kv_layer *kv; /* [n_layers] what each keeps; its own */
};

extern const struct network network_llama;
extern const struct network network_phi3;
extern const struct network network_qwen2;

/* Fetches tensors and activations; the first failure sticks, so that a network lists what it needs
 * and checks `failed` once. */
struct network_loader {
    const struct weights *w;
    struct backend *be;
    struct error *err;
    bool *failed;
};

enum {
    NETWORK_OPTIONAL = 1, /* NULL when the file has none */
};

/* A tensor [n_out][n_in] for the backend; n_out is 1 for norms and biases. */
const struct backend_matrix *network_matrix(const struct network_loader *loader, uint64_t n_in,
                                            uint64_t n_out, unsigned flags, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The same as it lies in the file, of which only parts are matrices of the network: network_rows
 * takes rows first .. first + n. */
bool network_tensor(const struct network_loader *loader, uint64_t n_in, uint64_t n_out,
                    struct matrix *out, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
const struct backend_matrix *network_rows(const struct network_loader *loader,
                                          const struct matrix *m, uint64_t first, uint64_t n);
/* A vector of n F32 in the file, for numbers that the network itself reads. */
const float *network_floats(const struct network_loader *loader, uint64_t n, unsigned flags,
                            const char *name);
struct backend_activation *network_activation(const struct network_loader *loader, uint32_t width);
/* One that is never needed together with `other`: in its memory from column *first on, which moves
 * past it, if there is room. */
struct backend_activation *network_activation_within(const struct network_loader *loader,
                                                     struct backend_activation *other,
                                                     uint32_t other_width, uint32_t *first,
                                                     uint32_t width);

#endif
