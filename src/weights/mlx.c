/* What MLX makes of a matrix when it quantizes (github.com/ml-explore/mlx): X.weight, numbers
 * packed into 32-bit words, X.scales, and for affine ones X.biases; config.json says in how many
 * bits and groups, for all and for single modules. Here the three become one tensor again, with the
 * shape that it stands for. Knows no arithmetic. */
#include "weights/file.h"

#include "base/printable.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum mlx_mode { MLX_AFFINE, MLX_MXFP4, MLX_MXFP8, MLX_NVFP4, MLX_N_MODES };

static const char *const mode_names[MLX_N_MODES] = {"affine", "mxfp4", "mxfp8", "nvfp4"};

/* A way to quantize, as config.json says it. */
struct mlx_scheme {
    enum mlx_mode mode;
    uint64_t bits, group;
};

static const struct mlx_scheme mode_defaults[MLX_N_MODES] = {
    {MLX_AFFINE, 4, 64}, {MLX_MXFP4, 4, 32}, {MLX_MXFP8, 8, 32}, {MLX_NVFP4, 4, 16}};

/* The type of packed numbers. */
static const struct {
    enum mlx_mode mode;
    uint32_t bits;
    enum quant_type type;
    const char *name;
} packed_types[] = {
    {MLX_AFFINE, 1, QUANT_AFFINE_1, "AFFINE_1"},
    {MLX_AFFINE, 2, QUANT_AFFINE_2, "AFFINE_2"}, {MLX_AFFINE, 3, QUANT_AFFINE_3, "AFFINE_3"},
    {MLX_AFFINE, 4, QUANT_AFFINE_4, "AFFINE_4"}, {MLX_AFFINE, 5, QUANT_AFFINE_5, "AFFINE_5"},
    {MLX_AFFINE, 6, QUANT_AFFINE_6, "AFFINE_6"}, {MLX_AFFINE, 8, QUANT_AFFINE_8, "AFFINE_8"},
    {MLX_MXFP4, 4, QUANT_PACKED_MXFP4, "MXFP4"}, {MLX_MXFP8, 8, QUANT_PACKED_MXFP8, "MXFP8"},
    {MLX_NVFP4, 4, QUANT_PACKED_NVFP4, "NVFP4"},
};

struct mlx_reader {
    struct weights *w;
    const struct folder_tensors *raw;
    struct error *err;
    const struct json_tree_value *settings; /* "quantization", or NULL */
    struct mlx_scheme scheme;               /* for whom nothing else is said */
    struct name_index overrides;            /* names of modules -> places in the settings' table */
};

