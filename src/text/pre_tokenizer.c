/* The pre-tokenizers, as llama.cpp (src/llama-vocab.cpp) applies them: one or more expressions in
 * stages, each cutting every piece of the stage before into its matches and what lies between.
 * Knows no tokens. */
#include "text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Unicode's White_Space, written out: PCRE2's own \s counts U+180E, which is none since 2013. */
#define WS                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"             \
    "\\x{202f}\\x{205f}\\x{3000}"
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

struct pre_tokenizer {
    const struct family *family;
    size_t n_stages;
    pcre2_code *stages[MAX_STAGES];
};

static const struct family *find_family(const char *name, size_t n_name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == n_name && !memcmp(names[i].name, name, n_name))
            return names[i].family;
    return NULL;
}

static bool compile_stages(struct pre_tokenizer *p, struct error *err)
{
    for (; p->n_stages < MAX_STAGES && p->family->stages[p->n_stages]; p->n_stages++) {
        int code;
        size_t at;
        PCRE2_SPTR expression = (PCRE2_SPTR)p->family->stages[p->n_stages];
        pcre2_code *stage = pcre2_compile(expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                          &code, &at, NULL);
        if (!stage && code == PCRE2_ERROR_HEAP_FAILED)
            return error_set(err, ERROR_NO_MEMORY, "out of memory");
        if (!stage) {
            unsigned char text[128] = "";
            pcre2_get_error_message(code, text, sizeof text);
            return error_set(err, ERROR_INTERNAL, "pre-tokenizer, stage %zu, byte %zu: %s",
                             p->n_stages, at, (char *)text);
        }
        p->stages[p->n_stages] = stage;
        pcre2_jit_compile(stage, PCRE2_JIT_COMPLETE); /* where there is no JIT it is interpreted */
    }
    return true;
}

struct pre_tokenizer *pre_tokenizer_create(const char *name, size_t n_name, struct error *err)
{
    const struct family *family = find_family(name, n_name);
    if (!family) {
        error_set(err, ERROR_UNSUPPORTED, "unknown pre-tokenizer \"%.*s\" (tokenizer.ggml.pre)",
                  (int)(n_name < 64 ? n_name : 64), name);
        return NULL;
    }
    struct pre_tokenizer *p = calloc(1, sizeof *p);
    if (!p) {
        error_set(err, ERROR_NO_MEMORY, "out of memory");
        return NULL;
    }
    p->family = family;
    if (compile_stages(p, err))
        return p;
    pre_tokenizer_destroy(p);
    return NULL;
}

void pre_tokenizer_destroy(struct pre_tokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_stages; i++)
        pcre2_code_free(p->stages[i]);
    free(p);
}

bool pre_tokenizer_ignores_merges(const struct pre_tokenizer *p)
{
    return p->family->ignores_merges;
}

bool pre_tokenizer_adds_bos(const struct pre_tokenizer *p)
{
    return p->family->adds_bos;
}

struct split {
    const struct pre_tokenizer *p;
    pcre2_match_data *match; /* one for all stages: its offsets are read before the next match */
    pre_tokenizer_sink *sink;
    void *context;
};

/* Finds the next match at or after *from; false if there is none, or the matcher gave up (its
 * limits on work and stack), which leaves the rest one piece. */
static bool next_match(struct split *s, size_t stage, const char *text, size_t n_bytes, size_t from,
                       size_t *begin, size_t *end)
{
    int found = pcre2_match(s->p->stages[stage], (PCRE2_SPTR)text, n_bytes, from,
                            PCRE2_NO_UTF_CHECK, s->match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(s->p->stages[stage], (PCRE2_SPTR)text, n_bytes, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, NULL);
    if (found < 0)
        return false;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->match);
    *begin = ends[0];
    *end = ends[1];
    return *end > *begin;
}

/* Cuts text by the expressions from `stage` on. Each stage sees a piece of the one before alone:
 * what lies behind its end is the end of the text to it. It recurses once per stage. */
static bool split_from(struct split *s, size_t stage, const char *text, size_t n_bytes)
{
    if (!n_bytes)
        return true;
    if (stage == s->p->n_stages)
        return s->sink(s->context, text, n_bytes);
    size_t done = 0, begin, end;
    while (done < n_bytes && next_match(s, stage, text, n_bytes, done, &begin, &end)) {
        if (!split_from(s, stage + 1, text + done, begin - done) ||
            !split_from(s, stage + 1, text + begin, end - begin))
            return false;
        done = end;
    }
    return split_from(s, stage + 1, text + done, n_bytes - done);
}

bool pre_tokenizer_split(const struct pre_tokenizer *p, const char *text, size_t n_bytes,
                         pre_tokenizer_sink *sink, void *context)
{
    struct split s = {p, pcre2_match_data_create(1, NULL), sink, context};
    bool ok = s.match && split_from(&s, 0, text, n_bytes);
    pcre2_match_data_free(s.match);
    return ok;
}
