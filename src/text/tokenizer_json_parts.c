/* The pipelines of a tokenizer.json, as Hugging Face's tokenizers write and read them
 * (github.com/huggingface/tokenizers: normalizers/, pre_tokenizers/, decoders/, processors/). Each
 * is null, one stage with a "type", or a "Sequence" of them. */
#include "text/tokenizer_json.h"

#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define MARK "\xe2\x96\x81" /* U+2581 */

/* ---- what all have ---- */

static bool is_absent(const struct json_tree_value *v)
{
    return !v || v->kind == JSON_TREE_NULL;
}

static bool json_refuse(const struct json_tree_value *stage, const char *what, struct error *err)
{
    const struct json_tree_value *type = json_tree_member(stage, "type");
    bool named = json_tree_is(type, JSON_TREE_STRING);
    return error_set(err, ERROR_UNSUPPORTED, "%s \"%.*s\" is not known here", what,
                     named ? (int)(type->len < 64 ? type->len : 64) : 1, named ? type->text : "?");
}

/* A bool member; `otherwise` where there is none. */
static bool json_flag(const struct json_tree_value *stage, const char *name, bool otherwise)
{
    const struct json_tree_value *v = json_tree_member(stage, name);
    return json_tree_is(v, JSON_TREE_BOOL) ? v->is_true : otherwise;
}

typedef bool stage_reader(struct tokenizer_file *f, const struct json_tree_value *stage,
                          struct error *err);

/* A stage, or one after the other those of a sequence; JSON's own limit on depth bounds it. */
static bool read_stages(struct tokenizer_file *f, const struct json_tree_value *part,
                        const char *list, stage_reader *reader, struct error *err)
{
    if (is_absent(part))
        return true;
    if (!json_tree_equals(json_tree_member(part, "type"), "Sequence"))
        return reader(f, part, err);
    const struct json_tree_value *stages = json_tree_member(part, list);
    if (!json_tree_is(stages, JSON_TREE_ARRAY))
        return error_set(err, ERROR_FORMAT, "a \"Sequence\" without \"%s\"", list);
    const struct json_tree_value *stage = json_tree_first(stages);
    for (size_t i = 0; i < stages->n_items; i++, stage = json_tree_after(stage))
        if (!read_stages(f, stage, list, reader, err))
            return false;
    return true;
}

/* {"String": "x"} or {"Regex": "x"}; older files have the string alone. */
static struct regex *read_pattern(const struct json_tree_value *stage, struct error *err)
{
    const struct json_tree_value *pattern = json_tree_member(stage, "pattern");
    const struct json_tree_value *regex = json_tree_member(pattern, "Regex");
    const struct json_tree_value *string = json_tree_member(pattern, "String");
    if (json_tree_is(regex, JSON_TREE_STRING))
        return regex_create(regex->text, regex->len, err);
    string = json_tree_is(pattern, JSON_TREE_STRING) ? pattern : string;
    if (json_tree_is(string, JSON_TREE_STRING))
        return regex_create_literal(string->text, string->len, err);
    error_set(err, ERROR_FORMAT, "a \"pattern\" is missing");
    return NULL;
}

static const struct json_tree_value *read_string(const struct json_tree_value *stage,
                                                 const char *name, struct error *err)
{
    const struct json_tree_value *v = json_tree_member(stage, name);
    if (json_tree_is(v, JSON_TREE_STRING))
        return v;
    error_set(err, ERROR_FORMAT, "a \"%s\" is missing", name);
    return NULL;
}

/* ---- normalizers ---- */

static bool read_replace(struct tokenizer_file *f, const struct json_tree_value *stage,
                         struct error *err)
{
    const struct json_tree_value *content = read_string(stage, "content", err);
    struct regex *r = content ? read_pattern(stage, err) : NULL;
    return r && normalizer_add_replace(f->normalizer, r, content->text, content->len, err);
}

static bool read_normalizer(struct tokenizer_file *f, const struct json_tree_value *stage,
                            struct error *err)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"}; /* enum normalizer_form */
    const struct json_tree_value *type = json_tree_member(stage, "type");
    for (int i = 0; i < 4; i++)
        if (json_tree_equals(type, forms[i]))
            return normalizer_add_form(f->normalizer, (enum normalizer_form)i, err);
    if (json_tree_equals(type, "Lowercase"))
        return normalizer_add_lowercase(f->normalizer, err);
    if (json_tree_equals(type, "StripAccents"))
        return normalizer_add_strip_accents(f->normalizer, err);
    if (json_tree_equals(type, "Strip"))
        return normalizer_add_strip(f->normalizer, json_flag(stage, "strip_left", true),
                                    json_flag(stage, "strip_right", true), err);
    if (json_tree_equals(type, "Replace"))
        return read_replace(f, stage, err);
    if (json_tree_equals(type, "Precompiled")) {
        const struct json_tree_value *v = read_string(stage, "precompiled_charsmap", err);
        struct charsmap *c = v ? charsmap_create_base64(v->text, v->len, err) : NULL;
        return c && normalizer_add_charsmap(f->normalizer, c, err);
    }
    if (json_tree_equals(type, "Prepend")) {
        const struct json_tree_value *v = read_string(stage, "prepend", err);
        return v && normalizer_add_prepend(f->normalizer, v->text, v->len, err);
    }
    return json_refuse(stage, "the normalizer", err);
}

