/* See matrix.h. */
#include "quant/matrix.h"

#include "quant/half.h"

struct matrix matrix_of_blocks(enum quant_type type, size_t n_cols, size_t n_rows, size_t n_experts,
                               const void *data)
{
    const size_t row_bytes = quant_row_bytes(type, n_cols);
    return (struct matrix){
        .type = type,
        .n_cols = n_cols,
        .n_rows = n_rows,
        .n_experts = n_experts,
        .parts = {[MATRIX_BLOCKS] = {data, row_bytes, row_bytes * n_rows}},
    };
}

size_t matrix_scale_bytes(enum matrix_scale scale)
{
    static const uint8_t bytes[MATRIX_N_SCALES] = {2, 2, 4, 1, 1};
    return bytes[scale];
}

struct matrix matrix_of_packed(enum quant_type type, enum matrix_scale scale, uint32_t group,
                               size_t n_cols, size_t n_rows, size_t n_experts, const void *packed,
                               const void *scales, const void *biases)
{
    const size_t row_bytes = quant_row_bytes(type, n_cols);
    const size_t n_groups = group ? n_cols / group : 0;
    const size_t scale_bytes = n_groups * matrix_scale_bytes(scale);
    return (struct matrix){
        .type = type,
        .scale = scale,
        .group = group,
        .n_cols = n_cols,
        .n_rows = n_rows,
        .n_experts = n_experts,
        .parts = {[MATRIX_PACKED] = {packed, row_bytes, row_bytes * n_rows},
                  [MATRIX_SCALES] = {scales, scale_bytes, scale_bytes * n_rows},
                  [MATRIX_BIASES] = {biases, scale_bytes, scale_bytes * n_rows}},
    };
}

bool matrix_of_list(const struct matrix *list, size_t n, struct matrix *out, struct error *err)
{
    *out = list[0];
    out->n_experts = n;
    out->list = list;
    for (size_t i = 0; i < n; i++)
        if (list[i].n_experts != 1 || list[i].list || list[i].type != list[0].type ||
            list[i].scale != list[0].scale || list[i].group != list[0].group ||
            list[i].n_rows != list[0].n_rows || list[i].n_cols != list[0].n_cols)
            return error_set(err, ERROR_FORMAT,
                             "expert %zu has another type or shape than expert 0", i);
    return true;
}

static bool is_group(uint32_t n)
{
    return n == 16 || n == 32 || n == 64 || n == 128;
}

static bool may_have_factors(enum quant_type type)
{
    return type == QUANT_NVFP4 || type == QUANT_PACKED_NVFP4;
}

static bool check_one(const struct matrix *m, struct error *err)
{
    const struct quant_traits *traits = quant_traits(m->type);
    if (!traits)
        return error_set(err, ERROR_UNSUPPORTED, "weights of the unknown type %u",
                         (unsigned)m->type);
    if (m->parts[MATRIX_FACTORS].data && !may_have_factors(m->type))
        return error_set(err, ERROR_UNSUPPORTED, "weights of type %s with a factor", traits->name);
    if (m->parts[MATRIX_FACTORS].data && m->parts[MATRIX_FACTORS].expert_bytes != sizeof(float))
        return error_set(err, ERROR_FORMAT,
                         "weights of type %s whose scale is not F32 for each of %zu matrices",
                         traits->name, m->n_experts);
    if (m->n_cols % traits->block_elements)
        return error_set(err, ERROR_FORMAT, "rows of %zu are not whole blocks of %s", m->n_cols,
                         traits->name);
    for (uint32_t i = 0; i < traits->n_parts; i++)
        if (!m->parts[i].data)
            return error_set(err, ERROR_FORMAT, "weights of type %s without %s", traits->name,
                             i == MATRIX_BIASES   ? "biases"
                             : i == MATRIX_SCALES ? "scales"
                                                  : "data");
    if (traits->n_parts == 1)
        return true;
    /* a block of 32 has one scale or, with nvfp4, one for each half */
    const bool too_small = m->group < 32 && m->type != QUANT_PACKED_NVFP4;
    if (!is_group(m->group) || too_small || m->n_cols % m->group ||
        (unsigned)m->scale >= MATRIX_N_SCALES)
        return error_set(err, ERROR_FORMAT, "rows of %zu in groups of %u", m->n_cols, m->group);
    return true;
}

bool matrix_check(const struct matrix *m, struct error *err)
{
    for (size_t i = 0; m->list && i < m->n_experts; i++)
        if (!check_one(&m->list[i], err))
            return error_prefix(err, "expert %zu", i);
    return m->list || check_one(m, err);
}

/* 255 is NaN, the lowest is subnormal. */
static float scale_from_e8m0(uint8_t e)
{
    return half_bits_to_float(e == 255 ? 0x7fc00000 : e ? (uint32_t)e << 23 : 0x400000);
}

float matrix_scale(const struct matrix *m, enum matrix_part_number part, size_t row, size_t g)
{
    const uint8_t *at =
        (const uint8_t *)matrix_row(m, part, row) + g * matrix_scale_bytes(m->scale);
    uint16_t half;
    float f = 0;
    switch (m->scale) {
    case MATRIX_SCALE_F16:
        memcpy(&half, at, sizeof half);
        return half_to_float(half);
    case MATRIX_SCALE_BF16:
        memcpy(&half, at, sizeof half);
        return half_bf16_to_float(half);
    case MATRIX_SCALE_E8M0:
        return scale_from_e8m0(*at);
    case MATRIX_SCALE_E4M3:
        return half_e4m3_to_float(*at);
    default:
        memcpy(&f, at, sizeof f);
        return f;
    }
}

struct matrix matrix_rows(const struct matrix *m, size_t first, size_t n)
{
    struct matrix rows = *m;
    rows.n_rows = n;
    for (int i = 0; i < MATRIX_N_PARTS; i++)
        if (m->parts[i].data)
            rows.parts[i].data = matrix_row(m, (enum matrix_part_number)i, first);
    return rows;
}

struct matrix matrix_columns(const struct matrix *m, size_t first, size_t n)
{
    struct matrix columns = *m;
    columns.n_cols = n;
    for (int i = 0; i < MATRIX_FACTORS; i++) {
        size_t n_bytes = quant_row_bytes(m->type, first);
        if (i)
            n_bytes = m->group ? first / m->group * matrix_scale_bytes(m->scale) : 0;
        if (m->parts[i].data)
            columns.parts[i].data = (const char *)m->parts[i].data + n_bytes;
    }
    return columns;
}

float matrix_factor(const struct matrix *m)
{
    float factor = 1;
    if (m->parts[MATRIX_FACTORS].data)
        memcpy(&factor, m->parts[MATRIX_FACTORS].data, sizeof factor);
    return factor;
}

struct matrix matrix_expert(const struct matrix *m, size_t i)
{
    struct matrix expert = *m;
    if (m->list)
        return m->list[i];
    expert.n_experts = 1;
    for (int part = 0; part < MATRIX_N_PARTS; part++)
        if (m->parts[part].data)
            expert.parts[part].data =
                (const char *)m->parts[part].data + i * m->parts[part].expert_bytes;
    return expert;
}

void matrix_decode(const struct matrix *m, size_t row, float *out)
{
    const struct quant_traits *traits = quant_traits(m->type);
    if (traits->n_parts > 1) {
        traits->decode_row(m, row, out);
        return;
    }
    traits->decode(matrix_row(m, MATRIX_BLOCKS, row), out, m->n_cols);
    const float factor = matrix_factor(m);
    for (size_t i = 0; i < m->n_cols && m->parts[MATRIX_FACTORS].data; i++)
        out[i] *= factor;
}
