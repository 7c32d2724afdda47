/* Requests and the thread: taking them in, cancelling them, waking for work. What a step computes
 * is in step.c. */
#include "engine/engine.h"

#include "base/log.h"
#include "base/memory.h"
#include "engine/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DEFAULT_RUNNING = 8,
    DEFAULT_QUEUED = 256,
    DEFAULT_PREFILL_ROWS = 512,
    KEPT_CONTEXTS = 4, /* whole contexts that the default KV budget holds, memory permitting */
};

void request_list_append(struct request_list *list, struct request *r)
{
    r->next = NULL;
    *list->last = r;
    list->last = &r->next;
    list->n++;
}

void request_list_prepend(struct request_list *list, struct request *r)
{
    r->next = list->first;
    list->first = r;
    if (!r->next)
        list->last = &r->next;
    list->n++;
}

void request_list_remove(struct request_list *list, struct request *r)
{
    struct request **at = &list->first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (list->last == &r->next)
        list->last = at;
    r->next = NULL;
    list->n--;
}

static void request_list_init(struct request_list *list)
{
    *list = (struct request_list){0};
    list->last = &list->first;
}

/* ---- the thread ---- */

static struct request *next_cancelled(struct request_list *list)
{
    for (struct request *r = list->first; r; r = r->next)
        if (atomic_load(&r->cancelled))
            return r;
    return NULL;
}

static void end_cancelled(struct engine *e)
{
    struct error err;
    error_set(&err, ERROR_CANCELLED, "the request was cancelled");
    for (;;) {
        pthread_mutex_lock(&e->lock);
        struct request_list *list = &e->queued;
        struct request *r = next_cancelled(list);
        if (!r) {
            list = &e->running;
            r = next_cancelled(list);
        }
        if (r)
            request_list_remove(list, r);
        pthread_mutex_unlock(&e->lock);
        if (!r)
            return;
        request_fail(e, r, &err);
    }
}

/* Moves waiting requests among the running, in order, as long as there is room. */
static void admit_queued(struct engine *e)
{
    for (;;) {
        pthread_mutex_lock(&e->lock);
        struct request *r = e->running.n < e->options.n_running ? e->queued.first : NULL;
        pthread_mutex_unlock(&e->lock);
        if (!r || !step_admit(e, r)) {
            e->is_stuck = r && !e->running.first;
            return;
        }
        pthread_mutex_lock(&e->lock);
        request_list_remove(&e->queued, r);
        request_list_append(&e->running, r);
        pthread_mutex_unlock(&e->lock);
    }
}

/* Under the lock: goes on, before all others that are queued. */
static void stop_waiting(struct engine *e, struct request *r)
{
    request_list_remove(&e->waiting, r);
    request_list_prepend(&e->queued, r);
    e->has_news = true;
    pthread_cond_signal(&e->work);
}

static void cancel_all(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    while (e->waiting.first)
        stop_waiting(e, e->waiting.first);
    for (struct request *r = e->queued.first; r; r = r->next)
        atomic_store(&r->cancelled, true);
    for (struct request *r = e->running.first; r; r = r->next)
        atomic_store(&r->cancelled, true);
    pthread_mutex_unlock(&e->lock);
    end_cancelled(e);
}

static void note_pages(struct engine *e)
{
    const uint64_t page_bytes = e->prefixes.page_bytes;
    const uint32_t n_used = e->pages.n_pages - e->pages.n_free, n_kept = e->prefixes.n_in_memory;
    pthread_mutex_lock(&e->lock);
    e->stats.kv_bytes_running = (n_used - n_kept) * page_bytes;
    e->stats.kv_bytes_kept = n_kept * page_bytes;
    e->stats.disk_bytes = e->disk ? disk_tier_bytes(e->disk) : 0;
    pthread_mutex_unlock(&e->lock);
}

/* False: it is to stop. */
static bool wait_for_work(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    while (!e->stopping && !e->running.first && (!e->queued.first || (e->is_stuck && !e->has_news)))
        pthread_cond_wait(&e->work, &e->lock);
    const bool stopping = e->stopping;
    e->has_news = false;
    pthread_mutex_unlock(&e->lock);
    return !stopping;
}

