/* `pensieve show`: what is in a model's file or folder, in words or as JSON: architecture, sizes,
 * quantization, context, memory, vocabulary, template, and what the catalogue advises. Opens the
 * files only; computes nothing. */
#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/show_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOW_MAX_PATH = 8192, SHOW_MAX_KEY = 65536, SHOW_TEMPLATE_LINES = 4, SHOW_MAX_TEXT = 200 };

struct show_options {
    const char *model;
    bool json, all, template;
};

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

/* What is not so, and why. */
static void show_why(const char *what, const char *why)
{
    show_label("");
    printf("%s: ", what);
    output_line(why, strlen(why));
    putchar('\n');
}

static void show_network(const struct show_facts *f)
{
    const struct model_info *info = &f->info;
    show_line("architecture", f->architecture, "not said");
    if (!f->runs)
        show_why("does not run here", f->why_not.message);
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
    if (f->n_experts) {
        show_label("experts");
        printf("%" PRIu64 ", of which each token takes %" PRIu64 "\n", f->n_experts,
               f->n_experts_used);
    }
    show_label("context");
    if (info->n_ctx_train)
        printf("%" PRIu32 " tokens\n", info->n_ctx_train);
    else
        printf("not said\n");
    if (f->window && f->window < info->n_ctx_train) {
        show_label("window");
        printf("%" PRIu64 " tokens, in layers that have one\n", f->window);
    }
}

static void show_positions(const struct show_facts *f)
{
    const struct show_positions *p = &f->positions;
    if (p->base <= 0 && !p->scaling.len)
        return;
    show_label("positions");
    printf("RoPE");
    if (p->base > 0)
        printf(", base %.7g", (double)p->base);
    if (p->n_dims && f->runs && p->n_dims < f->info.head_dim)
        printf(", of %" PRIu64 " dimensions of each head", p->n_dims);
    if (p->scaling.len) {
        printf(", scaling ");
        output_line(p->scaling.data, p->scaling.len);
        if (p->factor > 0)
            printf(" by %.7g", (double)p->factor);
        if (p->n_original)
            printf(" beyond %" PRIu64 " tokens", p->n_original);
    }
    putchar('\n');
}

/* Files and a conversation of n tokens. */
static void show_need(const struct show_facts *f, uint32_t n_tokens, const char *begin)
{
    printf("%s", begin);
    show_amount(weights_file_bytes(f->w) + weights_made_bytes(f->w) + n_tokens * f->kv_token_bytes,
                " kB", " MB", " GB");
    printf(" with %" PRIu32 " tokens", n_tokens);
}

static void show_memory(const struct show_facts *f)
{
    const uint32_t n_ctx = f->info.n_ctx_train;
    if (!f->kv_token_bytes || !n_ctx)
        return;
    show_label("memory");
    show_amount(f->kv_token_bytes, " kB", " MB", " GB");
    printf(" for each token of conversation (--kv-type f16)");
    if (n_ctx > STORE_USUAL_CONTEXT)
        show_need(f, STORE_USUAL_CONTEXT, "; in all ");
    show_need(f, n_ctx, n_ctx > STORE_USUAL_CONTEXT ? ", " : "; in all ");
    putchar('\n');
}

static void show_sizes(const struct show_facts *f)
{
    show_label(f->is_folder ? "folder" : "file");
    output_line(f->path, strlen(f->path));
    putchar('\n');
    show_label("size");
    show_amount(weights_file_bytes(f->w), " kB", " MB", " GB");
    printf(" (%" PRIu64 " bytes)", weights_file_bytes(f->w));
    show_files(f);
    if (f->cut.code != ERROR_NONE) {
        show_why("not whole", f->cut.message);
        show_label("");
        printf("%" PRIu64 " of %zu tensors are not whole: it can be shown, not run\n",
               show_facts_missing(f), weights_n_tensors(f->w));
    }
    show_network(f);
    show_positions(f);
    show_memory(f);
}

