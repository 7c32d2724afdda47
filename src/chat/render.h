/* From a conversation to the text of its prompt: the messages in the form that the template takes
 * (dialog.h), its variables, and what is tried where it raises all the same. Knows no tokens. */
#ifndef PENSIEVE_CHAT_RENDER_H
#define PENSIEVE_CHAT_RENDER_H

#include "chat/chat_template.h"
#include "chat/dialog.h"

/* How a model's conversations are rendered. Borrows all. */
struct render_setup {
    const struct chat_template *chat_template;
    const char *bos, *eos; /* their written forms */
    struct dialog_format format;
    json_t *variables;   /* an object that every rendering has, or NULL */
    struct error *spent; /* of trials (trial.h), or NULL */
};

struct render_options {
    const char *const *marks; /* as dialog_options has them */
    const char *tail;
    bool is_closed;    /* the model is not asked to go on */
    json_t *variables; /* of this conversation, or NULL: outweigh the setup's */
    bool is_as_it_is;  /* nothing else is tried where the template raises */
};

/* Fills two empty buffers with the text and its marks (chat_template.h); `marks` may be NULL.
 * `options` may be NULL.
 *
 * Where the template raises, in this order: tools and calls are told in words; what users and
 * assistants say is put in unseen by the template; both of it, strictly alternating. A conversation
 * that needed it still does when it grows. The error is the first one. */
bool render_conversation(const struct render_setup *s, const struct conversation *c,
                         const struct render_options *options, struct buf *out, struct buf *marks,
                         struct error *err);

#endif
