/* The variables of chat templates that an API has a word for, and those that keep history as it
 * was. Which of them a template reads is found by trial: it is one that changes what is rendered.
 */
#ifndef PENSIEVE_CHAT_TEMPLATE_VARIABLES_H
#define PENSIEVE_CHAT_TEMPLATE_VARIABLES_H

#include "chat/render.h"

struct template_variables {
    /* By what a conversation says, an object of the variables, or NULL: none. */
    json_t *thinking[CONVERSATION_THINKING_ON + 1];
    json_t *effort[CONVERSATION_EFFORTS];
};

/* `s` has its format. False: out of memory. */
bool template_variables_init(struct template_variables *v, const struct render_setup *s);
void template_variables_deinit(struct template_variables *v);

/* The variables of a conversation, a new object; NULL: none, or out of memory, which *failed tells
 * apart. `set`: the model's own; they outweigh a wish that is only adaptive. */
json_t *template_variables_of(const struct template_variables *v, const struct conversation *c,
                              const json_t *set, bool *failed);

/* Does rendering small conversations give another text with these variables than without? */
bool template_variables_matter(const struct render_setup *s, json_t *variables);

#endif
