/* GGUF to a folder: names and rows as Hugging Face and MLX have them, and the JSON beside. */
#include "convert/config_json.h"
#include "convert/facts.h"
#include "convert/map.h"
#include "convert/names.h"
#include "convert/safetensors_writer.h"
#include "convert/tokenizer_json.h"

#include <stdio.h>
#include <string.h>

#define SHARD_BYTES 5000000000u /* as mlx-lm and transformers cut */

/* Tensors that config.json says in another way. */
static bool is_in_config(const char *name)
{
    return !strcmp(name, "rope_freqs.weight") || strstr(name, "rope_factors_") != NULL;
}

bool map_is_vector(const struct plan_tensor *t)
{
    return t->n_dims < 2;
}

/* Matrices become packed, everything else floats of the scales' type. */
void map_folder_type(const struct plan *p, struct plan_tensor *t)
{
    static const enum quant_type floats[] = {[MATRIX_SCALE_F16] = QUANT_F16,
                                             [MATRIX_SCALE_BF16] = QUANT_BF16,
                                             [MATRIX_SCALE_F32] = QUANT_F32};
    const struct target_tensor facts = {t->gguf_name, t->n_dims,
                                        {t->shape[0], t->shape[1], t->shape[2], t->shape[3]}};
    const uint32_t group = p->target->type == QUANT_PACKED_MXFP4 ? 32 : p->group;
    t->type = target_is_quantized(p->target, &facts, group) ? p->target->type : floats[p->scale];
}

void map_choose_floats(struct plan *p, bool wants_range)
{
    const enum quant_type type = p->target->type;
    p->scale = wants_range ? MATRIX_SCALE_BF16 : MATRIX_SCALE_F16;
    for (size_t i = 0; i < weights_n_tensors(p->w); i++)
        if (weights_tensor_at(p->w, i)->type == QUANT_BF16)
            p->scale = MATRIX_SCALE_BF16;
    if (type == QUANT_F32)
        p->scale = MATRIX_SCALE_F32;
    else if (type == QUANT_F16)
        p->scale = MATRIX_SCALE_F16;
    else if (type == QUANT_BF16)
        p->scale = MATRIX_SCALE_BF16;
}

static bool has_part(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

bool map_order(struct plan *p, const struct names_architecture *a, enum plan_order order,
               struct plan_tensor *t, struct error *err)
{
    const bool is_q = has_part(t->gguf_name, ".attn_q."), is_k = has_part(t->gguf_name, ".attn_k.");
    const bool is_vector = map_is_vector(t);
    const uint64_t n_rows = is_vector ? t->shape[0] : t->shape[1];
    const uint64_t n_heads = is_q ? p->model.n_heads : p->model.n_kv_heads;
    if (!a->has_turns || !(is_q || is_k))
        return true;
    if (!n_heads || n_rows % n_heads || n_rows / n_heads % 2)
        return error_set(err, ERROR_FORMAT, "the %llu rows of %.72s are not those of %llu heads",
                         (unsigned long long)n_rows, t->name, (unsigned long long)n_heads);
    t->order = order;
    t->head_dim = (uint32_t)(n_rows / n_heads);
    return !is_vector || plan_reorder_vector(p, t, err);
}

static bool add_tensor(struct plan *p, const struct names_architecture *a,
                       const struct weights_tensor *input, struct error *err)
{
    const struct names_text name = names_to_folder(a, input->name);
    if (is_in_config(input->name))
        return true;
    if (!name.text[0])
        return error_set(err, ERROR_UNSUPPORTED, "a folder has no place for tensor %.72s of %s",
                         input->name, a->gguf);
    struct plan_tensor *t = plan_add(p, name.text, input->name, err);
    if (!t || !plan_take(p, t, input, err) || !plan_take_importance(p, t, err))
        return false;
    map_folder_type(p, t);
    if (a->norms_add != 0 && map_is_vector(t) && has_part(t->gguf_name, "_norm."))
        t->add = -a->norms_add;
    return map_order(p, a, PLAN_TO_HALVES, t, err);
}

bool map_gguf_to_folder(struct plan *p, struct error *err)
{
    const struct facts_name architecture = facts_architecture(p->w);
    const struct names_architecture *a = names_of_gguf(architecture.text);
    if (!a)
        return error_set(err, ERROR_UNSUPPORTED,
                         "a %s model cannot be laid out as a folder by this build",
                         architecture.text);
    map_choose_floats(p, a->norms_add != 0);
    for (size_t i = 0; i < weights_n_tensors(p->w); i++)
        if (!add_tensor(p, a, weights_tensor_at(p->w, i), err))
            return false;
    return safetensors_writer_lay_out(p, SHARD_BYTES, err) && config_json_add(p, a, err) &&
           tokenizer_json_add(p, err);
}
