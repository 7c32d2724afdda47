/* See json_writer.h. */
#include "convert/json_writer.h"

#include "base/utf8.h"

void json_writer_string(struct buf *out, const char *text, size_t len)
{
    buf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        const size_t n = utf8_char_bytes(text + i, len - i);
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
