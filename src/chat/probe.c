#include "chat/probe.h"

#include "chat/trial.h"

#include <string.h>

/* Each step tries the conversation as it is. Where that is not shown, or the template raises, the
 * repair is made, and kept if it helps. The order is that of docs/templates.md. */

static void probe_repair(struct render_setup *s, bool *repair, const char *pattern)
{
    if (*repair || trial_shows(s, pattern, s->format.tools))
        return;
    *repair = true;
    *repair = trial_shows(s, pattern, s->format.tools);
}

/* Calls and results, with ids and arguments as they are, or as the template wants them. */
static bool probe_calls(struct render_setup *s)
{
    struct dialog_format *f = &s->format;
    for (unsigned i = 0; i < 4; i++) {
        f->arguments_as_text = i & 1;
        f->short_ids = i & 2;
        if (trial_shows(s, "ucr", false))
            return true;
    }
    f->arguments_as_text = f->short_ids = false;
    return false;
}

static void probe_tools(struct render_setup *s)
{
    struct dialog_format *f = &s->format;
    f->tools = true;
    f->tools = trial_shows(s, "u", true) && probe_calls(s);
    if (!f->tools)
        return;
    probe_repair(s, &f->one_call, "uccrr");
    if (!f->arguments_as_text)
        probe_repair(s, &f->arguments_as_text, "uCr");
}

static bool shows_thoughts(const struct render_setup *s, const char *pattern, bool is_closed)
{
    const struct trial_options o = {.is_closed = is_closed};
    char word[TRIAL_WORD_BYTES];
    trial_word(word, pattern, 1);
    return trial_has(s, pattern, &o, word);
}

/* Thoughts are shown before the result of their call, if anywhere, or at the end. */
static void probe_thoughts(struct render_setup *s)
{
    struct dialog_format *f = &s->format;
    for (f->thoughts = 0; f->thoughts < DIALOG_THOUGHTS_END; f->thoughts++)
        if ((f->tools && shows_thoughts(s, "utcr", false)) || shows_thoughts(s, "uta", true) ||
            shows_thoughts(s, "utau", false))
            return;
    f->thoughts = DIALOG_REASONING_CONTENT;
}

/* A conversation that begins with an answer, or a call, and one in which nobody but the system
 * speaks. */
static void probe_opening(struct render_setup *s)
{
    static const char *const openings[] = {NULL, "", "."};
    const char *const begun = s->format.system ? "Sau" : "au";
    size_t best = 0, best_score = 0;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        s->format.opening = openings[i];
        const size_t score = (size_t)trial_shows(s, begun, false) + trial_shows(s, "S", false) +
                             trial_shows(s, "cr", s->format.tools);
        best = score > best_score ? i : best;
        best_score = score > best_score ? score : best_score;
    }
    s->format.opening = openings[best];
}

static unsigned probe_dialects(const struct render_setup *s, const struct dialects *dialects)
{
    const struct trial_options o = {.has_tools = false};
    unsigned found = 0;
    for (size_t i = 0; i < dialects->n; i++)
        if (trial_has(s, "ucr", &o, dialects->rows[i]->open))
            found |= 1u << i;
    return found;
}

void probe_format(struct render_setup *s, const struct dialects *dialects, unsigned *own_dialects)
{
    struct dialog_format *f = &s->format;
    *f = (struct dialog_format){.dialect = dialects->rows[0], .system = true, .mid_system = true};
    probe_repair(s, &f->functions, "u");
    probe_repair(s, &f->empty_tools, "u");
    probe_repair(s, &f->parts, "u");
    f->system = trial_shows(s, "Su", false);
    probe_tools(s);
    f->mid_system = f->system && trial_shows(s, "Susau", false) && trial_keeps(s, "Susau", 2) &&
                    trial_keeps(s, "usau", 1);
    probe_thoughts(s);
    if (f->tools) {
        probe_repair(s, &f->joins_thoughts, "utacr");
        probe_repair(s, &f->folds_user, "ucru");
        probe_repair(s, &f->results_first, "ucrar");
        probe_repair(s, &f->results_first, "ucur");
        probe_repair(s, &f->answers_calls, "ucu");
        probe_repair(s, &f->results_first, "ucuar");
    }
    probe_opening(s);
    *own_dialects = f->tools ? probe_dialects(s, dialects) : 1;
}

void probe_name_repairs(const struct dialog_format *f, struct buf *out)
{
    const struct {
        const char *name;
        bool is_used;
    } repairs[] = {
        {"tools as functions", f->functions},
        {"an empty list of tools", f->empty_tools},
        {"content as parts", f->parts},
        {"system prompt said by the first user", !f->system},
        {"tools in words", !f->tools},
        {"arguments as text", f->arguments_as_text},
        {"short call ids", f->short_ids},
        {"one call a message", f->one_call},
        {"later system messages said by users", f->system && !f->mid_system},
        {"text beside calls joins the thoughts", f->joins_thoughts},
        {"users end results", f->folds_user},
        {"results first", f->results_first},
        {"calls are answered", f->answers_calls},
        {"a user opens", f->opening != NULL},
    };
    for (size_t i = 0, n = 0; i < sizeof repairs / sizeof *repairs; i++)
        if (repairs[i].is_used)
            buf_printf(out, "%s%s", n++ ? ", " : "", repairs[i].name);
}
