/* `pensieve show`: what is in a model file, in words or as JSON: architecture, sizes, quantization,
 * context, vocabulary, template, and what the catalogue advises. Opens the file only; computes
 * nothing. */
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "model/model.h"
#include "quant/quant.h"
#include "store/store.h"
#include "weights/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum { SHOW_MAX_PATH = 8192, SHOW_MAX_KEY = 65536, SHOW_TEMPLATE_LINES = 4, SHOW_MAX_TEXT = 200 };

struct show_options {
    const char *model;
    bool json, all, template;
};

/* How much of the file one tensor type takes, and which tensors have it. */
struct show_type {
    const char *name;
    uint32_t group; /* of packed numbers, else 0 */
    uint64_t n_tensors, n_bytes;
    char kinds[160]; /* "q_proj, k_proj", each once, as many as fit */
};

struct show_facts {
    const char *path;
    const struct weights *w;
    bool is_folder;                                     /* of safetensors; else GGUF */
    struct weights_string name, architecture, template; /* empty when missing */
    struct weights_string vocabulary, pre_tokenizer;
    size_t n_vocab;
    struct model_info info; /* when runs; else n_params and n_ctx_train alone */
    bool runs;              /* this build has the architecture */
    struct error why_not;   /* when it does not */
    struct show_type types[32];
    size_t n_types;                  /* most bytes first */
    const struct store_model *known; /* the catalogue's entry, or NULL */
};

/* ---- the facts ---- */

static struct weights_string show_text(const struct weights *w, const char *key)
{
    struct weights_string s = {0};
    weights_string(w, key, &s);
    return s;
}

/* Adds what kind of layer a tensor is: "model.layers.0.self_attn.q_proj.weight" is "q_proj". */
static void show_add_kind(char *kinds, size_t size, const char *name)
{
    char kind[64];
    size_t end = strlen(name), n = strlen(kinds);
    if (end > 7 && !strcmp(name + end - 7, ".weight"))
        end -= 7;
    size_t begin = end;
    while (begin && name[begin - 1] != '.')
        begin--;
    int len = snprintf(kind, sizeof kind, ", %.*s", (int)(end - begin), name + begin);
    if (len < 0 || (size_t)len >= sizeof kind || n + (size_t)len >= size)
        return;
    for (const char *at = kinds; (at = strstr(at, kind + 2)); at++) /* a whole one of the list? */
        if ((at == kinds || at[-1] == ' ') && (!at[len - 2] || at[len - 2] == ','))
            return;
    memcpy(kinds + n, n ? kind : kind + 2, (size_t)len + 1 - (n ? 0 : 2));
}

static void show_count_type(struct show_facts *f, const struct weights_tensor *t)
{
    const char *name = t->type_name;
    size_t i = 0;
    while (i < f->n_types && (strcmp(f->types[i].name, name) || f->types[i].group != t->group))
        i++;
    if (i == sizeof f->types / sizeof *f->types)
        return;
    if (i == f->n_types)
        f->types[f->n_types++] = (struct show_type){.name = name, .group = t->group};
    f->types[i].n_tensors++;
    f->types[i].n_bytes += t->n_bytes;
    show_add_kind(f->types[i].kinds, sizeof f->types[i].kinds, t->name);
}

static int show_more_bytes(const void *a, const void *b)
{
    const struct show_type *x = a, *y = b;
    return (x->n_bytes < y->n_bytes) - (x->n_bytes > y->n_bytes);
}

/* What can be said of an architecture that this build does not compute. */
static void show_foreign(struct show_facts *f)
{
    char key[128];
    uint64_t n_ctx = 0;
    f->info = (struct model_info){0};
    snprintf(key, sizeof key, "%.*s.context_length",
             (int)(f->architecture.len < 64 ? f->architecture.len : 64), f->architecture.data);
    if (!weights_uint(f->w, key, &n_ctx) &&
        !weights_config_uint(f->w, "max_position_embeddings", &n_ctx))
        weights_config_uint(f->w, "text_config.max_position_embeddings", &n_ctx);
    f->info.n_ctx_train = n_ctx <= UINT32_MAX ? (uint32_t)n_ctx : 0;
    for (size_t i = 0; i < weights_n_tensors(f->w); i++) {
        const uint64_t *shape = weights_tensor_at(f->w, i)->shape;
        f->info.n_params += shape[0] * shape[1] * shape[2] * shape[3];
    }
}

