/* The stages of a pre-tokenizer, as Hugging Face's tokenizers apply them (pre_tokenizers/ and
 * tokenizer/normalizer.rs there), and llama.cpp those of GGUF files. See pre_tokenizer.h. */
#include "text/pre_tokenizer.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STAGES = 16, MAX_MARK = 4 };

enum stage_kind { STAGE_REGEX, STAGE_SPACE, STAGE_SPACES };

struct stage {
    enum stage_kind kind;
    struct regex *regex;
    enum pre_tokenizer_behavior behavior;
    bool invert;
    enum pre_tokenizer_scheme scheme;
    bool split;
    char mark[MAX_MARK]; /* [n_mark] */
    size_t n_mark;
};

struct pre_tokenizer {
    struct stage stages[MAX_STAGES];
    size_t n;
};

struct pre_tokenizer *pre_tokenizer_create(struct error *err)
{
    struct pre_tokenizer *p = calloc(1, sizeof *p);
    if (!p)
        error_set(err, ERROR_NO_MEMORY, "out of memory");
    return p;
}

void pre_tokenizer_destroy(struct pre_tokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        regex_destroy(p->stages[i].regex);
    free(p);
}

static bool add_stage(struct pre_tokenizer *p, struct stage stage, struct error *err)
{
    if (p->n == MAX_STAGES) {
        regex_destroy(stage.regex);
        return error_set(err, ERROR_UNSUPPORTED, "more than %d pre-tokenizers in a row",
                         MAX_STAGES);
    }
    p->stages[p->n++] = stage;
    return true;
}

bool pre_tokenizer_add_regex(struct pre_tokenizer *p, struct regex *r,
                             enum pre_tokenizer_behavior behavior, bool invert, struct error *err)
{
    struct stage stage = {.kind = STAGE_REGEX, .regex = r, .behavior = behavior, .invert = invert};
    return add_stage(p, stage, err);
}

bool pre_tokenizer_add_space(struct pre_tokenizer *p, struct error *err)
{
    return add_stage(p, (struct stage){.kind = STAGE_SPACE}, err);
}

bool pre_tokenizer_add_spaces(struct pre_tokenizer *p, const char *mark, size_t n_mark,
                              enum pre_tokenizer_scheme scheme, bool split, struct error *err)
{
    struct stage stage = {.kind = STAGE_SPACES, .scheme = scheme, .split = split, .n_mark = n_mark};
    if (!n_mark || n_mark > MAX_MARK)
        return error_set(err, ERROR_FORMAT, "a mark for spaces of %zu bytes", n_mark);
    memcpy(stage.mark, mark, n_mark);
    return add_stage(p, stage, err);
}

struct split {
    const struct pre_tokenizer *p;
    struct regex_scratch *match; /* one for all stages: it is read before the next match */
    struct buf rewritten[MAX_STAGES];
    pre_tokenizer_sink *sink;
    void *context;
};

static bool split_from(struct split *s, size_t stage, const char *text, size_t n_bytes, bool first);

/* The parts of a piece, matches and what lies between, on their way to the next stage. One waits
 * for what comes after it. */
struct parts {
    struct split *s;
    size_t stage; /* the one that cuts */
    const char *text;
    bool first;
    size_t begin, end; /* of the one that waits; none if they are equal */
    bool waits_match;
};

static bool parts_flush(struct parts *w)
{
    size_t begin = w->begin, end = w->end;
    w->begin = w->end;
    return begin == end ||
           split_from(w->s, w->stage + 1, w->text + begin, end - begin, w->first && !begin);
}

/* Does a part join the one that waits? */
static bool parts_join(const struct parts *w, enum pre_tokenizer_behavior behavior, bool is_match)
{
    switch (behavior) {
    case PRE_TOKENIZER_MERGED_WITH_PREVIOUS:
        return is_match && !w->waits_match;
    case PRE_TOKENIZER_MERGED_WITH_NEXT:
        return !is_match && w->waits_match;
    case PRE_TOKENIZER_CONTIGUOUS:
        return is_match == w->waits_match;
    default:
        return false;
    }
}

static bool parts_take(struct parts *w, size_t begin, size_t end, bool is_match)
{
    const struct stage *stage = &w->s->p->stages[w->stage];
    if (begin == end)
        return true;
    is_match ^= stage->invert;
    if (stage->behavior == PRE_TOKENIZER_REMOVED && is_match)
        return parts_flush(w);
    if (w->begin == w->end || !parts_join(w, stage->behavior, is_match)) {
        if (!parts_flush(w))
            return false;
        w->begin = begin;
    }
    w->end = end;
    w->waits_match = is_match;
    return true;
}

