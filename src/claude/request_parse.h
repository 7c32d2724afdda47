/* What the files of the request parser share, and nobody else: refusals that name their field, and
 * access to members with Anthropic's words for what is wrong. One module: request,
 * request_parse. */
#ifndef PENSIEVE_CLAUDE_REQUEST_PARSE_H
#define PENSIEVE_CLAUDE_REQUEST_PARSE_H

#include "base/buf.h"
#include "claude/request.h"

enum { REQUEST_PATH_BYTES = 128 };

/* "messages.0.content.2": where in the body we are; "" at its top. */
struct request_path {
    char text[REQUEST_PATH_BYTES];
};

struct request_path request_path_at(const char *path, const char *name);
struct request_path request_path_index(const char *path, const char *name, size_t index);

/* "<path>.<name>: <what is wrong>"; name may be NULL. Always false. */
bool request_refuse(struct error *err, const char *path, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool request_no_memory(struct error *err);

/* NULL when absent or null. */
json_t *request_member(json_t *object, const char *name);
/* Required members; a required string is not empty. */
bool request_string(json_t *object, const char *path, const char *name, const char **out,
                    struct error *err);
bool request_text_of(json_t *object, const char *path, const char *name,
                     struct conversation_text *out, struct error *err);
/* Optional ones: out keeps its value when absent. */
bool request_bool(json_t *object, const char *path, const char *name, bool *out, struct error *err);

/* A copy of the buffer's bytes in the arena; the buffer is freed. */
bool request_text_from(struct request *r, struct buf *b, struct conversation_text *out,
                       struct error *err);

bool request_parse_system(struct request *r, json_t *value, struct error *err);
bool request_parse_messages(struct request *r, json_t *value, struct error *err);
/* The text of a tool_result's or a document's content: string or blocks. */
bool request_content_text(struct request *r, json_t *content, const char *path, bool in_result,
                          struct conversation_text *out, struct error *err);
bool request_parse_tools(struct request *r, json_t *value, struct error *err);
bool request_parse_choice(struct request *r, json_t *value, struct error *err);

#endif
