/* The normalizers of Hugging Face's tokenizers (normalizers/ there). Unicode's tables are
 * utf8proc's; its own reordering is not used, as it is quadratic in marks that stand in the wrong
 * order. See normalizer.h. */
#include "text/normalizer.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_STEPS = 32, MAX_EXPANSION = 32 /* code points; the longest in Unicode is 18 */ };

enum step_kind {
    STEP_FORM,
    STEP_LOWERCASE,
    STEP_STRIP,
    STEP_STRIP_ACCENTS,
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_CHARSMAP,
    STEP_SENTENCEPIECE,
};

struct step {
    enum step_kind kind;
    enum normalizer_form form;
    bool left, right, trims;
    struct regex *regex;
    struct charsmap *charsmap;
    char *content; /* [n_content] */
    size_t n_content;
};

struct normalizer {
    struct step steps[MAX_STEPS];
    size_t n;
};

struct normalizer *normalizer_create(struct error *err)
{
    struct normalizer *n = calloc(1, sizeof *n);
    if (!n)
        error_set(err, ERROR_NO_MEMORY, "out of memory");
    return n;
}

static void step_deinit(struct step *step)
{
    regex_destroy(step->regex);
    charsmap_destroy(step->charsmap);
    free(step->content);
}

void normalizer_destroy(struct normalizer *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++)
        step_deinit(&n->steps[i]);
    free(n);
}

bool normalizer_is_empty(const struct normalizer *n)
{
    return !n->n;
}

/* Takes what the step owns; its content is copied. */
static bool add_step(struct normalizer *n, struct step step, const char *content, size_t n_content,
                     struct error *err)
{
    step.content = malloc(n_content + 1);
    if (!step.content || n->n == MAX_STEPS) {
        bool memory = !step.content;
        step_deinit(&step);
        return memory ? error_set(err, ERROR_NO_MEMORY, "out of memory")
                      : error_set(err, ERROR_UNSUPPORTED, "more than %d normalizers in a row",
                                  MAX_STEPS);
    }
    if (n_content)
        memcpy(step.content, content, n_content);
    step.n_content = n_content;
    n->steps[n->n++] = step;
    return true;
}

bool normalizer_add_form(struct normalizer *n, enum normalizer_form form, struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_FORM, .form = form}, NULL, 0, err);
}

bool normalizer_add_lowercase(struct normalizer *n, struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_LOWERCASE}, NULL, 0, err);
}

bool normalizer_add_strip(struct normalizer *n, bool left, bool right, struct error *err)
{
    struct step step = {.kind = STEP_STRIP, .left = left, .right = right};
    return add_step(n, step, NULL, 0, err);
}

bool normalizer_add_strip_accents(struct normalizer *n, struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_STRIP_ACCENTS}, NULL, 0, err);
}

bool normalizer_add_prepend(struct normalizer *n, const char *content, size_t n_bytes,
                            struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_PREPEND}, content, n_bytes, err);
}

bool normalizer_add_replace(struct normalizer *n, struct regex *r, const char *content,
                            size_t n_bytes, struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_REPLACE, .regex = r}, content, n_bytes, err);
}

bool normalizer_add_charsmap(struct normalizer *n, struct charsmap *c, struct error *err)
{
    return add_step(n, (struct step){.kind = STEP_CHARSMAP, .charsmap = c}, NULL, 0, err);
}

bool normalizer_add_sentencepiece(struct normalizer *n, struct charsmap *c, bool trims,
                                  struct error *err)
{
    struct step step = {.kind = STEP_SENTENCEPIECE, .charsmap = c, .trims = trims};
    return add_step(n, step, NULL, 0, err);
}

void normalizer_scratch_init(struct normalizer_scratch *s)
{
    *s = (struct normalizer_scratch){0};
    for (int i = 0; i < 2; i++) {
        buf_init(&s->text[i], SIZE_MAX / 4);
        buf_init(&s->marks[i], SIZE_MAX / 4);
    }
    buf_init(&s->code_points, SIZE_MAX / 4);
}