/* The template of a folder: a file of its own, or in one of two configurations. */
static struct weights_string show_folder_template(const struct weights *w)
{
    struct weights_string s = {0};
    if (!weights_text(w, "chat_template.jinja", &s))
        weights_config_string(w, "tokenizer.chat_template", &s);
    return s;
}

static void show_gather_folder(struct show_facts *f)
{
    uint64_t n = 0;
    size_t end = strlen(f->path), begin;
    while (end > 1 && f->path[end - 1] == '/')
        end--;
    for (begin = end; begin && f->path[begin - 1] != '/';)
        begin--;
    f->name = (struct weights_string){f->path + begin, end - begin};
    weights_config_string(f->w, "model_type", &f->architecture);
    f->template = show_folder_template(f->w);
    if (!weights_config_uint(f->w, "vocab_size", &n))
        weights_config_uint(f->w, "text_config.vocab_size", &n);
    f->n_vocab = (size_t)n;
}

static void show_gather(struct show_facts *f, const char *path, const struct weights *w)
{
    *f = (struct show_facts){.path = path, .w = w};
    f->is_folder = weights_format(w) == WEIGHTS_SAFETENSORS;
    f->name = show_text(w, "general.name");
    f->architecture = show_text(w, "general.architecture");
    f->template = show_text(w, "tokenizer.chat_template");
    f->vocabulary = show_text(w, "tokenizer.ggml.model");
    f->pre_tokenizer = show_text(w, "tokenizer.ggml.pre");
    f->n_vocab = weights_array_len(w, "tokenizer.ggml.tokens");
    if (f->is_folder)
        show_gather_folder(f);
    f->known = store_model_of_file(path, weights_file_bytes(w));
    f->runs = model_read_info(w, &f->info, &f->why_not);
    if (!f->runs)
        show_foreign(f);
    for (size_t i = 0; i < weights_n_tensors(w); i++)
        show_count_type(f, weights_tensor_at(w, i));
    qsort(f->types, f->n_types, sizeof *f->types, show_more_bytes);
}

/* ---- in words ---- */

static void show_label(const char *label)
{
    printf("  %-15s", label);
}

static void show_line(const char *label, struct weights_string s, const char *missing)
{
    show_label(label);
    if (s.len)
        output_line(s.data, s.len);
    else
        printf("%s", missing);
    putchar('\n');
}

/* 494032768 as "494.0 million". */
static void show_amount(uint64_t n, const char *thousand, const char *million, const char *billion)
{
    if (n >= 1000000000)
        printf("%.2f%s", (double)n / 1e9, billion);
    else if (n >= 1000000)
        printf("%.1f%s", (double)n / 1e6, million);
    else
        printf("%.1f%s", (double)n / 1e3, thousand);
}

static void show_files(const struct show_facts *f)
{
    size_t n = weights_n_files(f->w);
    if (f->is_folder)
        printf(", safetensors%s", weights_is_mlx(f->w) ? " of MLX" : "");
    else
        printf(", GGUF version %" PRIu32, weights_version(f->w));
    if (n > 1)
        printf(", in %zu files", n);
    putchar('\n');
    for (size_t i = 0; n > 1 && i < n; i++) {
        struct weights_file file = weights_file_at(f->w, i);
        show_label("");
        show_amount(file.size, " kB  ", " MB  ", " GB  ");
        output_line(file.name, strlen(file.name));
        putchar('\n');
    }
    if (weights_made_bytes(f->w)) {
        show_label("");
        show_amount(weights_made_bytes(f->w), " kB", " MB", " GB");
        printf(" lie at odd places and are copied into memory\n");
    }
}

