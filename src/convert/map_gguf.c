/* GGUF to GGUF: the same tensors, most of them in another type, and the same metadata. */
#include "convert/gguf_writer.h"
#include "convert/map.h"

#include <stdio.h>
#include <string.h>

enum { QUANTIZATION_VERSION = 2 };

/* Keys that the output says itself. */
static bool is_own_key(const struct weights_string *key)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version",
                                      "general.alignment"};
    static const char *const begins[] = {"split.", "quantize.imatrix."};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (key->len == strlen(own[i]) && !memcmp(key->data, own[i], key->len))
            return true;
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (key->len > strlen(begins[i]) && !memcmp(key->data, begins[i], strlen(begins[i])))
            return true;
    return false;
}

void map_put_made(struct gguf_writer *g, const struct plan *p)
{
    const struct importance *m = p->importance;
    gguf_writer_uint(g, "general.quantization_version", QUANTIZATION_VERSION);
    gguf_writer_uint(g, "general.file_type", p->target->file_type);
    if (!m)
        return;
    const char *file = p->importance_path, *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file, *set = importance_data_set(m);
    gguf_writer_string(g, "quantize.imatrix.file", name, strlen(name));
    if (*set)
        gguf_writer_string(g, "quantize.imatrix.dataset", set, strlen(set));
    gguf_writer_uint(g, "quantize.imatrix.entries_count", (uint32_t)importance_n_entries(m));
    gguf_writer_uint(g, "quantize.imatrix.chunks_count", importance_n_chunks(m));
}

static void put_metadata(struct gguf_writer *g, const struct plan *p)
{
    for (size_t i = 0; i < weights_n_meta(p->w); i++) {
        const struct weights_meta meta = weights_meta_at(p->w, i);
        if (!is_own_key(&meta.key))
            gguf_writer_copy(g, p->w, i);
    }
    map_put_made(g, p);
}

/* The number of a type that holds no weights. */
static bool raw_type(const struct weights_tensor *t, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t number;
    } types[] = {{"I8", 24}, {"I16", 25}, {"I32", 26}, {"I64", 27}, {"F64", 28}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, t->type_name)) {
            *out = types[i].number;
            return true;
        }
    return false;
}

static bool add_tensor(struct plan *p, const struct weights_tensor *input, struct error *err)
{
    struct plan_tensor *t = plan_add(p, input->name, input->name, err);
    if (!t)
        return false;
    t->n_dims = input->n_dims;
    memcpy(t->shape, input->shape, sizeof t->shape);
    if (input->type == WEIGHTS_NO_TYPE && raw_type(input, &t->raw_type)) {
        t->raw = input->data;
        t->n_raw = input->n_bytes;
        return true;
    }
    const struct target_tensor facts = {input->name, input->n_dims,
                                        {input->shape[0], input->shape[1], input->shape[2],
                                         input->shape[3]}};
    t->type = target_gguf_type(p->target, &p->model, &facts);
    return plan_take(p, t, input, err) && plan_take_importance(p, t, err);
}

bool map_gguf_to_gguf(struct plan *p, struct error *err)
{
    struct gguf_writer g;
    bool ok = true;
    for (size_t i = 0; ok && i < weights_n_tensors(p->w); i++)
        ok = add_tensor(p, weights_tensor_at(p->w, i), err);
    if (!ok)
        return false;
    gguf_writer_init(&g);
    put_metadata(&g, p);
    ok = gguf_writer_finish(&g, p, err);
    gguf_writer_deinit(&g);
    return ok;
}