/* On the disk's thread: a page that it held is free. */
static void on_written(void *context)
{
    struct engine *e = context;
    pthread_mutex_lock(&e->lock);
    e->has_news = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

static void *engine_thread(void *arg)
{
    struct engine *e = arg;
    while (wait_for_work(e)) {
        end_cancelled(e);
        step_begin(e);
        admit_queued(e);
        step_run(e);
        note_pages(e);
    }
    cancel_all(e);
    return NULL;
}

/* ---- creation ---- */

static uint64_t default_kv_bytes(const struct engine *e, uint64_t context_bytes)
{
    uint64_t memory = e->options.memory_bytes;
    if (!memory)
        memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t wanted = KEPT_CONTEXTS * context_bytes;
    return wanted < memory / 4 ? wanted : memory / 4;
}

/* Pages that a context of n_ctx tokens takes, and one more for a copied tail. */
static uint64_t context_pages(const struct engine *e, uint32_t n_ctx)
{
    const uint32_t n_pages = sequence_pages_for(n_ctx), most = e->most_pages;
    return (uint64_t)(most && most < n_pages ? most : n_pages) + 1;
}

static void write_gib(char *out, size_t size, uint64_t n_bytes)
{
    if (n_bytes >> 30)
        snprintf(out, size, "%.1f GiB", (double)n_bytes / (1 << 30));
    else if (n_bytes >> 20)
        snprintf(out, size, "%.1f MiB", (double)n_bytes / (1 << 20));
    else
        snprintf(out, size, "%.1f KiB", (double)n_bytes / (1 << 10));
}

/* Is there room for a whole context? If not: an error when the context was asked for, else as much
 * of it as has. */
static bool fit_context(struct engine *e, uint64_t page_bytes, bool is_asked_for, struct error *err)
{
    enum { LEAST_PAGES = 2 };
    struct engine_options *o = &e->options;
    const uint64_t n_pages = o->kv_bytes / page_bytes, n_context = context_pages(e, o->n_ctx);
    const uint64_t n_fit = n_pages ? (n_pages - 1) * BACKEND_PAGE_TOKENS : 0;
    const char *advice = o->kv_advice ? o->kv_advice : "", *dash = o->kv_advice ? "; " : "";
    char needed[32], budget[32];
    if (n_context <= n_pages)
        return true;
    write_gib(needed, sizeof needed, n_context * page_bytes);
    write_gib(budget, sizeof budget, o->kv_bytes);
    if (is_asked_for || n_pages < LEAST_PAGES + 1)
        return error_set(err, ERROR_TOO_LARGE,
                         "a context of %u tokens needs %s of keys and values, more than %s: "
                         "%" PRIu64 " tokens fit%s%s",
                         o->n_ctx, needed, budget, n_fit, dash, advice);
    log_info("a context of %u tokens needs %s of keys and values, more than %s: using %" PRIu64
             " tokens%s%s",
             o->n_ctx, needed, budget, n_fit, dash, advice);
    o->n_ctx = (uint32_t)n_fit;
    return true;
}

/* Everything that the content of a page depends on, beside its tokens. */
static void describe_pages(const struct engine *e, char *out, size_t size)
{
    const uint64_t *file = e->options.fingerprint;
    snprintf(out, size,
             "model %016" PRIx64 "%016" PRIx64 ", %s, kv type %d in pages of %d tokens, %s",
             file[0], file[1], model_kv_identity(e->model), (int)e->options.kv_type,
             BACKEND_PAGE_TOKENS, e->be->ops->kv_identity(e->be));
}

/* Without it everything works, but a restart begins with nothing. */
static struct disk_tier *open_disk(struct engine *e, uint64_t page_bytes)
{
    char identity[1024];
    struct error err = {0};
    if (!e->options.disk_folder)
        return NULL;
    describe_pages(e, identity, sizeof identity);
    const struct disk_options options = {e->options.disk_folder, identity, e->options.disk_bytes,
                                         on_written, e};
    struct disk_tier *disk = disk_tier_open(&options, page_bytes, &err);
    if (!disk)
        log_info("no prefixes are kept on disk: %s", err.message);
    return disk;
}

/* How much there may be of the keys and values, and the context that has room in it. */
static bool plan_pool(struct engine *e, uint64_t page_bytes, bool is_context_asked_for,
                      struct error *err)
{
    struct engine_options *o = &e->options;
    const uint32_t window = model_info(e->model)->window;
    if (window) /* what a row sees and what one step computes, from within a page on */
        e->most_pages = sequence_pages_for(window + o->prefill_rows) + 1;
    if (!o->kv_bytes)
        o->kv_bytes = default_kv_bytes(e, context_pages(e, o->n_ctx) * page_bytes);
    return fit_context(e, page_bytes, is_context_asked_for, err);
}

static bool create_pool(struct engine *e, bool is_context_asked_for, struct error *err)
{
    struct backend_kv_shape shape = model_kv_shape(e->model);
    shape.type = e->options.kv_type;
    uint64_t page_bytes = e->be->ops->kv_page_bytes(e->be, &shape);
    if (!plan_pool(e, page_bytes, is_context_asked_for, err))
        return false;
    uint64_t n_pages = e->options.kv_bytes / page_bytes;
    if (n_pages > UINT32_MAX / 2)
        n_pages = UINT32_MAX / 2;
    shape.n_pages = (uint32_t)n_pages;
    if (!e->be->ops->kv_init(e->be, &shape, err))
        return false;
    e->stats.kv_bytes_budget = n_pages * page_bytes;
    if (!kv_pages_init(&e->pages, shape.n_pages))
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the KV pool's tables");
    e->disk = open_disk(e, page_bytes);
    prefix_tree_init(&e->prefixes, &e->pages, e->be, page_bytes, model_info(e->model)->window,
                     e->disk);
    note_pages(e);
    return true;
}

static size_t logits_bytes(const struct engine *e)
{
    return (size_t)(e->options.n_running + ENGINE_MAX_GUESSES) * e->n_vocab * sizeof *e->logits;
}

static bool create_buffers(struct engine *e, struct error *err)
{
    char path[4200];
    if (e->disk)
        snprintf(path, sizeof path, "%s/history", disk_tier_folder(e->disk));
    e->history = history_create(e->disk ? path : NULL, err);
    if (!e->history)
        return false;
    e->logits = memory_map(logits_bytes(e), "logits", err);
    if (!e->logits)
        return false;
    e->rows = calloc(BACKEND_MAX_ROWS, sizeof *e->rows);
    e->sequences = calloc(e->options.n_running, sizeof *e->sequences);
    e->schedule = calloc(1, sizeof *e->schedule);
    if (!e->rows || !e->sequences || !e->schedule || !sampler_init(&e->sampler, e->n_vocab) ||
        !penalties_init(&e->penalties, e->n_vocab))
        return error_set(err, ERROR_NO_MEMORY, "out of memory for the engine's buffers");
    return masks_init(&e->masks, err);
}

static bool set_options(struct engine *e, const struct engine_options *options, struct error *err)
{
    struct engine_options *o = &e->options;
    *o = *options;
    uint32_t n_ctx_train = model_info(e->model)->n_ctx_train;
    if (!o->n_ctx)
        o->n_ctx = n_ctx_train;
    if (o->n_ctx > n_ctx_train)
        return error_set(err, ERROR_USAGE, "a context of %u tokens: this model was made for %u",
                         o->n_ctx, n_ctx_train);
    o->n_running = o->n_running ? o->n_running : DEFAULT_RUNNING;
    o->n_queued = o->n_queued ? o->n_queued : DEFAULT_QUEUED;
    o->prefill_rows = HOSTILE ? 1 : o->prefill_rows ? o->prefill_rows : DEFAULT_PREFILL_ROWS;
    const uint32_t max_rows = e->be->traits.max_rows;
    if (o->n_running > max_rows / 2)
        o->n_running = max_rows / 2;
    if (o->prefill_rows > max_rows)
        o->prefill_rows = max_rows;
    return true;
}

static void engine_free(struct engine *e)
{
    disk_tier_close(e->disk);
    prefix_tree_deinit(&e->prefixes);
    history_destroy(e->history);
    kv_pages_deinit(&e->pages);
    sampler_deinit(&e->sampler);
    penalties_deinit(&e->penalties);
    masks_deinit(&e->masks);
    memory_unmap(e->logits, logits_bytes(e));
    free(e->rows);
    free(e->sequences);
    free(e->schedule);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->work);
    free(e);
}