static void show_sizes(const struct show_facts *f)
{
    const struct model_info *info = &f->info;
    show_label(f->is_folder ? "folder" : "file");
    output_line(f->path, strlen(f->path));
    putchar('\n');
    show_label("size");
    show_amount(weights_file_bytes(f->w), " kB", " MB", " GB");
    printf(" (%" PRIu64 " bytes)", weights_file_bytes(f->w));
    show_files(f);
    show_line("architecture", f->architecture, "not said");
    if (!f->runs) {
        show_label("");
        printf("does not run here: ");
        output_line(f->why_not.message, strlen(f->why_not.message));
        putchar('\n');
    }
    show_label("parameters");
    show_amount(info->n_params, " thousand", " million", " billion");
    putchar('\n');
    if (f->runs) {
        show_label("layers");
        printf("%" PRIu32 ", %" PRIu32 " wide, feed-forward %" PRIu32 "\n", info->n_layers,
               info->n_embd, info->n_ff);
        show_label("attention");
        printf("%" PRIu32 " heads of %" PRIu32 ", %" PRIu32 " for keys and values\n", info->n_heads,
               info->head_dim, info->n_kv_heads);
    }
    show_label("context");
    if (info->n_ctx_train)
        printf("%" PRIu32 " tokens\n", info->n_ctx_train);
    else
        printf("not said\n");
}

static void show_quantization(const struct show_facts *f)
{
    for (size_t i = 0; i < f->n_types; i++) {
        const struct show_type *type = &f->types[i];
        show_label(i ? "" : "quantization");
        printf("%-5s %4" PRIu64 " tensor%s ", type->name, type->n_tensors,
               type->n_tensors == 1 ? ", " : "s,");
        show_amount(type->n_bytes, " kB", " MB", " GB");
        if (type->group)
            printf(", groups of %" PRIu32, type->group);
        if (f->is_folder) {
            printf(": ");
            output_line(type->kinds, strlen(type->kinds));
        }
        putchar('\n');
    }
}

/* What a folder has beside the weights. */
static void show_texts(const struct show_facts *f)
{
    show_label("beside them");
    for (size_t i = 0; weights_text_name(f->w, i); i++)
        printf("%s%s", i ? ", " : "", weights_text_name(f->w, i));
    putchar('\n');
}

static void show_vocabulary(const struct show_facts *f)
{
    show_label("vocabulary");
    if (!f->n_vocab || f->is_folder) {
        if (f->n_vocab)
            printf("%zu tokens\n", f->n_vocab);
        else
            printf("none\n");
        return;
    }
    printf("%zu tokens, ", f->n_vocab);
    output_line(f->vocabulary.data, f->vocabulary.len);
    if (f->pre_tokenizer.len) {
        printf(", pre-tokenizer ");
        output_line(f->pre_tokenizer.data, f->pre_tokenizer.len);
    }
    putchar('\n');
}

/* The first lines; the whole comes with --template. */
static void show_template_begin(const struct show_facts *f)
{
    show_label("chat template");
    if (!f->template.len) {
        printf("none\n");
        return;
    }
    const char *at = f->template.data, *end = at + f->template.len;
    printf("%zu bytes (whole: --template)\n", f->template.len);
    for (int line = 0; line < SHOW_TEMPLATE_LINES && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline ? newline : end;
        size_t n = (size_t)(line_end - at);
        printf("    | ");
        output_line(at, n < 90 ? n : 90);
        printf("%s\n", n > 90 ? "..." : "");
        at = newline ? newline + 1 : end;
    }
    if (at < end)
        printf("    | ...\n");
}

static void show_advice(const struct show_facts *f)
{
    show_label("catalogue");
    if (!f->known) {
        printf("not in it\n");
        return;
    }
    const struct store_advice *advice = &f->known->advice;
    printf("%s: %s, %s\n", f->known->name, f->known->title, f->known->licence);
    if (!f->known->has_advice)
        return;
    show_label("sampling");
    printf("temperature %g, top_p %g, top_k %" PRIu32 "\n", (double)advice->temperature,
           (double)advice->top_p, advice->top_k);
    show_label("repeat guard");
    if (advice->repeat_guard)
        printf("after %" PRIu32 " identical tool call%s with identical results\n",
               advice->repeat_guard, advice->repeat_guard == 1 ? "" : "s");
    else
        printf("off\n");
}

