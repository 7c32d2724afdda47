#include "chat/marked_text.h"

#include "chat/json_exact.h"

#include <string.h>

void marked_text_init(struct marked_text *t, size_t max_bytes)
{
    buf_init(&t->bytes, max_bytes);
    buf_init(&t->marks, max_bytes);
    t->has_own = false;
}

void marked_text_deinit(struct marked_text *t)
{
    buf_deinit(&t->bytes);
    buf_deinit(&t->marks);
}

void marked_text_clear(struct marked_text *t)
{
    buf_clear(&t->bytes);
    buf_clear(&t->marks);
    t->has_own = false;
}

/* Marks the bytes that have none yet. */
static void mark_rest(struct marked_text *t, int mark)
{
    const size_t n = buf_failed(&t->bytes) ? 0 : t->bytes.len - t->marks.len;
    if (!n || !buf_reserve(&t->marks, n))
        return;
    memset(t->marks.data + t->marks.len, mark, n);
    t->marks.len += n;
}

void marked_text_own(struct marked_text *t, const char *text)
{
    buf_puts(&t->bytes, text);
    mark_rest(t, 0);
    t->has_own |= *text != 0;
}

void marked_text_data(struct marked_text *t, const char *bytes, size_t n)
{
    buf_append(&t->bytes, bytes, n);
    mark_rest(t, 1);
}

void marked_text_json(struct marked_text *t, const json_t *value)
{
    json_exact_write(&t->bytes, value, JSON_EXACT_SPACED);
    mark_rest(t, 1);
}

void marked_text_append(struct marked_text *t, const struct marked_text *other)
{
    if (!other->bytes.len)
        return;
    buf_append(&t->bytes, other->bytes.data, other->bytes.len);
    buf_append(&t->marks, other->marks.data, other->marks.len);
    t->has_own |= other->has_own;
}

bool marked_text_failed(const struct marked_text *t)
{
    return buf_failed(&t->bytes) || buf_failed(&t->marks);
}

json_t *marked_text_string(const struct marked_text *t, struct jinja_notes *notes)
{
    if (marked_text_failed(t))
        return NULL;
    json_t *string = json_stringn(t->bytes.data ? t->bytes.data : "", t->bytes.len);
    if (notes && t->has_own)
        jinja_notes_mixed(notes, string, (const uint8_t *)t->marks.data);
    return string;
}
