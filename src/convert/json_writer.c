/* See json_writer.h. */
#include "convert/json_writer.h"

/* The length of a well-formed character of UTF-8, or 0. */
static size_t utf8_length(const char *text, size_t len)
{
    const unsigned char *c = (const unsigned char *)text;
    const size_t n = *c < 0x80 ? 1 : *c >= 0xc2 && *c < 0xe0 ? 2 : *c >= 0xe0 && *c < 0xf0 ? 3
                   : *c >= 0xf0 && *c < 0xf5                 ? 4
                                                             : 0;
    if (!n || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    const bool is_long = (*c == 0xe0 && c[1] < 0xa0) || (*c == 0xf0 && c[1] < 0x90);
    const bool is_out = (*c == 0xed && c[1] >= 0xa0) || (*c == 0xf4 && c[1] >= 0x90);
    return is_long || is_out ? 0 : n;
}

void json_writer_string(struct buf *out, const char *text, size_t len)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        const size_t n = utf8_length(text + i, len - i);
        const unsigned char c = (unsigned char)text[i];
        if (!n)
            buf_puts(out, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_puts(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", (unsigned)c);
        else
            buf_append(out, text + i, n);
        i += n ? n : 1;
    }
    buf_putc(out, '"');
}

/* Items of an array, or of an object names and values in turns. */
static void put_items(struct buf *out, const struct json_tree_value *v, bool is_object)
{
    const struct json_tree_value *item = json_tree_first(v);
    buf_putc(out, is_object ? '{' : '[');
    for (uint32_t i = 0; i < v->n_items; i++) {
        buf_puts(out, i ? ", " : "");
        if (is_object) {
            json_writer_value(out, item);
            buf_puts(out, ": ");
            item = json_tree_after(item);
        }
        json_writer_value(out, item);
        item = json_tree_after(item);
    }
    buf_putc(out, is_object ? '}' : ']');
}

void json_writer_value(struct buf *out, const struct json_tree_value *v)
{
    switch (v->kind) {
    case JSON_TREE_OBJECT:
    case JSON_TREE_ARRAY: /* no deeper than JSON_READ_MAX_DEPTH */
        put_items(out, v, v->kind == JSON_TREE_OBJECT);
        break;
    case JSON_TREE_STRING:
        json_writer_string(out, v->text, v->len);
        break;
    case JSON_TREE_NUMBER:
        buf_append(out, v->text, v->len);
        break;
    case JSON_TREE_BOOL:
        buf_puts(out, v->is_true ? "true" : "false");
        break;
    default:
        buf_puts(out, "null");
    }
}