static void show_quantization(const struct show_facts *f)
{
    struct buf kinds;
    buf_init(&kinds, 1 << 16);
    for (size_t i = 0; i < f->n_types; i++) {
        const struct show_type *type = &f->types[i];
        buf_clear(&kinds);
        show_facts_kinds(f, i, &kinds);
        show_label(i ? "" : "quantization");
        printf("%-5s %4" PRIu64 " tensor%s ", type->name, type->n_tensors,
               type->n_tensors == 1 ? ", " : "s,");
        show_amount(type->n_bytes, " kB", " MB", " GB");
        if (type->group)
            printf(", groups of %" PRIu32, type->group);
        if (kinds.len) {
            printf(": ");
            output_line(kinds.data, kinds.len);
        }
        putchar('\n');
    }
    buf_deinit(&kinds);
}

/* What a folder has beside the weights. */
static void show_texts(const struct show_facts *f)
{
    show_label("beside them");
    for (size_t i = 0; weights_text_name(f->w, i); i++)
        printf("%s%s", i ? ", " : "", weights_text_name(f->w, i));
    putchar('\n');
}

/* A token as it is written. */
static void show_token(const struct tokenizer *t, int32_t id, const char *before)
{
    size_t n;
    const char *piece = tokenizer_piece(t, id, &n);
    printf("%s", before);
    output_line(piece, n);
    printf(" (%" PRId32 ")", id);
}

static void show_special(const struct tokenizer *t)
{
    bool is_first = true;
    show_label("special tokens");
    if (tokenizer_bos(t) >= 0)
        show_token(t, tokenizer_bos(t), "begins with ");
    printf(tokenizer_bos(t) >= 0 ? "; ends with " : "ends with ");
    for (size_t i = 0; i < tokenizer_n_vocab(t); i++)
        if (tokenizer_is_eog(t, (int32_t)i)) {
            show_token(t, (int32_t)i, is_first ? "" : ", ");
            is_first = false;
        }
    printf(is_first ? "none\n" : "\n");
}

static void show_vocabulary(const struct show_facts *f)
{
    show_label("vocabulary");
    if (f->n_vocab)
        printf("%zu tokens", f->n_vocab);
    else
        printf("none");
    if (f->vocabulary_file)
        printf(", %s", f->vocabulary_file);
    if (f->vocabulary.len) {
        printf(", ");
        output_line(f->vocabulary.data, f->vocabulary.len);
    }
    if (f->pre_tokenizer.len) {
        printf(", pre-tokenizer ");
        output_line(f->pre_tokenizer.data, f->pre_tokenizer.len);
    }
    putchar('\n');
    if (f->tokenizer)
        show_special(f->tokenizer);
    else
        show_why("cannot be used here", f->no_tokenizer.message);
}

/* Variables that templates are known to read. */
static void show_variables(const struct show_facts *f)
{
    bool is_first = true;
    for (size_t i = 0; show_facts_variable(i); i++)
        if (chat_template_mentions(f->chat_template, show_facts_variable(i))) {
            if (is_first)
                show_label("");
            printf("%s%s", is_first ? "variables: " : ", ", show_facts_variable(i));
            is_first = false;
        }
    struct buf set;
    buf_init(&set, 1 << 16);
    prompt_variables_note(&f->prompt, &set);
    if (set.len > 2) {
        if (is_first)
            show_label("");
        printf("%s", is_first ? "set: " : "; set: ");
        output_line(set.data, set.len);
        is_first = false;
    }
    buf_deinit(&set);
    if (!is_first)
        putchar('\n');
}

static void show_abilities(const struct show_facts *f)
{
    const struct dialog_format *format = show_facts_format(f);
    struct buf repairs;
    if (!f->chat_template) {
        show_why("cannot be used here", f->no_template.message);
        return;
    }
    if (!format)
        return;
    show_label("");
    printf("tools: %s; system prompt: %s; thinking: %s\n",
           format->tools ? "its own form" : "told in words, it has no form of its own",
           format->mid_system ? "anywhere"
           : format->system   ? "first message only"
                              : "told to the user's side, it has none",
           show_facts_thinks(f) ? "yes" : "no");
    show_variables(f);
    buf_init(&repairs, 4096);
    prompt_repairs_note(&f->prompt, &repairs);
    if (repairs.len) {
        show_label("");
        printf("repairs: %s (docs/templates.md)\n", repairs.data);
    }
    buf_deinit(&repairs);
    show_label("history");
    printf("%s\n", *prompt_history_note(&f->prompt) ? prompt_history_note(&f->prompt)
                                                    : "grows at its end only");
}

