/* A model's tokenizer and chat template without the model, for the tests of prompts and calls: a
 * byte vocabulary and templates in the shapes of real ones. */
#ifndef PENSIEVE_TESTS_CHAT_SPEAKER_H
#define PENSIEVE_TESTS_CHAT_SPEAKER_H

#include "support/tiny_model.h"
#include "chat/chat_template.h"
#include "chat/prompt.h"
#include "text/tokenizer.h"
#include "weights/weights.h"

/* With tools and every role, as Qwen's; without tools, as SmolLM's; and one that refuses whatever
 * is not a strict turn of user and model, and rewrites old answers, as Gemma's. */
extern const char speaker_full[], speaker_plain[], speaker_rigid[];

struct speaker {
    struct tiny_model file;
    struct weights *weights;
    struct tokenizer *tokenizer;
    struct chat_template *chat_template;
};

void speaker_open(struct speaker *s, const char *source);
/* With what `more` puts into the model's file. */
void speaker_open_as(struct speaker *s, const char *source, void (*more)(struct gguf_builder *g));
void speaker_close(struct speaker *s);

/* The speaker's prompts; to be deinited before the speaker is closed. */
void speaker_prompt(struct speaker *s, struct prompt *p);
/* Renders a body of the Messages API; `out` is to be deinited. False: refused, with *err. */
bool speaker_try(const struct prompt *p, const char *body, struct buf *out, struct error *err);
/* The same, all at once, where it must work. */
void speaker_render(const char *source, const char *body, struct buf *out);

#endif