/* An error of a tensor: which file, which tensor, what. */
static bool fail_at(const struct mlx_reader *r, enum error_code code,
                    const struct folder_tensor *of, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool fail_at(const struct mlx_reader *r, enum error_code code,
                    const struct folder_tensor *of, const char *format, ...)
{
    char text[240], name[72];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printable_copy(name, sizeof name, of->t.name, of->t.name_len);
    error_at(r->err, code, (int64_t)of->t.begin, "tensor \"%s\" %s", name, text);
    return file_error(r->err, r->w->parts[of->file].path);
}

static bool config_error(const struct mlx_reader *r, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool config_error(const struct mlx_reader *r, enum error_code code, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_at(r->err, code, 0, "quantization: %s", text);
    for (size_t i = 0; i < r->w->n_texts; i++)
        if (!strcmp(r->w->texts[i].name, "config.json"))
            return file_error(r->err, r->w->texts[i].path);
    return error_prefix(r->err, "config.json");
}

/* ---- what config.json says ---- */

static bool scheme_mode(const struct mlx_reader *r, const struct json_tree_value *v,
                        enum mlx_mode *out)
{
    *out = MLX_AFFINE;
    if (!v)
        return true;
    for (int i = 0; i < MLX_N_MODES; i++)
        if (json_tree_equals(v, mode_names[i])) {
            *out = (enum mlx_mode)i;
            return true;
        }
    char name[40] = "that is not a string";
    if (v->kind == JSON_TREE_STRING)
        printable_copy(name, sizeof name, v->text, v->len);
    return config_error(r, ERROR_UNSUPPORTED, "the unknown mode %s", name);
}

static const char *scheme_type(const struct mlx_scheme *s, enum quant_type *type)
{
    for (size_t i = 0; i < sizeof packed_types / sizeof *packed_types; i++)
        if (packed_types[i].mode == s->mode && packed_types[i].bits == s->bits) {
            *type = packed_types[i].type;
            return packed_types[i].name;
        }
    return NULL;
}

static bool scheme_is_known(const struct mlx_scheme *s)
{
    enum quant_type type;
    bool group_fits = s->mode == MLX_AFFINE ? s->group == 32 || s->group == 64 || s->group == 128
                                            : s->group == mode_defaults[s->mode].group;
    return group_fits && scheme_type(s, &type);
}

/* A number of the settings; missing or null is the mode's default. */
static bool scheme_number(const struct json_tree_value *v, const char *name, uint64_t standard,
                          uint64_t *out)
{
    const struct json_tree_value *number = json_tree_member(v, name);
    *out = standard;
    return !number || number->kind == JSON_TREE_NULL || json_tree_uint(number, out);
}

static bool scheme_read(const struct mlx_reader *r, const struct json_tree_value *v,
                        struct mlx_scheme *out)
{
    if (!scheme_mode(r, json_tree_member(v, "mode"), &out->mode))
        return false;
    const struct mlx_scheme *standard = &mode_defaults[out->mode];
    if (!scheme_number(v, "bits", standard->bits, &out->bits) ||
        !scheme_number(v, "group_size", standard->group, &out->group))
        return config_error(r, ERROR_FORMAT, "bits or group_size is no whole number");
    if (!scheme_is_known(out))
        return config_error(r, ERROR_UNSUPPORTED,
                            "mode %s with %" PRIu64 " bits in groups of %" PRIu64 " is not known",
                            mode_names[out->mode], out->bits, out->group);
    return true;
}

/* The settings' members that are no numbers of their own are modules. */
static bool settings_index(struct mlx_reader *r)
{
    const struct json_tree_value *name = json_tree_first(r->settings);
    for (size_t i = 0; i < r->settings->n_items; i++) {
        const struct json_tree_value *value = json_tree_after(name);
        bool is_module = value->kind == JSON_TREE_OBJECT || value->kind == JSON_TREE_BOOL;
        if (is_module && name->len && name->len <= FILE_MAX_NAME_BYTES &&
            !name_index_add(&r->overrides, name->text, name->len, (uint32_t)(value - r->settings)))
            return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
        name = json_tree_after(value);
    }
    return true;
}

static bool settings_read(struct mlx_reader *r)
{
    const struct json_tree_value *root = r->w->config[FILE_CONFIG].values;
    const struct json_tree_value *v = json_tree_member(root, "quantization"), *method;
    if (!v || v->kind == JSON_TREE_NULL)
        v = json_tree_member(root, "quantization_config");
    if (!v || v->kind == JSON_TREE_NULL)
        return true;
    if (v->kind != JSON_TREE_OBJECT)
        return config_error(r, ERROR_FORMAT, "it is not an object");
    if ((method = json_tree_member(v, "quant_method"))) {
        char name[40] = "that is not a string";
        if (method->kind == JSON_TREE_STRING)
            printable_copy(name, sizeof name, method->text, method->len);
        return config_error(r, ERROR_UNSUPPORTED, "this build does not read the method %s", name);
    }
    r->settings = v;
    return scheme_read(r, v, &r->scheme) && settings_index(r);
}

/* ---- one matrix ---- */

static const struct folder_tensor *raw_find(const struct mlx_reader *r, const char *module,
                                            size_t module_len, const char *last)
{
    char name[1024];
    int n = snprintf(name, sizeof name, "%.*s.%s", (int)module_len, module, last);
    if (module_len > FILE_MAX_NAME_BYTES || n < 0 || (size_t)n >= sizeof name)
        return NULL;
    uint32_t number = name_index_find(&r->raw->index, name, (size_t)n);
    return number == NAME_INDEX_NONE ? NULL : &r->raw->items[number];
}

/* The length of the module's name if the tensor is called <module>.<last>, else 0. */
static size_t module_of(const struct folder_tensor *f, const char *last)
{
    size_t n = strlen(last);
    if (f->t.name_len <= n + 1 || f->t.name[f->t.name_len - n - 1] != '.' ||
        strcmp(f->t.name + f->t.name_len - n, last) != 0)
        return 0;
    return f->t.name_len - n - 1;
}

/* What shapes alone say where config.json is silent: scales of eight bits have modes that differ in
 * the bits of a group. `ratio` is that number. */
static void scheme_infer(uint64_t ratio, struct mlx_scheme *s)
{
    for (int i = MLX_AFFINE + 1; i < MLX_N_MODES; i++)
        if (ratio == mode_defaults[i].bits * mode_defaults[i].group)
            *s = mode_defaults[i];
}

/* How module X is quantized. */
static bool module_scheme(const struct mlx_reader *r, const struct folder_tensor *weight,
                          const struct folder_tensor *scales, size_t module_len,
                          struct mlx_scheme *out)
{
    uint32_t at = name_index_find(&r->overrides, weight->t.name, module_len);
    const struct json_tree_value *own = at == NAME_INDEX_NONE ? NULL : r->settings + at;
    if (!r->settings)
        return fail_at(r, ERROR_FORMAT, weight,
                       "is packed and has scales, but config.json has no quantization");
    if (own && own->kind == JSON_TREE_BOOL && !own->is_true)
        return fail_at(r, ERROR_FORMAT, weight,
                       "is packed and has scales, but config.json says it is not quantized");
    if (own && own->kind == JSON_TREE_OBJECT)
        return scheme_read(r, own, out) ||
               error_prefix(r->err, "%.*s", (int)(module_len < 72 ? module_len : 72),
                            weight->t.name);
    *out = r->scheme;
    uint64_t n_words = weight->t.shape[weight->t.n_dims - 1];
    uint64_t n_scales = scales->t.shape[scales->t.n_dims - 1];
    if (scales->t.type == SAFETENSORS_U8 && out->mode == MLX_AFFINE && n_scales)
        scheme_infer(n_words * 32 / n_scales, out);
    return true;
}

static bool scale_type(const struct mlx_reader *r, const struct folder_tensor *scales,
                       const struct mlx_scheme *s, enum matrix_scale *out)
{
    bool fits = s->mode == MLX_AFFINE;
    switch (scales->t.type) {
    case SAFETENSORS_F16:
        *out = MATRIX_SCALE_F16;
        break;
    case SAFETENSORS_BF16:
        *out = MATRIX_SCALE_BF16;
        break;
    case SAFETENSORS_F32:
        *out = MATRIX_SCALE_F32;
        break;
    case SAFETENSORS_U8:
        *out = s->mode == MLX_NVFP4 ? MATRIX_SCALE_E4M3 : MATRIX_SCALE_E8M0;
        fits = !fits;
        break;
    default:
        fits = false;
        break;
    }
    return fits || fail_at(r, ERROR_FORMAT, scales, "is %s, which scales of mode %s cannot be",
                           safetensors_type_name(scales->t.type), mode_names[s->mode]);
}

/* Scales and biases have the weight's dimensions but for the last. */
static bool check_rows(const struct mlx_reader *r, const struct folder_tensor *weight,
                       const struct folder_tensor *other)
{
    bool same = weight->t.n_dims == other->t.n_dims;
    for (uint32_t i = 0; same && i + 1 < weight->t.n_dims; i++)
        same = weight->t.shape[i] == other->t.shape[i];
    return same || fail_at(r, ERROR_FORMAT, other, "has other rows than its weight");
}

static bool check_biases(const struct mlx_reader *r, const struct folder_tensor *weight,
                         const struct folder_tensor *scales, const struct folder_tensor *biases,
                         const struct mlx_scheme *s)
{
    bool is_affine = s->mode == MLX_AFFINE;
    if (!biases)
        return !is_affine ||
               fail_at(r, ERROR_FORMAT, weight, "is quantized by mode affine, but has no biases");
    if (!is_affine)
        return fail_at(r, ERROR_FORMAT, biases, "stands beside numbers of mode %s, which has none",
                       mode_names[s->mode]);
    if (biases->t.type != scales->t.type)
        return fail_at(r, ERROR_FORMAT, biases, "is %s, its scales are %s",
                       safetensors_type_name(biases->t.type),
                       safetensors_type_name(scales->t.type));
    if (!check_rows(r, weight, biases))
        return false;
    uint32_t last = scales->t.n_dims - 1;
    return biases->t.shape[last] == scales->t.shape[last] ||
           fail_at(r, ERROR_FORMAT, biases, "has other columns than its scales");
}

/* Words and scales of a row tell of the same number of columns. */
static bool check_columns(const struct mlx_reader *r, const struct folder_tensor *weight,
                          const struct folder_tensor *scales, const struct mlx_scheme *s,
                          uint64_t *n_columns)
{
    uint64_t n_words = weight->t.shape[weight->t.n_dims - 1];
    uint64_t n_scales = scales->t.shape[scales->t.n_dims - 1];
    /* below 2^64: every shape's product is a number of bytes in a file */
    *n_columns = n_scales * s->group;
    if (n_words && n_words <= UINT64_MAX / 32 && n_scales <= UINT64_MAX / (32 * 128) &&
        n_words * 32 == *n_columns * s->bits)
        return true;
    return fail_at(r, ERROR_FORMAT, weight,
                   "has rows of %" PRIu64 " words and %" PRIu64 " scales, which are not the same "
                   "columns by %" PRIu64 " bits in groups of %" PRIu64,
                   n_words, n_scales, s->bits, s->group);
}

/* ---- tensors ---- */

/* The innermost dimension first; from the fourth on they are multiplied together. */
static void set_shape(struct weights_tensor *out, const struct safetensors_tensor *t)
{
    out->n_dims = t->n_dims < 4 ? t->n_dims : 4;
    for (uint32_t i = 0; i < 4; i++)
        out->shape[i] = 1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        out->shape[i < 3 ? i : 3] *= t->shape[t->n_dims - 1 - i];
}

static const uint8_t *tensor_data(const struct mlx_reader *r, const struct folder_tensor *f)
{
    return r->w->parts[f->file].data + f->t.begin;
}

/* X.global_scale, a float for each expert: what numbers of nvfp4 are multiplied by is that over the
 * largest product of a scale and of a number. */
static bool make_factors(const struct mlx_reader *r, const struct folder_tensor *weight,
                         size_t module_len, const struct mlx_scheme *s, struct weights_tensor *out)
{
    const struct folder_tensor *scale = raw_find(r, weight->t.name, module_len, "global_scale");
    const uint64_t n = out->shape[2] * out->shape[3];
    if (!scale)
        return true;
    if (s->mode != MLX_NVFP4)
        return fail_at(r, ERROR_FORMAT, scale, "stands beside numbers of mode %s, which has none",
                       mode_names[s->mode]);
    const uint64_t n_bytes = scale->t.end - scale->t.begin;
    if (scale->t.type != SAFETENSORS_F32 || !n || n_bytes % sizeof(float) ||
        n_bytes / sizeof(float) != n)
        return fail_at(r, ERROR_FORMAT, scale, "is not F32 for %" PRIu64 " matrices", n);
    float *factors = arena_alloc(&r->w->names, (size_t)n_bytes);
    if (!factors)
        return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
    memcpy(factors, tensor_data(r, scale), (size_t)n_bytes);
    for (uint64_t i = 0; i < n; i++)
        factors[i] /= 448.0f * 6.0f;
    out->factors = factors;
    r->w->made_bytes += n_bytes;
    return true;
}

static bool make_packed(const struct mlx_reader *r, const struct folder_tensor *weight,
                        const struct folder_tensor *scales, size_t module_len,
                        struct weights_tensor *out)
{
    const struct folder_tensor *biases = raw_find(r, weight->t.name, module_len, "biases");
    struct mlx_scheme s;
    if (weight->t.type != SAFETENSORS_U32)
        return fail_at(r, ERROR_FORMAT, weight, "has scales, but is %s and not U32",
                       safetensors_type_name(weight->t.type));
    if (weight->t.n_dims < 2 || weight->t.n_dims > 4)
        return fail_at(r, ERROR_FORMAT, weight, "has scales and %" PRIu32 " dimensions",
                       weight->t.n_dims);
    if (!check_rows(r, weight, scales) || !module_scheme(r, weight, scales, module_len, &s) ||
        !scale_type(r, scales, &s, &out->scale) || !check_biases(r, weight, scales, biases, &s) ||
        !check_columns(r, weight, scales, &s, &out->shape[0]))
        return false;
    uint64_t n_columns = out->shape[0];
    set_shape(out, &weight->t);
    out->shape[0] = n_columns;
    out->group = (uint32_t)s.group;
    out->type_name = scheme_type(&s, &out->type);
    out->data = tensor_data(r, weight);
    out->scales = tensor_data(r, scales);
    out->n_bytes = weight->t.end - weight->t.begin + scales->t.end - scales->t.begin;
    if (biases) {
        out->biases = tensor_data(r, biases);
        out->n_bytes += biases->t.end - biases->t.begin;
    }
    return make_factors(r, weight, module_len, &s, out);
}

/* A vector is read as an array of its type: where its place forbids that, it is copied. */
static bool make_aligned(const struct mlx_reader *r, const struct folder_tensor *f,
                         struct weights_tensor *out)
{
    enum { MOST = 4 << 20 }; /* bytes; no model has a vector of a million numbers */
    size_t size = quant_row_bytes(out->type, 1);
    if (f->t.n_dims > 1 || (uintptr_t)out->data % size == 0 || !out->n_bytes)
        return true;
    if (out->n_bytes > MOST)
        return fail_at(r, ERROR_UNSUPPORTED, f, "is a vector of %" PRIu64 " bytes at an odd place",
                       out->n_bytes);
    void *copy = arena_alloc(&r->w->names, (size_t)out->n_bytes);
    if (!copy)
        return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
    out->data = memcpy(copy, out->data, (size_t)out->n_bytes);
    r->w->made_bytes += out->n_bytes;
    return true;
}

static bool make_plain(const struct mlx_reader *r, const struct folder_tensor *f,
                       struct weights_tensor *out)
{
    static const enum quant_type types[SAFETENSORS_N_TYPES] = {[SAFETENSORS_F32] = QUANT_F32,
                                                               [SAFETENSORS_F16] = QUANT_F16,
                                                               [SAFETENSORS_BF16] = QUANT_BF16};
    bool is_float = f->t.type == SAFETENSORS_F32 || f->t.type == SAFETENSORS_F16 ||
                    f->t.type == SAFETENSORS_BF16;
    out->type = is_float ? types[f->t.type] : WEIGHTS_NO_TYPE;
    out->type_name = safetensors_type_name(f->t.type);
    set_shape(out, &f->t);
    out->data = tensor_data(r, f);
    out->n_bytes = f->t.end - f->t.begin;
    return !is_float || make_aligned(r, f, out);
}

/* A tensor that is part of another one. */
static bool is_folded(const struct mlx_reader *r, const struct folder_tensor *f)
{
    size_t scales_of = module_of(f, "scales"), biases_of = module_of(f, "biases");
    if (scales_of)
        return raw_find(r, f->t.name, scales_of, "weight") != NULL;
    return biases_of && raw_find(r, f->t.name, biases_of, "weight") &&
           raw_find(r, f->t.name, biases_of, "scales");
}

static bool make_tensor(const struct mlx_reader *r, const struct folder_tensor *f)
{
    struct weights *w = r->w;
    size_t module_len = module_of(f, "weight");
    const struct folder_tensor *scales =
        module_len ? raw_find(r, f->t.name, module_len, "scales") : NULL;
    if (is_folded(r, f))
        return true;
    struct weights_tensor *out = &w->tensors[w->n_tensors];
    *out = (struct weights_tensor){.name = f->t.name, .file = f->file};
    uint32_t at = name_index_find(&r->overrides, f->t.name, module_len);
    if (!scales && at != NAME_INDEX_NONE && r->settings[at].kind == JSON_TREE_OBJECT)
        return fail_at(r, ERROR_FORMAT, f, "has no scales, but config.json says it is quantized");
    if (!(scales ? make_packed(r, f, scales, module_len, out) : make_plain(r, f, out)))
        return false;
    if (!name_index_add(&w->tensor_index, out->name, f->t.name_len, (uint32_t)w->n_tensors))
        return error_set(r->err, ERROR_NO_MEMORY, "out of memory");
    w->n_tensors++;
    return true;
}

bool mlx_make_tensors(struct weights *w, const struct folder_tensors *raw, struct error *err)
{
    struct mlx_reader r = {.w = w, .raw = raw, .err = err};
    bool ok = settings_read(&r) && file_reserve_tensors(w, raw->n, err);
    for (size_t i = 0; ok && i < raw->n; i++)
        ok = make_tensor(&r, &raw->items[i]);
    name_index_deinit(&r.overrides);
    return ok;
}
