/* A request's conversation in the form that chat templates read: an array of {role, content, …}.
 * Where a template lacks something (tools, a system role, a system message in the middle), or
 * raises on it, it is said otherwise: `struct dialog_format` has what this template needs. How each
 * message is written depends on the conversation up to it, and on the results of its calls, alone:
 * a conversation that grows keeps what was written. Knows no tokens. */
#ifndef PENSIEVE_CHAT_DIALOG_H
#define PENSIEVE_CHAT_DIALOG_H

#include "chat/dialect.h"
#include "chat/veil.h"

#include <jansson.h>
#include <stdbool.h>

/* Where a message has its thoughts. */
enum dialog_thoughts {
    DIALOG_REASONING_CONTENT, /* the members of these names */
    DIALOG_THINKING,
    DIALOG_REASONING,
    DIALOG_THINKING_PART, /* {"type": "thinking", "thinking": …}, the first part of its content */
    DIALOG_THOUGHTS_END,
};

/* What a template can do by itself, and, from `functions` on, the repairs that it needs. */
struct dialog_format {
    bool tools;                    /* describes tools, and shows calls and results */
    bool system;                   /* has a system role; else the first user says it */
    bool mid_system;               /* also after the first message; else a user says it */
    const struct dialect *dialect; /* in which calls are written where it has no tools */
    enum dialog_thoughts thoughts;
    bool functions;         /* the tools are in the variable `functions`, too, as JSON text, and the
                               date in `datetime` */
    bool empty_tools;       /* where none are offered the tools are [], not none */
    bool parts;             /* content is [{"type": "text", "text": …}] */
    bool arguments_as_text; /* of calls: JSON in a string */
    bool short_ids;         /* of calls: nine letters and digits */
    bool one_call;          /* a message has one call, before its own result */
    bool joins_thoughts;    /* beside a call, text is the end of the thoughts */
    bool results_first;     /* results right behind their calls; later ones are a user's text */
    bool folds_user;        /* what a user says after a result ends the result's text */
    bool answers_calls;     /* calls that nobody answered have a result that says so */
    const char *opening;    /* a user says this where nobody else begins; NULL: nobody does */
};

struct dialog_options {
    const char *const *marks; /* [n_messages] or NULL: where not NULL, the message, an
                                 assistant's, says that instead */
    const char *tail;  /* appended to the last assistant message, whose text then is the beginning
                          of the answer; NULL: the answer begins anew */
    struct veil *veil; /* or NULL: takes what users and assistants say, unseen by the template */
    struct jinja_notes *notes; /* or NULL: learn which bytes of the strings are a dialect's own */
};

/* The messages, in order, neighbours of one role joined. `options` may be NULL. NULL: out of
 * memory. */
json_t *dialog_messages(const struct conversation *c, const struct dialog_format *format,
                        const struct dialog_options *options);

/* The offered tools as [{type, function: {name, description, parameters}}], or, when there are none
 * or the template has no place for them, JSON null or an empty array. NULL: out of memory. */
json_t *dialog_tools(const struct conversation *c, const struct dialog_format *format);

#endif