/* One scalar of the metadata. */
static void show_scalar(const struct weights *w, const char *key, enum weights_kind kind)
{
    uint64_t u = 0;
    int64_t i = 0;
    float x = 0;
    bool yes = false;
    struct weights_string s = {0};
    if (kind == WEIGHTS_UINT && weights_uint(w, key, &u))
        printf("%" PRIu64 "\n", u);
    else if (kind == WEIGHTS_INT && weights_int(w, key, &i))
        printf("%" PRId64 "\n", i);
    else if (kind == WEIGHTS_FLOAT && weights_float(w, key, &x))
        printf("%.7g\n", (double)x);
    else if (kind == WEIGHTS_BOOL && weights_bool(w, key, &yes))
        printf("%s\n", yes ? "true" : "false");
    else if (weights_string(w, key, &s)) {
        putchar('"');
        output_line(s.data, s.len < SHOW_MAX_TEXT ? s.len : SHOW_MAX_TEXT);
        printf(s.len > SHOW_MAX_TEXT ? "\"... (%zu bytes)\n" : "\"\n", s.len);
    }
}

static const char *show_kind_name(enum weights_kind kind)
{
    static const char *const names[] = {
        [WEIGHTS_UINT] = "unsigned integers", [WEIGHTS_INT] = "integers",
        [WEIGHTS_FLOAT] = "floats",           [WEIGHTS_STRING] = "strings",
        [WEIGHTS_ARRAY] = "arrays",           [WEIGHTS_BOOL] = "bools",
    };
    return names[kind];
}

static void show_metadata(const struct weights *w)
{
    struct buf key;
    buf_init(&key, SHOW_MAX_KEY);
    printf("\n");
    for (size_t i = 0; i < weights_n_meta(w); i++) {
        struct weights_meta m = weights_meta_at(w, i);
        buf_clear(&key);
        if (!buf_append(&key, m.key.data, m.key.len))
            continue;
        printf("  ");
        output_line(key.data, key.len);
        printf(" = ");
        if (m.kind == WEIGHTS_ARRAY)
            printf("[%" PRIu64 " %s]\n", m.n_items, show_kind_name(m.item_kind));
        else
            show_scalar(w, key.data, m.kind);
    }
    buf_deinit(&key);
}

/* A folder's metadata is what its configurations say. */
static void show_configs(const struct weights *w)
{
    static const char *const names[] = {"config.json", "generation_config.json"};
    struct weights_string text;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (weights_text(w, names[i], &text)) {
            printf("\n%s:\n", names[i]);
            output_text(text.data, text.len);
        }
}

static void show_words(const struct show_facts *f, bool all)
{
    if (f->name.len)
        output_line(f->name.data, f->name.len);
    else
        printf("a model without a name");
    putchar('\n');
    show_sizes(f);
    show_quantization(f);
    show_vocabulary(f);
    if (f->is_folder)
        show_texts(f);
    show_template_begin(f);
    show_advice(f);
    if (all && f->is_folder)
        show_configs(f->w);
    else if (all)
        show_metadata(f->w);
}

/* ---- as JSON ---- */

/* Text of the file as a JSON string (bytes that are no UTF-8 become '?'), or null when it is empty.
 */
static json_t *show_json_text(struct weights_string s)
{
    if (!s.len)
        return json_null();
    json_t *text = json_stringn(s.data, s.len);
    if (text)
        return text;
    char *ascii = malloc(s.len);
    if (!ascii)
        return NULL;
    for (size_t i = 0; i < s.len; i++)
        ascii[i] = s.data[i] & 0x80 ? '?' : s.data[i];
    text = json_stringn(ascii, s.len);
    free(ascii);
    return text;
}

static json_t *show_json_uint(uint64_t n)
{
    return n <= INT64_MAX ? json_integer((json_int_t)n) : json_real((double)n);
}

static json_t *show_json_scalar(const struct weights *w, const char *key, enum weights_kind kind)
{
    uint64_t u = 0;
    int64_t i = 0;
    float x = 0;
    bool yes = false;
    switch (kind) {
    case WEIGHTS_UINT:
        weights_uint(w, key, &u);
        return show_json_uint(u);
    case WEIGHTS_INT:
        weights_int(w, key, &i);
        return json_integer(i);
    case WEIGHTS_FLOAT:
        weights_float(w, key, &x);
        return x - x == 0 ? json_real((double)x) : json_null(); /* JSON has no infinity */
    case WEIGHTS_BOOL:
        weights_bool(w, key, &yes);
        return json_boolean(yes);
    default:
        return show_json_text(show_text(w, key));
    }
}

