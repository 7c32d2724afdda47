/* See loaded.h. */
#include "cli/loaded.h"

#include "backend/cpu/cpu.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/printable.h"
#include "cli/model_name.h"
#include "cli/recommended.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum { MAX_PATH_BYTES = 8192 };

/* Sampling where neither the catalogue nor the file recommends any: nearly greedy, as code wants
 * it. */
static const struct engine_sampling fallback_sampling = {.temperature = 0.2f, .top_p = 0.95f};

/* Models below this tend to repeat a tool call that has just succeeded. */
static const uint64_t small_model_params = 4000000000;

static bool loaded_find_file(struct loaded *l, const char *name, struct error *err)
{
    struct buf path;
    buf_init(&path, MAX_PATH_BYTES);
    bool ok = name ? store_resolve(name, &path, err) : store_preferred(&path, err);
    if (ok) {
        l->path = buf_steal(&path, NULL);
        ok = l->path || error_set(err, ERROR_NO_MEMORY, "out of memory");
    }
    buf_deinit(&path);
    return ok;
}

static void loaded_describe(struct loaded *l)
{
    struct stat st;
    struct weights_string title;
    if (!stat(l->path, &st))
        l->created_at = st.st_mtime;
    l->known = store_model_of_file(l->path, weights_file_bytes(l->weights));
    model_name(l->name, sizeof l->name, l->path, l->weights);
    snprintf(l->title, sizeof l->title, "%s", l->name);
    if (l->known) {
        snprintf(l->name, sizeof l->name, "%s", l->known->name);
        snprintf(l->title, sizeof l->title, "%s", l->known->title);
    } else if (weights_string(l->weights, "general.name", &title) && title.len) {
        if (!printable_strip(l->title, sizeof l->title, title.data, title.len))
            snprintf(l->title, sizeof l->title, "%s", l->name);
    }
}

/* What the command line says. */
static void take_options(struct engine_sampling *s, const struct loaded_options *o)
{
    const struct engine_sampling *said = &o->sampling;
    s->temperature = o->from.temperature ? said->temperature : s->temperature;
    s->top_p = o->from.top_p ? said->top_p : s->top_p;
    s->top_k = o->from.top_k ? said->top_k : s->top_k;
    s->min_p = o->from.min_p ? said->min_p : s->min_p;
    s->repeat_penalty = o->from.repeat_penalty ? said->repeat_penalty : s->repeat_penalty;
    s->frequency_penalty =
        o->from.frequency_penalty ? said->frequency_penalty : s->frequency_penalty;
    s->presence_penalty = o->from.presence_penalty ? said->presence_penalty : s->presence_penalty;
    s->seed = o->from.seed ? said->seed : s->seed;
}

/* In rising order of say: the fallback, the model's own files, the catalogue, the command line. */
static void choose_sampling(struct loaded *l, const struct loaded_options *o)
{
    struct engine_sampling *s = &l->sampling;
    *s = fallback_sampling;
    recommended_sampling(l->weights, s);
    l->repeat_guard = model_info(l->model)->n_params < small_model_params ? 1 : 3;
    if (l->known && l->known->has_advice) {
        s->temperature = l->known->advice.temperature;
        s->top_p = l->known->advice.top_p;
        s->top_k = l->known->advice.top_k;
        l->repeat_guard = l->known->advice.repeat_guard;
    }
    take_options(s, o);
    if (!o->from.seed && getentropy(&s->seed, sizeof s->seed))
        s->seed = (uint64_t)time(NULL);
}

static bool open_backend(struct loaded *l, const struct loaded_options *o, struct error *err)
{
    const struct backend_cpu_options cpu = {
        .n_threads = o->n_threads, .tier = o->cpu, .pin = o->pin};
    l->backend = backend_cpu_create(&cpu, err);
    if (!l->backend && o->from.cpu == SETTING_BY_ENVIRONMENT)
        return error_prefix(err, "PENSIEVE_CPU");
    return l->backend;
}

static bool open_model(struct loaded *l, const struct loaded_options *o, struct error *err)
{
    if (!loaded_find_file(l, o->model, err))
        return false;
    l->weights = weights_open(l->path, err);
    if (!l->weights)
        return false;
    if (!open_backend(l, o, err))
        return false;
    const struct model_options options = {.n_ctx = o->n_ctx};
    l->model = model_create(l->weights, l->backend, &options, err);
    if (!l->model)
        return error_prefix(err, "%s", l->path);
    loaded_describe(l);
    choose_sampling(l, o);
    return true;
}

static bool open_chat_template(struct loaded *l, const struct loaded_options *o, bool wants_chat,
                               struct error *err)
{
    struct buf source;
    buf_init(&source, RECOMMENDED_MAX_TEMPLATE);
    bool ok = recommended_template(l->weights, &source, NULL, err);
    if (!ok)
        error_prefix(err, "%s", l->path);
    else if (!source.len)
        ok = !wants_chat ||
             error_set(err, ERROR_UNSUPPORTED,
                       "%s has no chat template: it is a base model that only continues text "
                       "(pensieve run --raw)",
                       l->path);
    else if (!(l->chat_template = chat_template_create(source.data, source.len, err)))
        ok = error_prefix(err, "%s: the chat template", l->path);
    else if (o->template_vars)
        ok = chat_template_set_variables(l->chat_template, o->template_vars, err) ||
             error_prefix(err, "--template-vars");
    buf_deinit(&source);
    return ok;
}

static bool open_engine(struct loaded *l, const struct loaded_options *o, bool wants_chat,
                        struct error *err)
{
    struct engine_options options = {.n_ctx = o->n_ctx,
                                     .kv_bytes = o->kv_memory,
                                     .kv_type = (enum backend_kv_type)o->kv_type,
                                     .disk_bytes = o->kv_disk,
                                     .kv_advice = "--ctx, --kv-type q8_0 or --kv-memory SIZE "
                                                  "change that",
                                     .never_guesses = o->never_guesses};
    struct buf folder;
    l->tokenizer = tokenizer_create(l->weights, err);
    if (!l->tokenizer)
        return error_prefix(err, "%s", l->path);
    if (!open_chat_template(l, o, wants_chat, err))
        return false;
    buf_init(&folder, MAX_PATH_BYTES);
    if (o->keeps_on_disk && store_kv_dir(&folder, err)) {
        weights_fingerprint(l->weights, options.fingerprint);
        options.disk_folder = folder.data;
    } else if (o->keeps_on_disk) {
        log_warn("no prefixes are kept on disk: %s", err->message);
    }
    l->engine = engine_create(l->model, l->backend, l->tokenizer, &options, err);
    buf_deinit(&folder);
    return l->engine;
}

bool loaded_open_model(struct loaded *l, const struct loaded_options *options, struct error *err)
{
    *l = (struct loaded){0};
    if (open_model(l, options, err))
        return true;
    loaded_close(l);
    return false;
}

bool loaded_open(struct loaded *l, const struct loaded_options *options, bool wants_chat,
                 struct error *err)
{
    if (!loaded_open_model(l, options, err))
        return false;
    if (open_engine(l, options, wants_chat, err))
        return true;
    loaded_close(l);
    return false;
}

void loaded_close(struct loaded *l)
{
    engine_destroy(l->engine);
    chat_template_destroy(l->chat_template);
    tokenizer_destroy(l->tokenizer);
    model_destroy(l->model);
    if (l->backend)
        l->backend->ops->destroy(l->backend);
    weights_close(l->weights);
    free(l->path);
    *l = (struct loaded){0};
}
