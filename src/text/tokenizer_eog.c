/* The ends of a generation. Files often name only one of them (or the wrong one), so the well-known
 * written forms of each family count, too. */
#include "text/tokenizer_eog.h"

#include <string.h>

static const char *const known[] = {
    "<|im_end|>",      /* ChatML: Qwen, SmolLM */
    "<|endoftext|>",   /* GPT-2, Qwen, StarCoder */
    "<|end_of_text|>", /* Llama 3, Granite */
    "<|eot_id|>",      /* Llama 3 */
    "<|eom_id|>",
    "<|end|>",    /* Phi */
    "<|return|>", /* gpt-oss */
    "<|call|>",
    "<end_of_turn>", /* Gemma */
    "<turn|>",       /* Gemma 4; and its answer waits for a tool's */
    "<|tool_response>",
    "<eos>",
    "</s>", /* Llama 2, Mistral */
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>", /* DeepSeek; U+FF5C and U+2581 */
    "<end_of_utterance>",
    /* What follows a file in the training of code models: nothing of the answer comes after it. */
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
};

bool tokenizer_eog_has(const struct tokenizer_eog *e, int32_t id)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->ids[i] == id)
            return true;
    return false;
}

static void eog_add(struct tokenizer_eog *e, int32_t id)
{
    if (id >= 0 && e->n < TOKENIZER_MAX_EOG && !tokenizer_eog_has(e, id))
        e->ids[e->n++] = id;
}

/* The id of a known form where it is a token of its own, not an ordinary one that text may contain
 * (the closing tag of struck-out HTML is </s>). */
static int32_t find_known(const struct tokenizer_vocab *v, const char *text)
{
    int32_t id = tokenizer_vocab_find(v, text, strlen(text));
    if (id < 0)
        return -1;
    bool own = v->types[id] == GGUF_TOKEN_CONTROL ||
               v->types[id] == GGUF_TOKEN_USER_DEFINED || !v->has_types;
    return own ? id : -1;
}

/* gpt-oss ends a message with <|end|>, the generation with <|return|> or <|call|>. */
static bool is_harmony(const struct tokenizer_vocab *v)
{
    return find_known(v, "<|return|>") >= 0 && find_known(v, "<|call|>") >= 0;
}

void tokenizer_eog_init(struct tokenizer_eog *e, const struct tokenizer_file *f,
                        struct tokenizer_vocab *v)
{
    *e = (struct tokenizer_eog){0};
    eog_add(e, f->eos);
    for (size_t i = 0; i < f->n_ends; i++)
        eog_add(e, f->ends[i]);
    bool harmony = is_harmony(v);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int32_t id = find_known(v, known[i]);
        if (id < 0 || (harmony && !strcmp(known[i], "<|end|>")))
            continue;
        v->types[id] = GGUF_TOKEN_CONTROL;
        eog_add(e, id);
    }
}