/* Each stage sees a piece of the one before alone: what lies behind its end is the end of the text
 * to it. Where the matcher gives up, the rest is one part. */
static bool split_by_regex(struct split *s, size_t stage, const char *text, size_t n_bytes,
                           bool first)
{
    struct parts w = {.s = s, .stage = stage, .text = text, .first = first};
    size_t done = 0, begin, end;
    while (done < n_bytes &&
           regex_next(s->p->stages[stage].regex, s->match, text, n_bytes, done, &begin, &end)) {
        if (!parts_take(&w, done, begin, false) || !parts_take(&w, begin, end, true))
            return false;
        done = end;
    }
    return parts_take(&w, done, n_bytes, false) && parts_flush(&w);
}

static bool put_space_first(struct split *s, size_t stage, const char *text, size_t n_bytes,
                            bool first)
{
    struct buf *b = &s->rewritten[stage];
    if (*text == ' ')
        return split_from(s, stage + 1, text, n_bytes, first);
    buf_clear(b);
    buf_putc(b, ' ');
    buf_append(b, text, n_bytes);
    return !buf_failed(b) && split_from(s, stage + 1, b->data, b->len, first);
}

static bool begins_with_mark(const struct stage *stage, const char *text, size_t n_bytes)
{
    return n_bytes >= stage->n_mark && !memcmp(text, stage->mark, stage->n_mark);
}

static bool write_marks(const struct stage *stage, const char *text, size_t n_bytes, bool first,
                        struct buf *b)
{
    bool wants =
        stage->scheme == PRE_TOKENIZER_ALWAYS || (stage->scheme == PRE_TOKENIZER_FIRST && first);
    buf_clear(b);
    if (wants && *text != ' ' && !begins_with_mark(stage, text, n_bytes))
        buf_append(b, stage->mark, stage->n_mark);
    while (n_bytes) {
        const char *space = memchr(text, ' ', n_bytes);
        size_t n = space ? (size_t)(space - text) : n_bytes;
        buf_append(b, text, n);
        if (space)
            buf_append(b, stage->mark, stage->n_mark);
        n += space != NULL;
        text += n;
        n_bytes -= n;
    }
    return !buf_failed(b);
}

static bool mark_spaces(struct split *s, size_t stage, const char *text, size_t n_bytes, bool first)
{
    const struct stage *how = &s->p->stages[stage];
    struct buf *b = &s->rewritten[stage];
    if (!write_marks(how, text, n_bytes, first, b))
        return false;
    if (!how->split)
        return split_from(s, stage + 1, b->data, b->len, first);
    for (size_t begin = 0; begin < b->len;) {
        size_t from =
            begin + (begins_with_mark(how, b->data + begin, b->len - begin) ? how->n_mark : 0);
        const char *next =
            from < b->len ? memmem(b->data + from, b->len - from, how->mark, how->n_mark) : NULL;
        size_t end = next ? (size_t)(next - b->data) : b->len;
        if (!split_from(s, stage + 1, b->data + begin, end - begin, first && !begin))
            return false;
        begin = end;
    }
    return true;
}

/* Cuts text by the stages from `stage` on. It recurses once per stage. */
static bool split_from(struct split *s, size_t stage, const char *text, size_t n_bytes, bool first)
{
    if (!n_bytes)
        return true;
    if (stage == s->p->n)
        return s->sink(s->context, text, n_bytes);
    switch (s->p->stages[stage].kind) {
    case STAGE_REGEX:
        return split_by_regex(s, stage, text, n_bytes, first);
    case STAGE_SPACE:
        return put_space_first(s, stage, text, n_bytes, first);
    default:
        return mark_spaces(s, stage, text, n_bytes, first);
    }
}

bool pre_tokenizer_split(const struct pre_tokenizer *p, const char *text, size_t n_bytes,
                         bool first, pre_tokenizer_sink *sink, void *context)
{
    struct split s = {.p = p, .match = regex_scratch_create(), .sink = sink, .context = context};
    for (size_t i = 0; i < p->n; i++)
        buf_init(&s.rewritten[i], SIZE_MAX / 4);
    bool ok = s.match && split_from(&s, 0, text, n_bytes, first);
    for (size_t i = 0; i < p->n; i++)
        buf_deinit(&s.rewritten[i]);
    regex_scratch_destroy(s.match);
    return ok;
}