bool tokenizer_json_normalizer(struct tokenizer_file *f, const struct json_tree_value *part,
                               struct error *err)
{
    f->normalizer = normalizer_create(err);
    return f->normalizer && read_stages(f, part, "normalizers", read_normalizer, err);
}

/* ---- pre-tokenizers ---- */

static bool add_pattern(struct tokenizer_file *f, const char *pattern,
                        enum pre_tokenizer_behavior behavior, bool invert, struct error *err)
{
    struct regex *r = regex_create(pattern, strlen(pattern), err);
    return r && pre_tokenizer_add_regex(f->pre, r, behavior, invert, err);
}

static bool read_behavior(const struct json_tree_value *stage, enum pre_tokenizer_behavior *out,
                          struct error *err)
{
    static const char *const names[] = {/* enum pre_tokenizer_behavior */
                                        "Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const struct json_tree_value *v = json_tree_member(stage, "behavior");
    for (int i = 0; i < 5; i++) {
        *out = (enum pre_tokenizer_behavior)i;
        if (json_tree_equals(v, names[i]))
            return true;
    }
    *out = PRE_TOKENIZER_ISOLATED;
    return is_absent(v) || error_set(err, ERROR_FORMAT, "a \"behavior\" that is not known");
}

static bool read_split(struct tokenizer_file *f, const struct json_tree_value *stage,
                       struct error *err)
{
    enum pre_tokenizer_behavior behavior;
    struct regex *r = read_behavior(stage, &behavior, err) ? read_pattern(stage, err) : NULL;
    return r &&
           pre_tokenizer_add_regex(f->pre, r, behavior, json_flag(stage, "invert", false), err);
}

static bool read_metaspace(struct tokenizer_file *f, const struct json_tree_value *stage,
                           struct error *err)
{
    const struct json_tree_value *mark = read_string(stage, "replacement", err);
    const struct json_tree_value *name = json_tree_member(stage, "prepend_scheme");
    enum pre_tokenizer_scheme scheme =
        json_flag(stage, "add_prefix_space", true) ? PRE_TOKENIZER_ALWAYS : PRE_TOKENIZER_NEVER;
    if (!mark)
        return false;
    if (json_tree_equals(name, "first"))
        scheme = PRE_TOKENIZER_FIRST;
    else if (json_tree_equals(name, "never"))
        scheme = PRE_TOKENIZER_NEVER;
    else if (json_tree_equals(name, "always"))
        scheme = PRE_TOKENIZER_ALWAYS;
    else if (!is_absent(name))
        return error_set(err, ERROR_FORMAT, "a \"prepend_scheme\" that is not known");
    return pre_tokenizer_add_spaces(f->pre, mark->text, mark->len, scheme,
                                    json_flag(stage, "split", true), err);
}

static bool read_byte_level(struct tokenizer_file *f, const struct json_tree_value *stage,
                            struct error *err)
{
    f->kind = TOKENIZER_BYTE_BPE;
    if (json_flag(stage, "add_prefix_space", true) && !pre_tokenizer_add_space(f->pre, err))
        return false;
    return !json_flag(stage, "use_regex", true) ||
           add_pattern(f, GPT2, PRE_TOKENIZER_ISOLATED, false, err);
}

static bool read_delimiter(struct tokenizer_file *f, const struct json_tree_value *stage,
                           struct error *err)
{
    const struct json_tree_value *v = read_string(stage, "delimiter", err);
    struct regex *r = v ? regex_create_literal(v->text, v->len, err) : NULL;
    return r && pre_tokenizer_add_regex(f->pre, r, PRE_TOKENIZER_REMOVED, false, err);
}

static bool read_pre_tokenizer(struct tokenizer_file *f, const struct json_tree_value *stage,
                               struct error *err)
{
    const struct json_tree_value *type = json_tree_member(stage, "type");
    enum pre_tokenizer_behavior behavior;
    if (f->kind == TOKENIZER_BYTE_BPE)
        return error_set(err, ERROR_UNSUPPORTED, "a pre-tokenizer after \"ByteLevel\"");
    if (json_tree_equals(type, "ByteLevel"))
        return read_byte_level(f, stage, err);
    if (json_tree_equals(type, "Split"))
        return read_split(f, stage, err);
    if (json_tree_equals(type, "Metaspace"))
        return read_metaspace(f, stage, err);
    if (json_tree_equals(type, "Digits"))
        return add_pattern(f, json_flag(stage, "individual_digits", false) ? "\\p{N}" : "\\p{N}+",
                           PRE_TOKENIZER_ISOLATED, false, err);
    if (json_tree_equals(type, "Punctuation"))
        return read_behavior(stage, &behavior, err) &&
               add_pattern(f, "[!-/:-@\\[-`{-~\\p{P}]", behavior, false, err);
    if (json_tree_equals(type, "Whitespace"))
        return add_pattern(f, "\\w+|[^\\w\\s]+", PRE_TOKENIZER_REMOVED, true, err);
    if (json_tree_equals(type, "WhitespaceSplit"))
        return add_pattern(f, "\\s", PRE_TOKENIZER_REMOVED, false, err);
    if (json_tree_equals(type, "CharDelimiterSplit"))
        return read_delimiter(f, stage, err);
    return json_refuse(stage, "the pre-tokenizer", err);
}

bool tokenizer_json_pre_tokenizer(struct tokenizer_file *f, const struct json_tree_value *part,
                                  struct error *err)
{
    f->kind = TOKENIZER_CHAR_BPE;
    f->pre = pre_tokenizer_create(err);
    return f->pre && read_stages(f, part, "pretokenizers", read_pre_tokenizer, err);
}

/* ---- decoders ---- */

/* What tokens stand for must follow from each alone: so a stage may say what its bytes are, or join
 * them. A "Strip" is right where it takes away the mark before a text, which is left to whoever
 * shows it. */
static bool read_decoder(struct tokenizer_file *f, const struct json_tree_value *stage,
                         struct error *err)
{
    const struct json_tree_value *type = json_tree_member(stage, "type");
    const struct json_tree_value *content = json_tree_member(stage, "content");
    uint64_t n_end = 0;
    if (json_tree_equals(type, "ByteLevel") || json_tree_equals(type, "ByteFallback") ||
        json_tree_equals(type, "Fuse"))
        return true;
    if (json_tree_equals(type, "Strip") && json_tree_equals(content, " ") &&
        json_tree_uint(json_tree_member(stage, "stop"), &n_end) && !n_end)
        return true;
    bool replaces = json_tree_equals(type, "Replace") && json_tree_equals(content, " ") &&
                    json_tree_equals(json_tree_path(stage, "pattern.String"), MARK);
    if (!replaces && !(json_tree_equals(type, "Metaspace") &&
                       json_tree_equals(json_tree_member(stage, "replacement"), MARK)))
        return json_refuse(stage, "the decoder", err);
    f->spaces_are_marks = true;
    return true;
}

bool tokenizer_json_decoder(struct tokenizer_file *f, const struct json_tree_value *part,
                            struct error *err)
{
    return read_stages(f, part, "decoders", read_decoder, err);
}

/* ---- post-processors ---- */

/* The first item of "single", where it is a special token: the one to begin with. */
static bool read_template(struct tokenizer_file *f, const struct json_tree_value *stage,
                          struct error *err)
{
    const struct json_tree_value *single = json_tree_member(stage, "single");
    const struct json_tree_value *known = json_tree_member(stage, "special_tokens");
    const struct json_tree_value *name =
        json_tree_path(json_tree_item(single, 0), "SpecialToken.id");
    if (!json_tree_is(name, JSON_TREE_STRING))
        return true;
    const struct json_tree_value *at = known ? json_tree_first(known) : NULL;
    uint64_t id;
    for (size_t i = 0; json_tree_is(known, JSON_TREE_OBJECT) && i < known->n_items;
         i++, at = json_tree_after(json_tree_after(at))) {
        if (at->len != name->len || memcmp(at->text, name->text, at->len) != 0)
            continue;
        if (!json_tree_uint(json_tree_item(json_tree_member(json_tree_after(at), "ids"), 0), &id) ||
            id >= f->n)
            break;
        f->bos = (int32_t)id;
        f->add_bos = true;
        return true;
    }
    return error_set(err, ERROR_FORMAT, "the post-processor's first token is not one of its own");
}

static bool read_post_processor(struct tokenizer_file *f, const struct json_tree_value *stage,
                                struct error *err)
{
    const struct json_tree_value *type = json_tree_member(stage, "type");
    if (json_tree_equals(type, "ByteLevel")) /* it moves offsets, no tokens */
        return true;
    if (json_tree_equals(type, "TemplateProcessing"))
        return read_template(f, stage, err);
    return json_refuse(stage, "the post-processor", err);
}

bool tokenizer_json_post_processor(struct tokenizer_file *f, const struct json_tree_value *part,
                                   struct error *err)
{
    return read_stages(f, part, "processors", read_post_processor, err);
}
