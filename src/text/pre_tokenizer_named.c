/* The pre-tokenizers that GGUF files name, as llama.cpp (src/llama-vocab.cpp) applies them: one or
 * more expressions in stages, each cutting every piece of the stage before into its matches and
 * what lies between. Knows no tokens. */
#include "text/pre_tokenizer.h"

#include <string.h>

#define WS "\\s"
#define SPACES                                                                                     \
    "[" WS "]+(?![^" WS "])|[" WS "]+" /* all but the one before a word; at the end, all */
#define LINES "[" WS "]*[\\r\\n]+|" SPACES
#define NO_LETTER "[^\\r\\n\\p{L}\\p{N}]?"
#define CONTRACTION "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define ASCII_MARKS "!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~"

#define GPT2 "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES
/* Words with one leading mark, numbers of so many digits, marks with the line ends after them. */
#define CL100K(digits)                                                                             \
    CONTRACTION "|" NO_LETTER "\\p{L}+|" digits "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" LINES
/* Words begin anew at a capital after a small letter; letters beyond ASCII are both. */
#define UPPER "[^\\P{L}a-z]"
#define LOWER "[^\\P{L}A-Z]"
#define CASED(tail, digits)                                                                        \
    NO_LETTER UPPER "*" LOWER "+" tail "|" NO_LETTER UPPER "+" LOWER "*" tail "|" digits           \
                    "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" LINES

enum { MAX_STAGES = 5 };

struct family {
    bool ignores_merges, adds_bos;
    const char *stages[MAX_STAGES + 1]; /* ends with NULL */
};

static const struct family gpt2 = {.stages = {GPT2}};
static const struct family starcoder = {.stages = {"\\p{N}", GPT2}};
static const struct family llama3 = {true, true, {CL100K("\\p{N}{1,3}")}};
static const struct family cl100k = {.stages = {CL100K("\\p{N}{1,3}")}};
static const struct family qwen2 = {.stages = {CL100K("\\p{N}")}};
static const struct family qwen35 = {.stages = {CONTRACTION
                                                "|" NO_LETTER "[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS
                                                "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES}};
static const struct family tekken = {true, true, {CASED("", "\\p{N}")}};
static const struct family gpt4o = {.stages = {CASED("(?:" CONTRACTION ")?", "\\p{N}{1,3}")}};
static const struct family deepseek_coder = {
    .stages = {"[\\r\\n]", "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+",
               "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}"}};
static const struct family deepseek3 = {
    .stages = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
               "[" ASCII_MARKS "][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
               "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES}};
static const struct family falcon = {.stages = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}};
static const struct family unnamed = {
    .stages = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}};

static const struct {
    const char *name;
    const struct family *family;
} names[] = {
    {"default", &unnamed},
    {"gpt-2", &gpt2},
    {"phi-2", &gpt2},
    {"mpt", &gpt2},
    {"olmo", &gpt2},
    {"jais", &gpt2},
    {"trillion", &gpt2},
    {"gigachat", &gpt2},
    {"a.x-4.0", &gpt2},
    {"mellum", &gpt2},
    {"exaone4", &gpt2},
    {"granite-docling", &gpt2},
    {"smollm", &starcoder},
    {"starcoder", &starcoder},
    {"refact", &starcoder},
    {"command-r", &starcoder},
    {"codeshell", &starcoder},
    {"exaone", &starcoder},
    {"minerva-7b", &starcoder},
    {"mellum2", &starcoder},
    {"llama-bpe", &llama3},
    {"llama3", &llama3},
    {"llama-v3", &llama3},
    {"falcon3", &llama3},
    {"falcon-h1", &llama3},
    {"pixtral", &llama3},
    {"midm-2.0", &llama3},
    {"lfm2", &llama3},
    {"dbrx", &cl100k},
    {"smaug-bpe", &cl100k},
    {"glm4", &cl100k},
    {"chatglm-bpe", &cl100k},
    {"qwen2", &qwen2},
    {"deepseek-r1-qwen", &qwen2},
    {"megrez", &qwen2},
    {"kormo", &qwen2},
    {"stablelm2", &qwen2},
    {"hunyuan", &qwen2},
    {"solar-open", &qwen2},
    {"grok-2", &qwen2},
    {"qwen35", &qwen35},
    {"tekken", &tekken},
    {"gpt-4o", &gpt4o},
    {"llama4", &gpt4o},
    {"kanana2", &gpt4o},
    {"deepseek-coder", &deepseek_coder},
    {"deepseek-v3", &deepseek3},
    {"hunyuan-dense", &deepseek3},
    {"falcon", &falcon},
};

static const struct family *find_family(const char *name, size_t n_name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == n_name && !memcmp(names[i].name, name, n_name))
            return names[i].family;
    return NULL;
}

struct pre_tokenizer *pre_tokenizer_create_named(const char *name, size_t n_name,
                                                 struct pre_tokenizer_traits *traits,
                                                 struct error *err)
{
    const struct family *family = find_family(name, n_name);
    if (!family) {
        error_set(err, ERROR_UNSUPPORTED, "unknown pre-tokenizer \"%.*s\" (tokenizer.ggml.pre)",
                  (int)(n_name < 64 ? n_name : 64), name);
        return NULL;
    }
    *traits = (struct pre_tokenizer_traits){family->ignores_merges, family->adds_bos};
    struct pre_tokenizer *p = pre_tokenizer_create(err);
    for (size_t i = 0; p && i < MAX_STAGES && family->stages[i]; i++) {
        struct regex *r = regex_create(family->stages[i], strlen(family->stages[i]), err);
        if (r && pre_tokenizer_add_regex(p, r, PRE_TOKENIZER_ISOLATED, false, err))
            continue;
        pre_tokenizer_destroy(p);
        return NULL;
    }
    return p;
}
