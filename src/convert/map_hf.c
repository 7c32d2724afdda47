/* A folder to a folder: the same tensors, packed or in other floats, and the same files beside. */
#include "convert/config_json.h"
#include "convert/json_writer.h"
#include "convert/map.h"
#include "convert/names.h"
#include "convert/safetensors_writer.h"

#include <stdio.h>
#include <string.h>

#define SHARD_BYTES 5000000000u

enum { HF_MAX_BYTES = 512 << 20, HF_MAX_VALUES = 1 << 20, HF_MAX_EXPERTS = 4096 };

const struct names_architecture *map_folder_architecture(const struct weights *w,
                                                         struct error *err)
{
    struct weights_string s = {"", 0};
    char type[64];
    if (!weights_config_string(w, "text_config.model_type", &s))
        weights_config_string(w, "model_type", &s);
    snprintf(type, sizeof type, "%.*s", (int)(s.len < 60 ? s.len : 60), s.data);
    const struct names_architecture *a = names_of_folder(type);
    if (!a)
        error_set(err, ERROR_UNSUPPORTED, "a folder of model_type '%s' cannot be converted by "
                                          "this build",
                  type);
    return a;
}

/* Matrices of one expert each, "mlp.experts.0." to the last, one below the other. */
static bool take_experts(struct plan *p, struct plan_tensor *t,
                         const struct weights_tensor *first, struct error *err)
{
    const char *at = strstr(first->name, ".experts.0.");
    const size_t n_before = at ? (size_t)(at - first->name) : 0;
    uint32_t n = 0;
    char name[256];
    if (!at || !plan_reserve_pieces(p, t, HF_MAX_EXPERTS, err))
        return at ? false : error_set(err, ERROR_FORMAT, "%.72s is no first expert", first->name);
    for (; n < HF_MAX_EXPERTS; n++) {
        struct matrix m;
        snprintf(name, sizeof name, "%.*s.experts.%u.%s", (int)n_before, first->name, n, at + 11);
        if (!weights_matrix(p->w, name, &m))
            break;
        if (!matrix_check(&m, err))
            return error_prefix(err, "tensor %.72s", name);
        if (m.n_rows != first->shape[1] || m.n_cols != first->shape[0] || m.n_experts != 1)
            return error_set(err, ERROR_FORMAT, "tensor %.72s has another shape than expert 0's",
                             name);
        t->pieces[t->n_pieces++] = m;
    }
    t->n_dims = 3;
    t->shape[0] = first->shape[0];
    t->shape[1] = first->shape[1];
    t->shape[2] = n;
    return true;
}

bool map_take_folder_tensor(struct plan *p, struct plan_tensor *t,
                            const struct weights_tensor *input, int expert, struct error *err)
{
    return (expert < 0 ? plan_take(p, t, input, err) : take_experts(p, t, input, err)) &&
           plan_take_importance(p, t, err);
}

bool map_is_unwanted(const struct plan *p, const struct weights_tensor *input)
{
    bool is_tied = false;
    if (strstr(input->name, "rotary_emb.inv_freq"))
        return true;
    weights_config_bool(p->w, "tie_word_embeddings", &is_tied);
    return is_tied && strstr(input->name, "lm_head.") != NULL;
}

static bool add_tensor(struct plan *p, const struct names_architecture *a,
                       const struct weights_tensor *input, struct error *err)
{
    int expert;
    const struct names_text gguf = names_to_gguf(a, input->name, &expert);
    if (map_is_unwanted(p, input) || expert > 0)
        return true;
    if (!gguf.text[0])
        return error_set(err, ERROR_UNSUPPORTED, "%s has no tensor %.72s that this build knows",
                         a->folder, input->name);
    const struct names_text stacked = names_to_folder(a, gguf.text);
    struct plan_tensor *t =
        plan_add(p, expert < 0 ? input->name : stacked.text, gguf.text, err);
    if (!t || !map_take_folder_tensor(p, t, input, expert, err))
        return false;
    map_folder_type(p, t);
    return true;
}

/* ---- the files beside ---- */

static bool is_own_member(const struct json_tree_value *name)
{
    static const char *const own[] = {"quantization", "quantization_config", "torch_dtype",
                                      "dtype"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_tree_equals(name, own[i]))
            return true;
    return false;
}

/* The input's config.json but for what is said of its numbers. */
static bool add_config(struct plan *p, const struct weights_string *text, struct error *err)
{
    struct json_tree tree;
    struct buf json;
    if (!json_tree_read(&tree, text->data, text->len, HF_MAX_VALUES, err))
        return error_prefix(err, "config.json");
    buf_init(&json, HF_MAX_BYTES);
    buf_printf(&json, "{\n  \"torch_dtype\": \"%s\"", config_json_dtype(p));
    const struct json_tree_value *name = json_tree_first(tree.values);
    for (uint32_t i = 0; i < tree.values->n_items; i++) {
        const struct json_tree_value *value = json_tree_after(name);
        if (!is_own_member(name)) {
            buf_puts(&json, ",\n  ");
            json_writer_value(&json, name);
            buf_puts(&json, ": ");
            json_writer_value(&json, value);
        }
        name = json_tree_after(value);
    }
    config_json_put_quantization(p, &json);
    buf_puts(&json, "\n}\n");
    bool ok = plan_add_file(p, "config.json", &json, err) != NULL;
    buf_deinit(&json);
    json_tree_deinit(&tree);
    return ok;
}

static bool add_files(struct plan *p, struct error *err)
{
    const char *name;
    for (size_t i = 0; (name = weights_text_name(p->w, i)); i++) {
        struct weights_string text;
        struct buf copy;
        if (!weights_text(p->w, name, &text))
            continue;
        if (!strcmp(name, "config.json")) {
            if (!add_config(p, &text, err))
                return false;
            continue;
        }
        buf_init(&copy, HF_MAX_BYTES);
        buf_append(&copy, text.data, text.len);
        bool ok = plan_add_file(p, name, &copy, err) != NULL;
        buf_deinit(&copy);
        if (!ok)
            return false;
    }
    return true;
}

bool map_folder_to_folder(struct plan *p, struct error *err)
{
    const struct names_architecture *a = map_folder_architecture(p->w, err);
    if (!a)
        return false;
    map_choose_floats(p, a->norms_add != 0);
    for (size_t i = 0; i < weights_n_tensors(p->w); i++)
        if (!add_tensor(p, a, weights_tensor_at(p->w, i), err))
            return false;
    return safetensors_writer_lay_out(p, SHARD_BYTES, err) && add_files(p, err);
}