/* Sets a member; what could not be made or kept clears *ok. */
static void show_set(json_t *object, const char *key, json_t *value, bool *ok)
{
    if (json_object_set_new(object, key, value))
        *ok = false;
}

/* An array's length and kind stand for it: a vocabulary is no reading. */
static json_t *show_json_metadata(const struct weights *w)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    struct buf key;
    buf_init(&key, SHOW_MAX_KEY);
    for (size_t i = 0; i < weights_n_meta(w); i++) {
        struct weights_meta m = weights_meta_at(w, i);
        buf_clear(&key);
        if (!buf_append(&key, m.key.data, m.key.len)) {
            ok = false;
            break;
        }
        json_t *value;
        if (m.kind == WEIGHTS_ARRAY)
            value = json_pack("{s:s, s:o}", "array_of", show_kind_name(m.item_kind), "items",
                              show_json_uint(m.n_items));
        else
            value = show_json_scalar(w, key.data, m.kind);
        show_set(object, key.data, value, &ok);
    }
    buf_deinit(&key);
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

/* Text that may be no UTF-8. */
static json_t *show_json_cut(const char *text)
{
    return show_json_text((struct weights_string){text, strlen(text)});
}

static json_t *show_json_types(const struct show_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->n_types; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:o, s:o}", "type", f->types[i].name,
                                              "group", (int)f->types[i].group, "tensors",
                                              show_json_uint(f->types[i].n_tensors), "bytes",
                                              show_json_uint(f->types[i].n_bytes), "kinds",
                                              show_json_cut(f->types[i].kinds)));
    return list;
}

static json_t *show_json_files(const struct show_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < weights_n_files(f->w); i++) {
        struct weights_file file = weights_file_at(f->w, i);
        json_array_append_new(list, json_pack("{s:o, s:o}", "name", show_json_cut(file.name),
                                              "bytes", show_json_uint(file.size)));
    }
    return list;
}

static json_t *show_json_texts(const struct show_facts *f)
{
    json_t *list = json_array();
    for (size_t i = 0; weights_text_name(f->w, i); i++)
        json_array_append_new(list, json_string(weights_text_name(f->w, i)));
    return list;
}

static json_t *show_json_catalogue(const struct store_model *known)
{
    if (!known)
        return json_null();
    const struct store_advice *advice = &known->advice;
    if (!known->has_advice)
        return json_pack("{s:s, s:s, s:s}", "name", known->name, "title", known->title, "licence",
                         known->licence);
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i}", "name", known->name, "title",
                     known->title, "licence", known->licence, "temperature",
                     (double)advice->temperature, "top_p", (double)advice->top_p, "top_k",
                     (int)advice->top_k, "repeat_guard", (int)advice->repeat_guard);
}

static json_t *show_json_network(const struct show_facts *f)
{
    const struct model_info *info = &f->info;
    if (!f->runs)
        return json_null();
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "layers", (int)info->n_layers, "width",
                     (int)info->n_embd, "feed_forward", (int)info->n_ff, "heads",
                     (int)info->n_heads, "kv_heads", (int)info->n_kv_heads, "head_dim",
                     (int)info->head_dim);
}

/* null where Python's JSON says more than the standard's (an Infinity). */
static json_t *show_json_config(const struct weights *w)
{
    struct weights_string text = {0};
    weights_text(w, "config.json", &text);
    json_t *config = json_loadb(text.data, text.len, 0, NULL);
    return config ? config : json_null();
}