void normalizer_scratch_deinit(struct normalizer_scratch *s)
{
    for (int i = 0; i < 2; i++) {
        buf_deinit(&s->text[i]);
        buf_deinit(&s->marks[i]);
    }
    buf_deinit(&s->code_points);
    regex_scratch_destroy(s->match);
    s->match = NULL;
}

/* One step at work. */
struct rewrite {
    const struct step *step;
    struct normalizer_scratch *scratch;
    struct normalizer_text in;
    struct buf *text, *marks; /* what comes out */
};

static void copy_range(struct rewrite *w, size_t from, size_t n)
{
    buf_append(w->text, w->in.text + from, n);
    if (w->in.marks)
        buf_append(w->marks, w->in.marks + from, n);
}

/* Puts bytes that stand for n_from bytes at `from`: data if any of those is. */
static void put_instead(struct rewrite *w, const char *bytes, size_t n, size_t from, size_t n_from)
{
    bool data = w->in.marks && memchr(w->in.marks + from, 1, n_from);
    buf_append(w->text, bytes, n);
    for (size_t i = 0; w->in.marks && i < n; i++)
        buf_putc(w->marks, (char)data);
}

/* ---- normal forms ---- */

/* A character that no form composes with others and that NFC leaves as it is: of the many that
 * could be said, the frequent ones. */
static bool is_stable_in_nfc(uint32_t c)
{
    return c < 0x300 || (c >= 0x400 && c < 0x483) || (c >= 0x3041 && c < 0x3099) ||
           (c >= 0x30a0 && c <= 0x9fff) || (c >= 0xac00 && c < 0xd7a4) ||
           (c >= 0x2010 && c < 0x20d0);
}

static bool is_all_stable(const char *text, size_t n_bytes)
{
    uint32_t c;
    for (size_t i = 0; i < n_bytes;) {
        i += unicode_decode(text + i, &c);
        if (!is_stable_in_nfc(c))
            return false;
    }
    return true;
}

static int class_of(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Sorts marks by their combining classes, equal ones in their order: bottom-up merging. */
static void sort_marks(int32_t *marks, int32_t *spare, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            for (size_t a = begin, b = middle, to = begin; to < end; to++) {
                bool left = a < middle && (b == end || class_of(marks[a]) <= class_of(marks[b]));
                spare[to] = left ? marks[a++] : marks[b++];
            }
        }
        memcpy(marks, spare, n * sizeof *marks);
    }
}

/* Runs of marks between characters that are none. `spare` has room for n, too. */
static void order_marks(int32_t *c, int32_t *spare, size_t n)
{
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && class_of(c[end]);)
            end++;
        if (end - i > 1)
            sort_marks(c + i, spare, end - i);
    }
}

/* The characters of text[n_bytes], each taken apart. Appends int32_t. */
static void take_apart(const char *text, size_t n_bytes, utf8proc_option_t options, struct buf *out)
{
    for (size_t i = 0; i < n_bytes;) {
        uint32_t c;
        int32_t parts[MAX_EXPANSION];
        int bound = 0;
        i += unicode_decode(text + i, &c);
        utf8proc_ssize_t n =
            utf8proc_decompose_char((int32_t)c, parts, MAX_EXPANSION, options, &bound);
        if (n < 0 || n > MAX_EXPANSION) {
            parts[0] = (int32_t)c;
            n = 1;
        }
        buf_append(out, parts, (size_t)n * sizeof *parts);
    }
}

static bool put_form(struct rewrite *w, size_t from, size_t n_bytes)
{
    enum normalizer_form form = w->step->form;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    struct buf *b = &w->scratch->code_points;
    if (form == NORMALIZER_NFKC || form == NORMALIZER_NFKD)
        options |= UTF8PROC_COMPAT;
    buf_clear(b);
    take_apart(w->in.text + from, n_bytes, options, b);
    size_t n = b->len / sizeof(int32_t);
    if (!buf_reserve(b, b->len)) /* as much again, to sort in */
        return false;
    int32_t *c = (int32_t *)(void *)b->data;
    order_marks(c, c + n, n);
    if (form == NORMALIZER_NFC || form == NORMALIZER_NFKC) {
        utf8proc_ssize_t composed =
            utf8proc_normalize_utf32(c, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        n = composed < 0 ? n : (size_t)composed;
    }
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        put_instead(w, bytes, unicode_encode((uint32_t)c[i], bytes), from, n_bytes);
    }
    return true;
}