struct engine *engine_create(struct model *m, struct backend *be, const struct tokenizer *t,
                             const struct engine_options *options, struct error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) {
        error_set(err, ERROR_NO_MEMORY, "out of memory for the engine");
        return NULL;
    }
    e->model = m;
    e->be = be;
    e->tokenizer = t;
    e->n_vocab = model_info(m)->n_vocab;
    e->pace.tile = be->traits.tile_rows;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    request_list_init(&e->queued);
    request_list_init(&e->running);
    request_list_init(&e->waiting);
    bool ok = set_options(e, options, err) && create_pool(e, options->n_ctx, err) &&
              create_buffers(e, err);
    if (ok && pthread_create(&e->thread, NULL, engine_thread, e))
        ok = error_set(err, ERROR_NO_MEMORY, "cannot start the engine's thread");
    if (!ok) {
        engine_free(e);
        return NULL;
    }
    return e;
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    engine_free(e);
}

/* ---- requests ---- */

static bool check_request(const struct engine *e, const struct engine_request *ask,
                          struct error *err)
{
    if (!ask->n_tokens)
        return error_set(err, ERROR_INPUT, "the prompt is empty");
    if (ask->n_tokens >= e->options.n_ctx) /* at least one token must fit behind it */
        return error_set(err, ERROR_TOO_LARGE, "prompt is too long: %zu tokens > %u maximum",
                         ask->n_tokens, e->options.n_ctx - 1);
    for (size_t i = 0; i < ask->n_tokens; i++)
        if (ask->tokens[i] < 0 || (uint32_t)ask->tokens[i] >= e->n_vocab)
            return error_set(err, ERROR_INPUT, "token %d at %zu is not in the vocabulary",
                             ask->tokens[i], i);
    if (ask->n_biases > ENGINE_MAX_BIASES)
        return error_set(err, ERROR_INPUT, "%u biases: at most %d", ask->n_biases,
                         ENGINE_MAX_BIASES);
    for (uint32_t i = 0; i < ask->n_biases; i++)
        if (ask->biases[i].token < 0 || (uint32_t)ask->biases[i].token >= e->n_vocab)
            return error_set(err, ERROR_INPUT, "biased token %d is not in the vocabulary",
                             ask->biases[i].token);
    return true;
}

