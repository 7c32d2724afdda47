/* See convert.h. */
#include "convert/convert.h"

#include "base/clock.h"
#include "convert/facts.h"
#include "convert/map.h"
#include "convert/output.h"
#include "convert/work.h"

#include <stdio.h>
#include <string.h>

struct convert_target_name convert_target_at(size_t i)
{
    const struct target *t = target_at(i);
    return t ? (struct convert_target_name){t->name, t->about}
             : (struct convert_target_name){NULL, NULL};
}

/* ---- what the mixes look at ---- */

static void look_at_model(struct plan *p)
{
    const struct weights *w = p->w;
    const struct facts_name architecture = facts_architecture(w);
    const struct hyper h = {w, architecture.text, NULL};
    p->model.n_layers = facts_number(&h, HYPER_N_LAYERS);
    p->model.n_experts = facts_number(&h, HYPER_N_EXPERTS);
    p->model.n_heads = facts_number(&h, HYPER_N_HEADS);
    p->model.n_kv_heads = facts_number(&h, HYPER_N_KV_HEADS);
    p->model.is_tied = !weights_tensor(w, "output.weight") &&
                       !weights_tensor(w, "lm_head.weight") &&
                       !weights_tensor(w, "language_model.lm_head.weight");
    p->model.has_importance = p->importance != NULL;
}

/* ---- the way ---- */

struct convert_way {
    const char *in, *out;
    const struct convert_options *options;
    const struct convert_sink *sink;
    const struct target *target;
    struct convert_result *result;
    struct error *err;
};

static void convert_note(const struct convert_way *c, const char *line)
{
    if (c->sink && c->sink->note)
        c->sink->note(c->sink->context, line);
}

static bool map_it(struct plan *p, struct error *err)
{
    const bool is_gguf = weights_format(p->w) == WEIGHTS_GGUF;
    bool ok;
    if (p->target->is_folder)
        ok = is_gguf ? map_gguf_to_folder(p, err) : map_folder_to_folder(p, err);
    else
        ok = is_gguf ? map_gguf_to_gguf(p, err) : map_folder_to_gguf(p, err);
    for (size_t i = 0; ok && i < p->n_files; i++)
        p->n_bytes += p->files[i].size;
    return ok;
}

/* What was lost when the input was made does not come back. */
static void note_loss(const struct convert_way *c, const struct plan *p)
{
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        if (t->raw || !t->n_pieces || t->pieces[0].type == t->type ||
            quant_traits(t->pieces[0].type)->block_elements == 1)
            continue;
        char line[160];
        snprintf(line, sizeof line,
                 "the input is quantized already (%s): what it lost then stays lost",
                 quant_traits(t->pieces[0].type)->name);
        convert_note(c, line);
        return;
    }
}

/* An importance matrix of which nothing fits is another model's. */
static bool check_importance(const struct plan *p, struct error *err)
{
    if (!p->importance)
        return true;
    for (size_t i = 0; i < p->n_tensors; i++)
        if (p->tensors[i].importance)
            return true;
    return error_set(err, ERROR_FORMAT, "the importance matrix %.150s has none of the model's "
                                        "tensors",
                     p->importance_path);
}

static bool convert_plan(const struct convert_way *c, struct plan *p)
{
    struct output out = {.lock = -1};
    const int64_t begin_ns = clock_now_ns();
    if (!map_it(p, c->err) || !check_importance(p, c->err))
        return false;
    note_loss(c, p);
    bool ok = output_begin(&out, c->out, c->target->is_folder, c->options->force, p->n_bytes,
                           c->err) &&
              work_do(p, &out, c->sink, c->err) && output_finish(&out, c->err);
    output_deinit(&out);
    if (ok && c->result)
        *c->result = (struct convert_result){weights_file_bytes(p->w), p->n_bytes, p->n_tensors,
                                             (double)(clock_now_ns() - begin_ns) / 1e9};
    return ok;
}

static bool convert_opened(const struct convert_way *c, const struct weights *w,
                           struct importance *importance)
{
    struct plan p;
    plan_init(&p, w, c->target);
    p.importance_path = c->options->importance;
    p.n_threads = c->options->n_threads;
    p.importance = importance;
    if (c->options->group)
        p.group = c->options->group;
    look_at_model(&p);
    bool ok = convert_plan(c, &p);
    plan_deinit(&p);
    return ok;
}

static bool check_options(struct convert_way *c)
{
    const uint32_t group = c->options->group;
    c->target = target_find(c->options->type, c->err);
    if (!c->target)
        return false;
    if (group && group != 32 && group != 64 && group != 128)
        return error_set(c->err, ERROR_USAGE, "groups are of 32, 64 or 128 weights, not of %u",
                         group);
    return output_check(c->out, c->target->is_folder, c->options->force, c->err);
}

bool convert_model(const char *in, const char *out, const struct convert_options *options,
                   const struct convert_sink *sink, struct convert_result *result,
                   struct error *err)
{
    struct convert_way c = {in, out, options, sink, NULL, result, err};
    struct importance *importance = NULL;
    if (!check_options(&c))
        return false;
    if (options->importance && !(importance = importance_open(options->importance, err)))
        return false;
    struct weights *w = weights_open(in, err);
    bool ok = w && convert_opened(&c, w, importance);
    weights_close(w);
    importance_close(importance);
    return ok;
}