/* ASCII stays what it is, but marks that follow it may join its last character: what is rewritten
 * begins there and ends where ASCII begins again. */
static bool write_form(struct rewrite *w)
{
    const char *text = w->in.text;
    size_t n = w->in.n, begin = 0, end;
    while (begin < n) {
        size_t other = begin;
        while (other < n && (signed char)text[other] >= 0)
            other++;
        for (end = other; end < n && (signed char)text[end] < 0;)
            end++;
        size_t base = other > begin && other < n ? other - 1 : other;
        copy_range(w, begin, base - begin);
        if (w->step->form == NORMALIZER_NFC && is_all_stable(text + base, end - base))
            copy_range(w, base, end - base);
        else if (!put_form(w, base, end - base))
            return false;
        begin = end;
    }
    return true;
}

/* ---- character by character ---- */

enum { CAPITAL_I_WITH_DOT = 0x130 };

static bool write_lowercase(struct rewrite *w)
{
    uint32_t c;
    for (size_t i = 0, n; i < w->in.n; i += n) {
        char bytes[4];
        n = unicode_decode(w->in.text + i, &c);
        if (c == CAPITAL_I_WITH_DOT) /* the only one that becomes two whatever stands around it */
            put_instead(w, "i\xcc\x87", 3, i, n);
        else
            put_instead(w, bytes, unicode_encode((uint32_t)utf8proc_tolower((int32_t)c), bytes), i,
                        n);
    }
    return true;
}