/* The first lines; the whole comes with --template. */
static void show_template_begin(const struct show_facts *f)
{
    show_label("chat template");
    if (!f->source.len) {
        printf("none\n");
        if (f->no_template.code != ERROR_NONE)
            show_why("cannot be read", f->no_template.message);
        return;
    }
    const char *at = f->source.data, *end = at + f->source.len;
    printf("%zu bytes of %s (whole: --template)\n", f->source.len, f->source_from);
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
    show_abilities(f);
}

static void show_number(const char *name, double x, const char **separator)
{
    printf("%s%s %g", *separator, name, x);
    *separator = ", ";
}

/* What the model's own files say. */
static void show_sampling(const struct show_facts *f)
{
    const struct engine_sampling *s = &f->sampling;
    const char *separator = "";
    if (s->temperature < 0 && s->top_p < 0 && s->min_p < 0 && s->repeat_penalty < 0 &&
        s->top_k == UINT32_MAX)
        return;
    show_label("its sampling");
    if (s->temperature >= 0)
        show_number("temperature", (double)s->temperature, &separator);
    if (s->top_p >= 0)
        show_number("top_p", (double)s->top_p, &separator);
    if (s->top_k != UINT32_MAX)
        show_number("top_k", s->top_k, &separator);
    if (s->min_p >= 0)
        show_number("min_p", (double)s->min_p, &separator);
    if (s->repeat_penalty >= 0)
        show_number("repeat penalty", (double)s->repeat_penalty, &separator);
    putchar('\n');
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
            printf("[%" PRIu64 " %s]\n", m.n_items, show_facts_kind_name(m.item_kind));
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
    show_sampling(f);
    show_advice(f);
    if (all && f->is_folder)
        show_configs(f->w);
    else if (all)
        show_metadata(f->w);
}

/* ---- the command ---- */

static bool show_template(const struct show_facts *f, struct error *err)
{
    if (!f->source.len && f->no_template.code != ERROR_NONE) {
        *err = f->no_template;
        return error_prefix(err, "%s", f->path);
    }
    if (!f->source.len)
        return error_set(err, ERROR_NOT_FOUND, "%s has no chat template", f->path);
    output_text(f->source.data, f->source.len);
    if (f->source.data[f->source.len - 1] != '\n')
        putchar('\n');
    return true;
}

static bool show_told(const struct show_facts *f, const struct show_options *options,
                      struct error *err)
{
    if (options->template)
        return show_template(f, err);
    if (options->json)
        return show_json(f, options->all) || error_set(err, ERROR_NO_MEMORY, "out of memory");
    show_words(f, options->all);
    return true;
}

static bool show_file(const char *path, const struct show_options *options, struct error *err)
{
    struct error cut;
    struct weights *w = weights_open_cut(path, &cut, err);
    if (!w)
        return false;
    struct show_facts facts;
    bool ok = show_facts_gather(&facts, path, w, &cut, err);
    *err = ok ? (struct error){.position = -1} : *err;
    ok = ok && show_told(&facts, options, err) && output_flush(err);
    show_facts_deinit(&facts);
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
        .about =
            "Tells what is in a model. MODEL is a GGUF file (of a split one, any part), a folder "
            "of\nsafetensors, or the name of a model in the store. A GGUF file that is cut is "
            "shown as far\nas it goes.",
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
    log_set_level(LOG_LEVEL_ERROR); /* what loading would say is told in its place */
    if (!show_parse(argc, argv, &options, &exit_code))
        return exit_code;
    struct error err = {.position = -1};
    struct buf path;
    buf_init(&path, SHOW_MAX_PATH);
    bool ok = store_resolve(options.model, &path, &err) && show_file(path.data, &options, &err);
    buf_deinit(&path);
    return ok ? CLI_OK : cli_report("show", &err);
}
