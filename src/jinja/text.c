#include "jinja/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const uint8_t jinja_all_data[1] = {1};

void jinja_marks_copy(uint8_t *out, const uint8_t *marks, size_t n)
{
    if (!n)
        return;
    if (jinja_marks_alike(marks))
        memset(out, marks == JINJA_DATA, n);
    else
        memcpy(out, marks, n);
}

void jinja_text_init(struct jinja_text *t, size_t max_bytes)
{
    *t = (struct jinja_text){.alike = JINJA_OWN};
    buf_init(&t->bytes, max_bytes);
    buf_init(&t->marks, max_bytes);
}

void jinja_text_deinit(struct jinja_text *t)
{
    buf_deinit(&t->bytes);
    buf_deinit(&t->marks);
    jinja_text_init(t, t->bytes.max);
}

static bool append_marks(struct jinja_text *t, const uint8_t *marks, size_t n)
{
    if (!buf_reserve(&t->marks, n))
        return false;
    jinja_marks_copy((uint8_t *)t->marks.data + t->marks.len, marks, n);
    t->marks.len += n;
    return true;
}

bool jinja_text_append(struct jinja_text *t, const void *bytes, size_t n, const uint8_t *marks)
{
    if (n && !t->bytes.len && jinja_marks_alike(marks))
        t->alike = marks;
    if (n && !t->mixed && marks != t->alike) {
        t->mixed = true;
        append_marks(t, t->alike, t->bytes.len);
    }
    if (t->mixed && !append_marks(t, marks, n))
        return false;
    return buf_append(&t->bytes, bytes, n);
}

bool jinja_text_putc(struct jinja_text *t, char c)
{
    return jinja_text_append(t, &c, 1, JINJA_DATA);
}

bool jinja_text_puts(struct jinja_text *t, const char *text)
{
    return jinja_text_append(t, text, strlen(text), JINJA_DATA);
}

bool jinja_text_printf(struct jinja_text *t, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text) {
        t->bytes.failed = true;
        return false;
    }
    return jinja_text_append(t, text, (size_t)n, JINJA_DATA);
}