static bool is_mark(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((int32_t)c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
}

static bool write_without_marks(struct rewrite *w)
{
    uint32_t c;
    for (size_t i = 0, n; i < w->in.n; i += n) {
        n = unicode_decode(w->in.text + i, &c);
        if (!is_mark(c))
            copy_range(w, i, n);
    }
    return true;
}

static bool write_stripped(struct rewrite *w)
{
    size_t begin = 0, end = 0, n;
    uint32_t c;
    for (size_t i = 0; i < w->in.n; i += n) {
        n = unicode_decode(w->in.text + i, &c);
        if (!unicode_is_space(c))
            end = i + n;
        else if (!end)
            begin = i + n;
    }
    begin = w->step->left ? begin : 0;
    end = w->step->right ? end : w->in.n;
    if (end > begin)
        copy_range(w, begin, end - begin);
    return true;
}

/* ---- pieces of text ---- */

static bool write_prepended(struct rewrite *w)
{
    if (w->in.n) {
        put_instead(w, w->step->content, w->step->n_content, 0, 0);
        copy_range(w, 0, w->in.n);
    }
    return true;
}

static bool write_replaced(struct rewrite *w)
{
    size_t done = 0, begin, end;
    while (regex_next(w->step->regex, w->scratch->match, w->in.text, w->in.n, done, &begin, &end)) {
        copy_range(w, done, begin - done);
        put_instead(w, w->step->content, w->step->n_content, begin, end - begin);
        done = end;
    }
    copy_range(w, done, w->in.n - done);
    return true;
}

/* ---- tables of replacements ---- */

enum { MAX_REPLACED = 5 /* bytes of a cluster that is looked up as a whole */ };

/* The shortest beginning of a cluster of characters that the table has stands for all of it; else
 * each character for itself. */
static void write_cluster(struct rewrite *w, size_t from, size_t n_bytes)
{
    const struct charsmap *c = w->step->charsmap;
    struct charsmap_match m;
    uint32_t unused;
    if (n_bytes <= MAX_REPLACED && charsmap_find(c, w->in.text + from, n_bytes, false, &m)) {
        put_instead(w, m.to, m.n_to, from, n_bytes);
        return;
    }
    for (size_t i = 0, n; i < n_bytes; i += n) {
        n = unicode_decode(w->in.text + from + i, &unused);
        if (charsmap_find(c, w->in.text + from + i, n, false, &m))
            put_instead(w, m.to, m.n_to, from + i, n);
        else
            copy_range(w, from + i, n);
    }
}

static bool write_charsmap(struct rewrite *w)
{
    uint32_t c, previous = 0;
    int32_t state = 0;
    size_t begin = 0;
    for (size_t i = 0, n; i < w->in.n; i += n, previous = c) {
        n = unicode_decode(w->in.text + i, &c);
        if (!i || !utf8proc_grapheme_break_stateful((int32_t)previous, (int32_t)c, &state))
            continue;
        write_cluster(w, begin, i - begin);
        begin = i;
    }
    write_cluster(w, begin, w->in.n - begin);
    return true;
}

/* Puts bytes, but no space after another one. */
static void put_trimmed(struct rewrite *w, const char *bytes, size_t n, size_t from, size_t n_from)
{
    for (size_t i = 0; i < n; i++) {
        bool after_space = !w->text->len || w->text->data[w->text->len - 1] == ' ';
        if (bytes[i] != ' ' || !after_space)
            put_instead(w, bytes + i, 1, from, n_from);
    }
}

/* Spaces, also such as are already written as marks. */
static void trim_end(struct buf *b)
{
    static const char mark[] = "\xe2\x96\x81"; /* U+2581 */
    for (;;) {
        if (b->len && b->data[b->len - 1] == ' ')
            buf_truncate(b, b->len - 1);
        else if (b->len >= 3 && !memcmp(b->data + b->len - 3, mark, 3))
            buf_truncate(b, b->len - 3);
        else
            return;
    }
}

static bool write_sentencepiece(struct rewrite *w)
{
    uint32_t unused;
    for (size_t i = 0, n; i < w->in.n; i += n) {
        const char *from = w->in.text + i;
        struct charsmap_match m = {.to = from, .n_to = n = unicode_decode(from, &unused)};
        if (w->step->charsmap && charsmap_find(w->step->charsmap, from, w->in.n - i, true, &m))
            n = m.n_bytes;
        if (w->step->trims)
            put_trimmed(w, m.to, m.n_to, i, n);
        else
            put_instead(w, m.to, m.n_to, i, n);
    }
    if (w->step->trims)
        trim_end(w->text);
    if (w->in.marks)
        buf_truncate(w->marks, w->text->len);
    return true;
}

static bool (*const writers[])(struct rewrite *) = {
    [STEP_FORM] = write_form,         [STEP_LOWERCASE] = write_lowercase,
    [STEP_STRIP] = write_stripped,    [STEP_STRIP_ACCENTS] = write_without_marks,
    [STEP_PREPEND] = write_prepended, [STEP_REPLACE] = write_replaced,
    [STEP_CHARSMAP] = write_charsmap, [STEP_SENTENCEPIECE] = write_sentencepiece,
};

bool normalizer_run(const struct normalizer *n, struct normalizer_scratch *s,
                    struct normalizer_text *text)
{
    if (!s->match && !(s->match = regex_scratch_create()))
        return false;
    for (size_t i = 0; i < n->n && text->n; i++) {
        struct buf *out = &s->text[i % 2], *marks = &s->marks[i % 2];
        struct rewrite w = {&n->steps[i], s, *text, out, marks};
        buf_clear(out);
        buf_clear(marks);
        if (!writers[n->steps[i].kind](&w) || buf_failed(out) || buf_failed(marks) ||
            buf_failed(&s->code_points))
            return false;
        const char *written = out->data ? out->data : "";
        const uint8_t *kept = text->marks ? (const uint8_t *)marks->data : NULL;
        *text = (struct normalizer_text){written, kept, out->len};
    }
    return true;
}
