#include "chat/veil.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 96 << 20 };

/* "~veil00000000~": nothing that a template escapes. What holds such a mark itself is data in any
 * case, and only shows another text of the same conversation. */
static const char MARK[] = "~veil00000000~";
enum { MARK_BYTES = sizeof MARK - 1, MARK_FIRST_DIGIT = 5, MARK_LAST_DIGIT = 12 };

static void mark_write(char *mark, size_t number)
{
    memcpy(mark, MARK, MARK_BYTES);
    for (size_t i = MARK_LAST_DIGIT; i >= MARK_FIRST_DIGIT; i--, number /= 10)
        mark[i] = (char)('0' + number % 10);
}

/* The number of the mark that begins here, or SIZE_MAX. */
static size_t mark_read(const char *at, size_t n)
{
    size_t number = 0;
    if (n < MARK_BYTES || memcmp(at, MARK, MARK_FIRST_DIGIT) != 0 || at[MARK_BYTES - 1] != '~')
        return SIZE_MAX;
    for (size_t i = MARK_FIRST_DIGIT; i <= MARK_LAST_DIGIT; i++) {
        if (at[i] < '0' || at[i] > '9')
            return SIZE_MAX;
        number = number * 10 + (size_t)(at[i] - '0');
    }
    return number;
}

void veil_init(struct veil *v)
{
    *v = (struct veil){0};
}

void veil_deinit(struct veil *v)
{
    for (size_t i = 0; i < v->n; i++)
        marked_text_deinit(&v->texts[i]);
    free(v->texts);
    *v = (struct veil){0};
}

static bool veil_grow(struct veil *v)
{
    const size_t cap = v->cap ? v->cap * 2 : 16;
    struct marked_text *texts = realloc(v->texts, cap * sizeof *texts);
    if (!texts)
        return false;
    v->texts = texts;
    v->cap = cap;
    return true;
}

void veil_cover(struct veil *v, struct marked_text *text)
{
    char mark[MARK_BYTES];
    if (!text->bytes.len || v->failed)
        return;
    if (v->n == v->cap && !veil_grow(v)) {
        v->failed = true;
        return;
    }
    mark_write(mark, v->n);
    v->texts[v->n++] = *text;
    marked_text_init(text, TEXT_MAX_BYTES);
    marked_text_data(text, mark, sizeof mark);
}

static void append_both(struct buf *bytes, struct buf *marks, const char *data,
                        const char *data_marks, size_t n)
{
    if (!n)
        return;
    buf_append(bytes, data, n);
    if (data_marks)
        buf_append(marks, data_marks, n);
}

static void lift_into(const struct veil *v, const struct buf *out, const struct buf *marks,
                      struct buf *bytes_to, struct buf *marks_to)
{
    size_t from = 0;
    for (size_t at = 0; at < out->len;) {
        const size_t number = mark_read(out->data + at, out->len - at);
        if (number >= v->n) {
            at++;
            continue;
        }
        const struct marked_text *text = &v->texts[number];
        append_both(bytes_to, marks_to, out->data + from, marks ? marks->data + from : NULL,
                    at - from);
        append_both(bytes_to, marks_to, text->bytes.data, marks ? text->marks.data : NULL,
                    text->bytes.len);
        at += MARK_BYTES;
        from = at;
    }
    append_both(bytes_to, marks_to, out->data + from, marks ? marks->data + from : NULL,
                out->len - from);
}

static void buf_replace(struct buf *b, struct buf *by)
{
    buf_deinit(b);
    *b = *by;
}

bool veil_lift(const struct veil *v, struct buf *out, struct buf *marks)
{
    struct buf bytes_to, marks_to;
    if (v->failed || buf_failed(out) || (marks && buf_failed(marks)))
        return false;
    if (!out->len)
        return true;
    buf_init(&bytes_to, out->max);
    buf_init(&marks_to, out->max);
    lift_into(v, out, marks, &bytes_to, &marks_to);
    const bool ok = !buf_failed(&bytes_to) && !buf_failed(&marks_to);
    if (!ok || !marks)
        buf_deinit(&marks_to);
    else
        buf_replace(marks, &marks_to);
    if (!ok)
        buf_deinit(&bytes_to);
    else
        buf_replace(out, &bytes_to);
    return ok;
}
