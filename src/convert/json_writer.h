/* JSON texts, piece by piece. */
#ifndef PENSIEVE_CONVERT_JSON_WRITER_H
#define PENSIEVE_CONVERT_JSON_WRITER_H

#include "base/buf.h"
#include "base/json_tree.h"

/* A string in quotes. Bytes that are no UTF-8 become U+FFFD. */
void json_writer_string(struct buf *out, const char *text, size_t len);

/* A value as it was read, without what stood between. */
void json_writer_value(struct buf *out, const struct json_tree_value *v);

#endif
