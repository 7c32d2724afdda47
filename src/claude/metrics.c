/* What the engine and the API have done and hold, in the text format that Prometheus reads
 * (prometheus.io, "Exposition formats", version 0.0.4). */
#include "claude/state.h"

#include <inttypes.h>

struct sample {
    const char *label; /* of `kind`; NULL: there is but one */
    uint64_t value;
};

static void metrics_put(struct buf *out, const char *name, const char *type, const char *help,
                        const char *label_name, const struct sample *samples, size_t n)
{
    buf_printf(out, "# HELP pensieve_%s %s\n# TYPE pensieve_%s %s\n", name, help, name, type);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "pensieve_%s", name);
        if (samples[i].label)
            buf_printf(out, "{%s=\"%s\"}", label_name, samples[i].label);
        buf_printf(out, " %" PRIu64 "\n", samples[i].value);
    }
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    const struct sample sample = {NULL, value};
    metrics_put(out, name, "counter", help, NULL, &sample, 1);
}

static void put_gauges(struct buf *out, const char *name, const char *help, const char *label_name,
                       const struct sample *samples, size_t n)
{
    metrics_put(out, name, "gauge", help, label_name, samples, n);
}

static void put_engine(struct buf *out, const struct engine_stats *s)
{
    const uint64_t n_used = s->kv_bytes_running + s->kv_bytes_kept;
    put_counter(out, "requests_total", "Requests taken in.", s->n_requests);
    put_counter(out, "tokens_computed_total", "Tokens of prompts, answers and guesses computed.",
                s->n_tokens_computed);
    put_counter(out, "tokens_cached_total", "Tokens of prompts that were computed before.",
                s->n_tokens_cached);
    put_counter(out, "tokens_generated_total", "Tokens sampled.", s->n_tokens_generated);
    put_counter(out, "tokens_guessed_total", "Tokens guessed from what was said before.",
                s->n_guessed);
    put_counter(out, "tokens_guessed_right_total", "Of them, those that were right.",
                s->n_guessed_right);
    put_counter(out, "pauses_total", "Requests that gave their pages back and waited.",
                s->n_pauses);
    const struct sample requests[] = {{"running", s->n_running}, {"waiting", s->n_queued}};
    put_gauges(out, "requests", "Requests at this moment.", "state", requests, 2);
    const struct sample pages[] = {{"running", s->kv_bytes_running},
                                   {"kept", s->kv_bytes_kept},
                                   {"free", s->kv_bytes_budget - n_used}};
    put_gauges(out, "kv_bytes", "The budget of the KV pages by their state.", "state", pages, 3);
    const struct sample disk = {NULL, s->disk_bytes};
    put_gauges(out, "kv_disk_bytes", "Files of the KV store.", NULL, &disk, 1);
}

static void put_memory(struct buf *out, const struct engine_memory *m)
{
    const struct sample kinds[] = {
        {"weights", m->weights}, {"kv", m->kv},     {"activations", m->activations},
        {"buffers", m->buffers}, {"heap", m->heap}, {"program", m->program},
    };
    const struct sample all = {NULL, m->resident};
    put_gauges(out, "memory_bytes", "Physical memory by what it holds.", "kind", kinds,
               sizeof kinds / sizeof *kinds);
    put_gauges(out, "resident_bytes", "Physical memory of the process.", NULL, &all, 1);
}

bool claude_metrics(struct claude *c, struct buf *out)
{
    struct engine_stats stats;
    struct engine_memory memory;
    struct claude_stats calls;
    engine_stats(c->engine, &stats);
    engine_memory(c->engine, &memory);
    claude_stats(c, &calls);
    put_engine(out, &stats);
    put_counter(out, "tool_calls_total", "Tool calls in answers.", calls.n_tool_calls);
    put_counter(out, "repeats_guarded_total", "Identical tool calls that were not handed on.",
                calls.n_repeats_guarded);
    put_counter(out, "tool_calls_cut_total", "Tool calls that were begun and never became whole.",
                calls.n_calls_cut);
    put_memory(out, &memory);
    return !buf_failed(out);
}
