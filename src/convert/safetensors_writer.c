/* See safetensors_writer.h. */
#include "convert/safetensors_writer.h"

#include "convert/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SAFETENSORS_MAX_HEAD = 100 << 20 };

/* A part of a tensor as the file has it. */
struct part {
    const char *dtype;
    uint64_t n_cols, row_bytes;
};

static const char *float_name(enum quant_type type)
{
    return type == QUANT_F32 ? "F32" : type == QUANT_F16 ? "F16" : "BF16";
}

static const char *scale_name(enum matrix_scale scale)
{
    return scale == MATRIX_SCALE_F32 ? "F32" : scale == MATRIX_SCALE_F16 ? "F16" : "BF16";
}

/* Returns how many parts there are. */
static uint32_t parts_of(const struct plan *p, const struct plan_tensor *t,
                         struct part parts[MATRIX_N_PARTS])
{
    const struct quant_traits *traits = quant_traits(t->type);
    const uint64_t n = t->shape[0], row_bytes = quant_row_bytes(t->type, (size_t)n);
    if (traits->n_parts == 1) {
        parts[0] = (struct part){float_name(t->type), n, row_bytes};
        return 1;
    }
    const bool is_affine = traits->n_parts == 3;
    const uint64_t n_scales = n / (is_affine ? p->group : 32);
    const uint64_t scale_bytes = is_affine ? n_scales * matrix_scale_bytes(p->scale) : n_scales;
    parts[0] = (struct part){"U32", row_bytes / 4, row_bytes};
    parts[1] = (struct part){is_affine ? scale_name(p->scale) : "U8", n_scales, scale_bytes};
    parts[2] = parts[1];
    return traits->n_parts;
}

/* "model.norm.weight" and 1: "model.norm.scales" */
static void put_name(struct buf *json, const struct plan_tensor *t, uint32_t part)
{
    static const char *const last[] = {"weight", "scales", "biases"};
    const size_t len = strlen(t->name);
    char name[512];
    if (part && len > 6 && len < sizeof name - 8)
        snprintf(name, sizeof name, "%.*s%s", (int)(len - 6), t->name, last[part]);
    else
        snprintf(name, sizeof name, "%s", t->name);
    json_writer_string(json, name, strlen(name));
}

/* Puts a tensor into the shard that is being laid out, whose data has n_data bytes so far. */
static void put_tensor(struct plan *p, struct plan_tensor *t, uint32_t file, struct buf *head,
                       uint64_t *n_data)
{
    struct part parts[MATRIX_N_PARTS];
    t->n_regions = parts_of(p, t, parts);
    for (uint32_t k = 0; k < t->n_regions; k++) {
        const uint64_t n_bytes = parts[k].row_bytes * plan_n_rows(t);
        buf_putc(head, ',');
        put_name(head, t, k);
        buf_printf(head, ":{\"dtype\":\"%s\",\"shape\":[", parts[k].dtype);
        for (uint32_t i = t->n_dims; i-- > 1;)
            buf_printf(head, "%" PRIu64 ",", t->shape[i]);
        buf_printf(head, "%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                   parts[k].n_cols, *n_data, *n_data + n_bytes);
        t->regions[k] = (struct plan_region){file, *n_data, parts[k].row_bytes};
        *n_data += n_bytes;
    }
}

static uint64_t tensor_bytes(const struct plan *p, const struct plan_tensor *t)
{
    struct part parts[MATRIX_N_PARTS];
    uint64_t n = 0;
    for (uint32_t k = parts_of(p, t, parts); k--;)
        n += parts[k].row_bytes * plan_n_rows(t);
    return n;
}

/* The tensors from `first` on that one shard holds. */
static size_t shard_end(const struct plan *p, size_t first, uint64_t most)
{
    uint64_t n = 0;
    size_t i = first;
    do
        n += tensor_bytes(p, &p->tensors[i++]);
    while (i < p->n_tensors && tensor_bytes(p, &p->tensors[i]) <= (n < most ? most - n : 0));
    return i;
}

static bool add_shard(struct plan *p, size_t first, size_t end, const char *name,
                      struct error *err)
{
    struct buf head;
    uint64_t n_data = 0, n_head;
    const uint32_t number = (uint32_t)p->n_files;
    buf_init(&head, SAFETENSORS_MAX_HEAD);
    buf_append(&head, "\0\0\0\0\0\0\0\0", 8); /* for its length */
    buf_puts(&head, "{\"__metadata__\":{\"format\":\"mlx\"}");
    for (size_t i = first; i < end; i++)
        put_tensor(p, &p->tensors[i], number, &head, &n_data);
    buf_putc(&head, '}');
    while (head.len % 8)
        buf_putc(&head, ' ');
    n_head = head.len - 8;
    if (!buf_failed(&head))
        memcpy(head.data, &n_head, sizeof n_head);
    for (size_t i = first; i < end; i++)
        for (uint32_t k = 0; k < p->tensors[i].n_regions; k++)
            p->tensors[i].regions[k].at += head.len;
    struct plan_file *file = plan_add_file(p, name, &head, err);
    if (file)
        file->size += n_data;
    buf_deinit(&head);
    return file != NULL;
}

static bool add_index(struct plan *p, uint64_t n_bytes, struct error *err)
{
    struct buf json;
    const char *comma = "";
    buf_init(&json, SAFETENSORS_MAX_HEAD);
    buf_printf(&json, "{\n    \"metadata\": {\"total_size\": %" PRIu64 "},\n    \"weight_map\": {",
               n_bytes);
    for (size_t i = 0; i < p->n_tensors; i++)
        for (uint32_t k = 0; k < p->tensors[i].n_regions; k++) {
            buf_printf(&json, "%s\n        ", comma);
            put_name(&json, &p->tensors[i], k);
            buf_printf(&json, ": \"%s\"", p->files[p->tensors[i].regions[k].file].name);
            comma = ",";
        }
    buf_puts(&json, "\n    }\n}\n");
    bool ok = plan_add_file(p, "model.safetensors.index.json", &json, err) != NULL;
    buf_deinit(&json);
    return ok;
}

bool safetensors_writer_lay_out(struct plan *p, uint64_t most, struct error *err)
{
    size_t n_shards = 0;
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < p->n_tensors; i = shard_end(p, i, most))
        n_shards++;
    for (size_t i = 0, number = 1; i < p->n_tensors; number++) {
        const size_t end = shard_end(p, i, most);
        char name[64] = "model.safetensors";
        if (n_shards > 1)
            snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, n_shards);
        if (!add_shard(p, i, end, name, err))
            return false;
        for (; i < end; i++)
            n_bytes += tensor_bytes(p, &p->tensors[i]);
    }
    return n_shards <= 1 || add_index(p, n_bytes, err);
}
