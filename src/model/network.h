/* What a network is to model.c, and what it is made with: hyper-parameters, matrices and
 * activations by name. Private to src/model, and to tests that have a network of their own.
 * One module: model, network. */
#ifndef PENSIEVE_MODEL_NETWORK_H
#define PENSIEVE_MODEL_NETWORK_H

#include "base/arena.h"
#include "weights/hyper.h"
#include "model/model.h"
#include "model/names.h"

enum { NETWORK_IDENTITY_BYTES = 512 };

/* The head of every network's own struct. */
struct model {
    const struct network *network;
    struct model_info info;
    const struct weights *weights;
    struct backend *be;
    void *layers;                /* [n_layers] the network's own structs */
    struct backend_kv_layer *kv; /* [n_layers] what each keeps */
    struct arena made; /* numbers that are in no file */
    char kv_identity[NETWORK_IDENTITY_BYTES];
};

/* Makes a model out of a file. The first failure sticks, so that a network lists what it needs and
 * does not ask what became of it; what comes after a failure is NULL or 0. */
struct network_loader {
    struct model *model;
    struct hyper hyper;
    struct names names;
    uint32_t n_ctx; /* the longest sequence it will be used for */
    struct error *err;
    bool failed;
};

/* One architecture: a row for model.c's table. */
struct network {
    const char *name;               /* general.architecture */
    const char *const *model_types; /* of config.json, which folders go by; NULL after the last */
    const struct hyper_default *defaults; /* of its hyper-parameters, or NULL */
    const struct tensor_name *names;  /* in what a folder's names differ from others'; or NULL */
    size_t n_bytes, n_layer_bytes; /* of its struct, and of its layers', both zeroed at first */
    /* Fills info; n_params and n_vocab are model.c's. */
    bool (*read)(const struct hyper *h, struct model_info *info, struct error *err);
    /* Fills its struct, its layers, and what these keep (model.kv). */
    void (*load)(struct model *m, struct network_loader *loader);
    void (*compute)(struct model *m, float *logits); /* within a step that has begun */
};

extern const struct network network_gemma3;
extern const struct network network_granite;
extern const struct network network_llama;
extern const struct network network_mistral3;
extern const struct network network_phi3;
extern const struct network network_qwen2;
extern const struct network network_qwen3;
extern const struct network network_qwen3moe;

/* As model_create, but of a network that need not be in the table. */
struct model *network_create(const struct network *network, const struct weights *w,
                             struct backend *be, const struct model_options *options,
                             struct error *err);

/* The usual hyper-parameters of a decoder, for `read`. */
bool network_read_decoder(const struct hyper *h, struct model_info *info, struct error *err);

bool network_fail(struct network_loader *loader, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* false */

float network_float(struct network_loader *loader, enum hyper_key key);
/* Within [least, most]. */
uint32_t network_uint(struct network_loader *loader, enum hyper_key key, uint32_t least,
                      uint32_t most);

enum {
    NETWORK_OPTIONAL = 1, /* NULL when the file has none */
};

/* The layer's window: the file's one, where it does not say that this layer has none; 0: none, and
 * one that is never full is none. */
uint32_t network_window(struct network_loader *loader, uint32_t layer);
/* Whether the file says that the layer has one, full or not. */
bool network_has_window(struct network_loader *loader, uint32_t layer);

/* How Llama's kind rotates: GGUF's converter has put q and k in order of pairs, folders have them
 * as they were trained, in halves. */
enum backend_rope network_llama_rope(const struct network_loader *loader);

/* Tensors go by GGUF's names, whatever the file calls them. */

/* A tensor [n_out][n_in] for the backend; n_out is 1 for norms and biases. */
const struct backend_matrix *network_matrix(struct network_loader *loader, uint64_t n_in,
                                            uint64_t n_out, unsigned flags, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The matrices of n_experts, [n_experts][n_out][n_in], as one. */
const struct backend_matrix *network_experts(struct network_loader *loader, uint64_t n_in,
                                             uint64_t n_out, uint64_t n_experts,
                                             const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* One as it lies in the file, of which only parts are matrices of the network: network_rows
 * takes rows first .. first + n. */
struct matrix network_tensor(struct network_loader *loader, uint64_t n_in, uint64_t n_out,
                             const char *format, ...) __attribute__((format(printf, 4, 5)));
const struct backend_matrix *network_rows(struct network_loader *loader, const struct matrix *m,
                                          uint64_t first, uint64_t n);
/* A vector of n F32 in the file, for numbers that the network itself reads. */
const float *network_floats(struct network_loader *loader, uint64_t n, unsigned flags,
                            const char *name);

/* Zeroed numbers that the network makes of others; they live as long as the model and are in its
 * memory bill. */
float *network_make_floats(struct network_loader *loader, size_t n);
/* Numbers so made as a matrix [n_out][n_in]. */
const struct backend_matrix *network_made(struct network_loader *loader, const float *values,
                                          uint64_t n_in, uint64_t n_out);
/* A vector of the file with `shift` added to each number: norms that a file keeps as what they
 * differ from 1. */
const struct backend_matrix *network_shifted(struct network_loader *loader, uint64_t n, float shift,
                                             const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct backend_activation *network_activation(struct network_loader *loader, uint32_t width);
/* One that is never needed together with `other`: in its memory from column *first on, which moves
 * past it, if there is room. NULL for `other`: a new one. */
struct backend_activation *network_activation_within(struct network_loader *loader,
                                                     struct backend_activation *other,
                                                     uint32_t other_width, uint32_t *first,
                                                     uint32_t width);

/* Puts a part to what names the keys and values (model_kv_identity), for all that they depend on
 * and the file's fingerprint does not say: what was chosen when the model was made. */
void network_identify(struct network_loader *loader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
