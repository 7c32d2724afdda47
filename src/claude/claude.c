#include "claude/claude.h"

#include "claude/events.h"
#include "chat/json_text.h"
#include "chat/repeat_guard.h"
#include "claude/request.h"
#include "claude/state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_KEEP_ALIVE_MS = 60000, DEFAULT_PING_MS = 10000, DEFAULT_STREAM_BYTES = 256 << 10 };

/* ---- creation ---- */

static bool no_memory(struct error *err)
{
    return error_set(err, ERROR_NO_MEMORY, "out of memory for the model's API");
}

static bool copy_options(struct claude *c, const struct claude_options *options, struct error *err)
{
    c->options = *options;
    c->options.model_id = strdup(options->model_id);
    c->options.display_name =
        strdup(options->display_name ? options->display_name : options->model_id);
    if (!c->options.keep_alive_ms)
        c->options.keep_alive_ms = DEFAULT_KEEP_ALIVE_MS;
    if (!c->options.ping_ms)
        c->options.ping_ms = DEFAULT_PING_MS;
    if (!c->options.stream_bytes)
        c->options.stream_bytes = DEFAULT_STREAM_BYTES;
    return (c->options.model_id && c->options.display_name) || no_memory(err);
}

static bool create_masks(struct claude *c, struct error *err)
{
    c->mask_start = repeat_guard_mask(c->tokenizer, &dialects_known, true, &c->n_mask_words);
    c->mask_line = repeat_guard_mask(c->tokenizer, &dialects_known, false, &c->n_mask_words);
    return (c->mask_start && c->mask_line) || no_memory(err);
}

struct claude *claude_create(struct engine *engine, const struct tokenizer *tokenizer,
                             const struct chat_template *chat_template,
                             const struct claude_options *options, struct error *err)
{
    struct claude *c = calloc(1, sizeof *c);
    if (!c) {
        no_memory(err);
        return NULL;
    }
    c->engine = engine;
    c->tokenizer = tokenizer;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->idle, NULL);
    if (!copy_options(c, options, err) || !create_masks(c, err) ||
        !prompt_init(&c->prompt, tokenizer, chat_template, &dialects_known, err)) {
        claude_destroy(c);
        return NULL;
    }
    return c;
}

/* Calls that were ended may still be on their way out of the engine. */
static void wait_until_idle(struct claude *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->n_live)
        pthread_cond_wait(&c->idle, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void claude_destroy(struct claude *c)
{
    if (!c)
        return;
    wait_until_idle(c);
    prompt_deinit(&c->prompt);
    free(c->mask_start);
    free(c->mask_line);
    free((char *)c->options.model_id);
    free((char *)c->options.display_name);
    pthread_cond_destroy(&c->idle);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void claude_stats(const struct claude *c, struct claude_stats *out)
{
    *out = (struct claude_stats){atomic_load(&c->n_calls), atomic_load(&c->n_tool_calls),
                                 atomic_load(&c->n_calls_without_markers),
                                 atomic_load(&c->n_repeats_guarded), atomic_load(&c->n_calls_cut)};
}

/* ---- errors ---- */

int claude_error_status(enum error_code code)
{
    return events_error_status(code);
}

void claude_error_body(struct buf *out, int status, const struct error *err, const char *request_id)
{
    events_error_body(out, status, err, request_id);
}

/* ---- what the model said ---- */

int32_t *claude_recall(void *claude, const uint64_t identity[2], size_t *n)
{
    const struct claude *c = claude;
    return engine_recall(c->engine, 0, identity, n);
}

/* ---- counting ---- */

bool claude_count_tokens(struct claude *c, const char *body, size_t n_bytes, struct buf *out,
                         struct error *err)
{
    struct request r;
    struct token_list tokens = {0};
    if (!request_parse(&r, body, n_bytes, true, err))
        return false;
    const struct prompt_memory memory = {claude_recall, c};
    bool ok = prompt_tokens(&c->prompt, &r.conversation, &memory, &tokens, err);
    if (ok)
        ok = buf_printf(out, "{\"input_tokens\":%zu}", tokens.n) || no_memory(err);
    token_list_deinit(&tokens);
    request_deinit(&r);
    return ok;
}

/* ---- models ---- */

static void put_model(const struct claude *c, const char *id, struct buf *out)
{
    char created[32];
    time_t seconds = (time_t)c->options.created_at;
    struct tm t;
    if (!gmtime_r(&seconds, &t) || !strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &t))
        strcpy(created, "1970-01-01T00:00:00Z");
    buf_puts(out, "{\"type\":\"model\",\"id\":");
    json_text_string(out, id, strlen(id));
    buf_puts(out, ",\"display_name\":");
    json_text_string(out, c->options.display_name, strlen(c->options.display_name));
    uint32_t n_ctx = engine_n_ctx(c->engine);
    buf_printf(out, ",\"created_at\":\"%s\",\"max_input_tokens\":%u,\"max_tokens\":%u}", created,
               n_ctx - 1, n_ctx);
}

bool claude_models(struct claude *c, struct buf *out)
{
    const char *id = c->options.model_id;
    buf_puts(out, "{\"data\":[");
    put_model(c, id, out);
    buf_puts(out, "],\"has_more\":false,\"first_id\":");
    json_text_string(out, id, strlen(id));
    buf_puts(out, ",\"last_id\":");
    json_text_string(out, id, strlen(id));
    buf_putc(out, '}');
    return !buf_failed(out);
}

/* Any name is answered by the loaded model, so any name is known. */
bool claude_model(struct claude *c, const char *id, struct buf *out, struct error *err)
{
    if (!*id)
        return error_set(err, ERROR_NOT_FOUND, "model: a name is missing");
    put_model(c, id, out);
    return !buf_failed(out) || no_memory(err);
}
