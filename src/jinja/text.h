/* Text and whose it is. Beside every text go its marks: which of its bytes are data (they came out
 * of the caller's context) and which are the template's own. Here are marks as such, and a growing
 * text that keeps them. Knows no values. */
#ifndef PENSIEVE_JINJA_TEXT_H
#define PENSIEVE_JINJA_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Marks are NULL (all of it is the template's own), JINJA_DATA (all of it is data), or one byte for
 * each byte of the text, 1 where it is data. */
#define JINJA_OWN ((const uint8_t *)NULL)
#define JINJA_DATA ((const uint8_t *)jinja_all_data)
extern const uint8_t jinja_all_data[1];

static inline bool jinja_marks_alike(const uint8_t *marks)
{
    return marks == JINJA_OWN || marks == JINJA_DATA;
}
/* Those of what begins `at` bytes further on. */
static inline const uint8_t *jinja_marks_at(const uint8_t *marks, size_t at)
{
    return jinja_marks_alike(marks) ? marks : marks + at;
}
/* Whose one byte is: JINJA_OWN or JINJA_DATA. What is written in its place is so, too. */
static inline const uint8_t *jinja_marks_of(const uint8_t *marks, size_t at)
{
    return jinja_marks_alike(marks) ? marks : marks[at] ? JINJA_DATA : JINJA_OWN;
}
/* Writes the marks of n bytes out, one by one. */
void jinja_marks_copy(uint8_t *out, const uint8_t *marks, size_t n);

struct jinja_text {
    struct buf bytes;
    struct buf marks;     /* [bytes.len] as soon as not all are alike */
    const uint8_t *alike; /* until then: JINJA_OWN or JINJA_DATA */
    bool mixed;
};

void jinja_text_init(struct jinja_text *t, size_t max_bytes);
void jinja_text_deinit(struct jinja_text *t);

/* Appending, as in base/buf.h: what does not fit marks the text failed. */
bool jinja_text_append(struct jinja_text *t, const void *bytes, size_t n, const uint8_t *marks);
/* What printing a value adds (digits, quotes, brackets, escapes) counts as data. */
bool jinja_text_putc(struct jinja_text *t, char c);
bool jinja_text_puts(struct jinja_text *t, const char *text);
bool jinja_text_printf(struct jinja_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline bool jinja_text_failed(const struct jinja_text *t)
{
    return buf_failed(&t->bytes) || buf_failed(&t->marks);
}

#endif