static bool show_json(const struct show_facts *f, bool all)
{
    struct weights_string path = {f->path, strlen(f->path)};
    struct weights_string why = {f->why_not.message, strlen(f->why_not.message)};
    json_t *object = json_object();
    bool ok = object != NULL;
    show_set(object, "name", show_json_text(f->name), &ok);
    show_set(object, "file", show_json_text(path), &ok);
    show_set(object, "file_bytes", show_json_uint(weights_file_bytes(f->w)), &ok);
    show_set(object, "format", json_string(f->is_folder ? "safetensors" : "gguf"), &ok);
    show_set(object, "files", show_json_files(f), &ok);
    show_set(object, "made_bytes", show_json_uint(weights_made_bytes(f->w)), &ok);
    if (f->is_folder)
        show_set(object, "beside", show_json_texts(f), &ok);
    else
        show_set(object, "gguf_version", show_json_uint(weights_version(f->w)), &ok);
    show_set(object, "architecture", show_json_text(f->architecture), &ok);
    show_set(object, "runs", json_boolean(f->runs), &ok);
    if (!f->runs)
        show_set(object, "why_not", show_json_text(why), &ok);
    show_set(object, "parameters", show_json_uint(f->info.n_params), &ok);
    show_set(object, "network", show_json_network(f), &ok);
    show_set(object, "context_length", show_json_uint(f->info.n_ctx_train), &ok);
    show_set(object, "quantization", show_json_types(f), &ok);
    show_set(object, "vocabulary",
             json_pack("{s:o, s:o, s:o}", "tokens", show_json_uint(f->n_vocab), "model",
                       show_json_text(f->vocabulary), "pre_tokenizer",
                       show_json_text(f->pre_tokenizer)),
             &ok);
    show_set(object, "chat_template", show_json_text(f->template), &ok);
    show_set(object, "catalogue", show_json_catalogue(f->known), &ok);
    if (all)
        show_set(object, "metadata",
                 f->is_folder ? show_json_config(f->w) : show_json_metadata(f->w), &ok);
    char *text = ok ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(7) |
                                             (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0))
                    : NULL;
    json_decref(object);
    if (!text)
        return false;
    puts(text);
    free(text);
    return true;
}

/* ---- the command ---- */

static bool show_template(const struct show_facts *f, struct error *err)
{
    if (!f->template.len)
        return error_set(err, ERROR_NOT_FOUND, "%s has no chat template", f->path);
    output_text(f->template.data, f->template.len);
    if (f->template.data[f->template.len - 1] != '\n')
        putchar('\n');
    return true;
}

static bool show_file(const char *path, const struct show_options *options, struct error *err)
{
    struct weights *w = weights_open(path, err);
    if (!w)
        return false;
    struct show_facts facts;
    show_gather(&facts, path, w);
    bool ok = true;
    *err = (struct error){.position = -1};
    if (options->template)
        ok = show_template(&facts, err);
    else if (options->json)
        ok = show_json(&facts, options->all) || error_set(err, ERROR_NO_MEMORY, "out of memory");
    else
        show_words(&facts, options->all);
    ok = ok && output_flush(err);
    weights_close(w);
    return ok;
}

#define SHOW_VALUE(kind, member) SETTING_VALUE(kind, struct show_options, member)

static const struct setting show_rows[] = {
    {.name = "json", SHOW_VALUE(FLAG, json), .help = "as one JSON object"},
    {.name = "all", SHOW_VALUE(FLAG, all), .help = "with all metadata of the file"},
    {.name = "template", SHOW_VALUE(FLAG, template), .help = "only the chat template, whole"},
};
static const struct setting_table show_settings = SETTING_TABLE(show_rows);

static bool show_parse(int argc, char **argv, struct show_options *o, int *exit_code)
{
    const struct settings_part part = {&show_settings, o};
    const struct command command = {
        .name = "show",
        .synopsis = "[options] MODEL",
        .about = "Tells what is in a model file. MODEL is a path or the name of a model in the "
                 "store.",
        .parts = &part,
        .n_parts = 1,
        .max_args = 1,
    };
    struct settings settings;
    int n_args;
    if (!options_parse(&command, argc, argv, &settings, &n_args, exit_code))
        return false;
    o->model = n_args ? argv[1] : NULL;
    if (!n_args)
        *exit_code = cli_usage_error("show", "which MODEL?");
    return n_args;
}

int cli_show(int argc, char **argv)
{
    struct show_options options = {0};
    int exit_code;
    if (!show_parse(argc, argv, &options, &exit_code))
        return exit_code;
    struct error err = {.position = -1};
    struct buf path;
    buf_init(&path, SHOW_MAX_PATH);
    bool ok = store_resolve(options.model, &path, &err) && show_file(path.data, &options, &err);
    buf_deinit(&path);
    return ok ? CLI_OK : cli_report("show", &err);
}
