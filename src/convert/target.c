/* See target.h. */
#include "convert/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct target targets[] = {
    {"F32", false, QUANT_F32, TARGET_PLAIN, 0, "as exact as any input"},
    {"F16", false, QUANT_F16, TARGET_PLAIN, 1, "half floats"},
    {"BF16", false, QUANT_BF16, TARGET_PLAIN, 32, "half floats with the range of whole ones"},
    {"Q8_0", false, QUANT_Q8_0, TARGET_PLAIN, 7, "8.5 bits; hardly a loss"},
    {"Q6_K", false, QUANT_Q6_K, TARGET_PLAIN, 18, "6.6 bits"},
    {"Q5_K_M", false, QUANT_Q5_K, TARGET_MEDIUM, 17, "5.7 bits; also Q5_K"},
    {"Q5_K_S", false, QUANT_Q5_K, TARGET_SMALL, 16, "5.5 bits"},
    {"Q5_1", false, QUANT_Q5_1, TARGET_PLAIN, 9, "6 bits"},
    {"Q5_0", false, QUANT_Q5_0, TARGET_PLAIN, 8, "5.5 bits"},
    {"Q4_K_M", false, QUANT_Q4_K, TARGET_MEDIUM, 15, "4.8 bits, what most people run; also Q4_K"},
    {"Q4_K_S", false, QUANT_Q4_K, TARGET_SMALL, 14, "4.6 bits"},
    {"Q4_1", false, QUANT_Q4_1, TARGET_PLAIN, 3, "5 bits"},
    {"Q4_0", false, QUANT_Q4_0, TARGET_PLAIN, 2, "4.5 bits"},
    {"IQ4_NL", false, QUANT_IQ4_NL, TARGET_PLAIN, 25, "4.5 bits on a bent scale"},
    {"IQ4_XS", false, QUANT_IQ4_XS, TARGET_PLAIN, 30, "4.25 bits on a bent scale"},
    {"MXFP4", false, QUANT_MXFP4, TARGET_PLAIN, 38, "4.25 bits, floats of four"},
    {"MXFP4_MOE", false, QUANT_MXFP4, TARGET_EXPERTS, 38, "the same for experts, else Q8_0"},
    {"Q3_K_L", false, QUANT_Q3_K, TARGET_LARGE, 13, "4.3 bits"},
    {"Q3_K_M", false, QUANT_Q3_K, TARGET_MEDIUM, 12, "3.9 bits; also Q3_K"},
    {"Q3_K_S", false, QUANT_Q3_K, TARGET_SMALL, 11, "3.5 bits"},
    {"Q2_K", false, QUANT_Q2_K, TARGET_PLAIN, 10, "3 bits; a great loss"},
    {"MLX_8", true, QUANT_AFFINE_8, TARGET_PLAIN, 0, "a folder for MLX; 8 bits in groups"},
    {"MLX_6", true, QUANT_AFFINE_6, TARGET_PLAIN, 0, "the same with 6"},
    {"MLX_5", true, QUANT_AFFINE_5, TARGET_PLAIN, 0, "the same with 5"},
    {"MLX_4", true, QUANT_AFFINE_4, TARGET_PLAIN, 0, "the same with 4, what most people run"},
    {"MLX_3", true, QUANT_AFFINE_3, TARGET_PLAIN, 0, "the same with 3"},
    {"MLX_2", true, QUANT_AFFINE_2, TARGET_PLAIN, 0, "the same with 2; a great loss"},
    {"MLX_MXFP4", true, QUANT_PACKED_MXFP4, TARGET_PLAIN, 0, "the same with floats of four bits"},
    {"MLX_F16", true, QUANT_F16, TARGET_PLAIN, 0, "a folder of half floats"},
    {"MLX_BF16", true, QUANT_BF16, TARGET_PLAIN, 0, "the same with the range of whole ones"},
    {"MLX_F32", true, QUANT_F32, TARGET_PLAIN, 0, "the same of whole floats"},
};

static const struct {
    const char *name, *stands_for;
} aliases[] = {{"Q5_K", "Q5_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q3_K", "Q3_K_M"}};

const struct target *target_at(size_t i)
{
    return i < sizeof targets / sizeof *targets ? &targets[i] : NULL;
}

