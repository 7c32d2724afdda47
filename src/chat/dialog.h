/* A request's conversation in the form that chat templates read: an array of {role, content, …}.
 * Where a template lacks something (tools, a system role, a system message in the middle), it is
 * said in text that every template carries. Knows no tokens. */
#ifndef PENSIEVE_CHAT_DIALOG_H
#define PENSIEVE_CHAT_DIALOG_H

#include "chat/dialect.h"

#include <jansson.h>
#include <stdbool.h>

/* What a template can do by itself. */
struct dialog_format {
    bool tools;                    /* describes tools, and shows calls and results */
    bool system;                   /* has a system role */
    bool mid_system;               /* also after the first message */
    const struct dialect *dialect; /* in which calls are written where it has no tools */
};

/* The messages, in order, neighbours of one role joined. Where marks[i] is not NULL, message i, an
 * assistant's, says that instead (`marks` may be NULL). `tail` is appended to the last assistant
 * message, whose text then is the beginning of the answer; NULL: the answer begins anew. `notes`
 * (or NULL) learn which bytes of the strings are a dialect's own. NULL: out of memory. */
json_t *dialog_messages(const struct conversation *c, const struct dialog_format *format,
                        const char *const *marks, const char *tail, struct jinja_notes *notes);

/* The offered tools as [{type, function: {name, description, parameters}}], or JSON null when there
 * are none or the template has no place for them. NULL: out of memory. */
json_t *dialog_tools(const struct conversation *c, const struct dialog_format *format);

#endif