void request_free(struct request *r)
{
    free((void *)r->ask.biases);
    sequence_free(&r->sequence);
    free(r);
}

static bool copy_biases(struct request *r, const struct engine_request *ask)
{
    struct engine_bias *biases = NULL;
    if (ask->n_biases && !(biases = malloc(ask->n_biases * sizeof *biases)))
        return false;
    if (biases)
        memcpy(biases, ask->biases, ask->n_biases * sizeof *biases);
    r->ask.biases = biases;
    return true;
}

static struct request *request_create(const struct engine *e, const struct engine_request *ask,
                                      struct error *err)
{
    struct request *r = calloc(1, sizeof *r);
    uint32_t n_prompt = (uint32_t)ask->n_tokens, room = e->options.n_ctx - n_prompt;
    if (r) {
        r->ask = *ask;
        r->ask.tokens = NULL;
        r->n_prompt = n_prompt;
        if (copy_biases(r, ask) && sequence_init(&r->sequence, ask->tokens, n_prompt, room))
            return r;
        request_free(r);
    }
    error_set(err, ERROR_NO_MEMORY, "out of memory for a request");
    return NULL;
}

uint64_t engine_submit(struct engine *e, const struct engine_request *ask, struct error *err)
{
    if (!check_request(e, ask, err))
        return 0;
    struct request *r = request_create(e, ask, err);
    if (!r)
        return 0;
    pthread_mutex_lock(&e->lock);
    bool full = e->queued.n >= e->options.n_queued || e->stopping;
    uint64_t ticket = 0;
    if (!full) {
        ticket = r->ticket = ++e->last_ticket;
        e->stats.n_requests++;
        request_list_append(&e->queued, r);
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    if (full) {
        error_set(err, ERROR_BUSY, "%u requests are waiting already", e->options.n_queued);
        request_free(r);
    }
    return ticket;
}

static struct request *find_ticket(const struct request_list *list, uint64_t ticket)
{
    struct request *r = list->first;
    while (r && r->ticket != ticket)
        r = r->next;
    return r;
}

void engine_cancel(struct engine *e, uint64_t ticket)
{
    struct request *r;
    pthread_mutex_lock(&e->lock);
    if ((r = find_ticket(&e->waiting, ticket)))
        stop_waiting(e, r);
    if ((r = find_ticket(&e->queued, ticket)) || (r = find_ticket(&e->running, ticket))) {
        atomic_store(&r->cancelled, true);
        e->has_news = true;
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
}

void engine_resume(struct engine *e, uint64_t ticket)
{
    struct request *r;
    pthread_mutex_lock(&e->lock);
    if ((r = find_ticket(&e->waiting, ticket)))
        stop_waiting(e, r);
    else if ((r = find_ticket(&e->running, ticket)))
        r->is_resumed = true;
    pthread_mutex_unlock(&e->lock);
}

void engine_remember(struct engine *e, uint64_t space, const uint64_t identity[2],
                     const int32_t *tokens, size_t n)
{
    history_remember(e->history, space, identity, tokens, n);
}

int32_t *engine_recall(struct engine *e, uint64_t space, const uint64_t identity[2], size_t *n)
{
    return history_recall(e->history, space, identity, n);
}

uint32_t engine_n_ctx(const struct engine *e)
{
    return e->options.n_ctx;
}

void engine_stats(struct engine *e, struct engine_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    out->n_running = e->running.n;
    out->n_queued = e->queued.n;
    out->n_waiting = e->waiting.n;
    pthread_mutex_unlock(&e->lock);
}

void engine_memory(struct engine *e, struct engine_memory *out)
{
    struct memory_process process;
    struct backend_memory be;
    memory_of_process(&process);
    e->be->ops->memory(e->be, &be);
    *out = (struct engine_memory){
        .weights = weights_resident_bytes(model_weights(e->model)) + model_made_bytes(e->model),
        .kv = be.kv,
        .activations = be.activations,
        .buffers = be.buffers + memory_resident(e->logits, logits_bytes(e)),
        .heap = process.heap,
        .resident = process.resident,
    };
    if (process.resident_file > out->weights)
        out->program = process.resident_file - out->weights;
}