const struct target *target_find(const char *name, struct error *err)
{
    char names[300] = "";
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcasecmp(name, aliases[i].name))
            name = aliases[i].stands_for;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (!strcasecmp(name, targets[i].name))
            return &targets[i];
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", targets[i].name);
    }
    error_set(err, ERROR_USAGE, "the type %.20s is not known; there are %s", name, names);
    return NULL;
}

/* ---- mixes ---- */

enum target_role {
    ROLE_NONE, /* stays a float */
    ROLE_OUTPUT,
    ROLE_EMBEDDING,
    ROLE_V, /* or q, k and v in one */
    ROLE_K,
    ROLE_ATTENTION_OUTPUT,
    ROLE_DOWN,
    ROLE_OTHER,
};

static bool target_has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Matrices that are small and that much hangs on. */
static bool is_delicate(const char *name)
{
    static const char *const parts[] = {"_norm.weight",  "ffn_gate_inp", "altup",
                                        "laurel",        "ssm_conv1d",   "shortconv.conv",
                                        "per_layer_model_proj", "position_embd",
                                        "token_types",   "attn_rel_b",   "rope_f"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (target_has(name, parts[i]))
            return true;
    return false;
}

static enum target_role role_of(const struct target_tensor *t)
{
    static const struct {
        const char *part;
        enum target_role role;
    } roles[] = {
        {"attn_qkv.weight", ROLE_V}, {"attn_kv_b.weight", ROLE_V},
        {"attn_v.weight", ROLE_V},   {"attn_k.weight", ROLE_K},
        {"ffn_down", ROLE_DOWN},     {"attn_output.weight", ROLE_ATTENTION_OUTPUT},
    };
    const size_t len = strlen(t->name);
    if (t->n_dims < 2 || len < 7 || strcmp(t->name + len - 7, ".weight") != 0 ||
        is_delicate(t->name))
        return ROLE_NONE;
    if (!strcmp(t->name, "output.weight"))
        return ROLE_OUTPUT;
    if (!strcmp(t->name, "token_embd.weight") || !strcmp(t->name, "per_layer_token_embd.weight"))
        return ROLE_EMBEDDING;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (target_has(t->name, roles[i].part))
            return roles[i].role;
    return ROLE_OTHER;
}

/* The layers that a mix gives more: the first and the last eighth, and every third between. */
static bool gets_more_bits(uint32_t layer, uint32_t n)
{
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

/* Many heads hang on each value, which is then cheap to keep better. */
static bool shares_values(const struct target_model *model)
{
    return model->n_kv_heads && model->n_heads / model->n_kv_heads >= 4;
}

static enum quant_type value_type(const struct target *target, const struct target_model *model,
                                  uint32_t layer)
{
    enum quant_type type = target->type;
    const bool is_medium = target->mix == TARGET_MEDIUM, is_small = target->mix == TARGET_SMALL;
    if (type == QUANT_Q2_K)
        type = shares_values(model) ? QUANT_Q4_K : QUANT_Q3_K;
    else if (type == QUANT_Q3_K && is_medium)
        type = layer < 2 ? QUANT_Q5_K : QUANT_Q4_K;
    else if (type == QUANT_Q3_K && target->mix == TARGET_LARGE)
        type = QUANT_Q5_K;
    else if ((type == QUANT_IQ4_NL || type == QUANT_IQ4_XS) && shares_values(model))
        type = QUANT_Q5_K;
    else if (is_medium && gets_more_bits(layer, model->n_layers))
        type = QUANT_Q6_K;
    else if (type == QUANT_Q4_K && is_small && layer < 4)
        type = QUANT_Q5_K;
    return model->n_experts == 8 ? QUANT_Q8_0 : type;
}

static enum quant_type down_type(const struct target *target, const struct target_model *model,
                                 uint32_t layer)
{
    const enum quant_type type = target->type;
    const uint32_t n = model->n_layers;
    const bool is_medium = target->mix == TARGET_MEDIUM, is_first = layer < n / 8;
    if (type == QUANT_Q2_K)
        return QUANT_Q3_K;
    if (type == QUANT_Q3_K && is_medium)
        return layer < n / 16 ? QUANT_Q5_K : QUANT_Q4_K;
    if (type == QUANT_Q3_K && target->mix == TARGET_LARGE)
        return QUANT_Q5_K;
    if (is_medium && gets_more_bits(layer, n))
        return QUANT_Q6_K;
    if (type == QUANT_Q4_K && target->mix == TARGET_SMALL && is_first)
        return QUANT_Q5_K;
    if ((type == QUANT_IQ4_NL || type == QUANT_IQ4_XS) && is_first && !model->has_importance)
        return QUANT_Q5_K;
    if ((type == QUANT_Q4_0 || type == QUANT_Q5_0) && is_first && model->has_importance)
        return type == QUANT_Q4_0 ? QUANT_Q4_1 : QUANT_Q5_1;
    return type;
}

static enum quant_type attention_output_type(const struct target *target,
                                             const struct target_model *model)
{
    const enum quant_type type = target->type;
    if (model->n_experts == 8)
        return type == QUANT_Q5_K || type == QUANT_Q6_K || type == QUANT_Q8_0 ? type : QUANT_Q5_K;
    if (type == QUANT_Q2_K)
        return QUANT_Q3_K;
    if (type == QUANT_Q3_K && target->mix == TARGET_MEDIUM)
        return QUANT_Q4_K;
    return type == QUANT_Q3_K && target->mix == TARGET_LARGE ? QUANT_Q5_K : type;
}

/* The output, and the embedding where it is that: what is wrong there is wrong in every answer. */
static enum quant_type output_type(const struct target *target)
{
    if (target->type == QUANT_MXFP4)
        return QUANT_Q8_0;
    return target->type == QUANT_Q8_0 ? QUANT_Q8_0 : QUANT_Q6_K;
}

static enum quant_type wanted_type(const struct target *target, const struct target_model *model,
                                   const struct target_tensor *t, enum target_role role)
{
    unsigned layer = 0;
    if (sscanf(t->name, "blk.%u.", &layer) != 1)
        layer = 0;
    if (role == ROLE_OUTPUT || (role == ROLE_EMBEDDING && model->is_tied))
        return output_type(target);
    if (target->mix == TARGET_EXPERTS)
        return t->shape[2] > 1 ? target->type : QUANT_Q8_0;
    switch (role) {
    case ROLE_EMBEDDING:
        return target->type == QUANT_MXFP4 ? QUANT_Q8_0 : target->type;
    case ROLE_V:
        return value_type(target, model, layer);
    case ROLE_K:
        return model->n_experts == 8 ? QUANT_Q8_0 : target->type;
    case ROLE_DOWN:
        return down_type(target, model, layer);
    case ROLE_ATTENTION_OUTPUT:
        return attention_output_type(target, model);
    default:
        return target->type;
    }
}

/* A type whose blocks are not whole in a row gives way to one with smaller blocks. */
static enum quant_type fitting_type(enum quant_type type, uint64_t n_cols)
{
    if (n_cols % quant_traits(type)->block_elements == 0)
        return type;
    switch (type) {
    case QUANT_IQ4_XS:
        type = QUANT_IQ4_NL;
        break;
    case QUANT_Q4_K:
        type = QUANT_Q5_0;
        break;
    case QUANT_Q5_K:
        type = QUANT_Q5_1;
        break;
    case QUANT_Q6_K:
        type = QUANT_Q8_0;
        break;
    default:
        type = QUANT_Q4_0;
    }
    return n_cols % 32 == 0 ? type : QUANT_F16;
}

enum quant_type target_gguf_type(const struct target *target, const struct target_model *model,
                                 const struct target_tensor *t)
{
    const enum target_role role = role_of(t);
    const bool is_float = quant_traits(target->type)->block_elements == 1;
    if (role == ROLE_NONE)
        return QUANT_F32;
    if (is_float)
        return target->type;
    return fitting_type(wanted_type(target, model, t, role), t->shape[0]);
}

bool target_is_quantized(const struct target *target, const struct target_tensor *t,
                         uint32_t group)
{
    const bool is_float = quant_traits(target->type)->n_parts == 1;
    return !is_float && role_of(t) != ROLE_NONE && t->shape[0] % group == 0;
}
