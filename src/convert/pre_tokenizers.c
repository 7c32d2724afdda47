/* See pre_tokenizers.h. */
#include "convert/pre_tokenizers.h"

#include <stdio.h>
#include <string.h>

#define SPLIT(regex)                                                                               \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex                                      \
    "\"}, \"behavior\": \"Isolated\", \"invert\": false}"
#define BYTES PRE_TOKENIZERS_BYTES
#define DIGITS "{\"type\": \"Digits\", \"individual_digits\": true}"
#define CL100K(digits)                                                                             \
    SPLIT("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits           \
          "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define NO_LETTER "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"
#define CASED(tail, digits)                                                                        \
    SPLIT(NO_LETTER UPPER "*" LOWER "+" tail "|" NO_LETTER UPPER "+" LOWER "*" tail "|" digits     \
                    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|"              \
                    "\\\\s+(?!\\\\S)|\\\\s+")

static const struct pre_tokenizer pre_tokenizers[] = {
    {"gpt-2", BYTES("true"), false, false},
    {"smollm", DIGITS ", " BYTES("true"), false, false},
    {"starcoder", DIGITS ", " BYTES("true"), false, false},
    {"refact", DIGITS ", " BYTES("true"), false, false},
    {"qwen2", CL100K("\\\\p{N}") ", " BYTES("false"), true, false},
    {"deepseek-r1-qwen", CL100K("\\\\p{N}") ", " BYTES("false"), true, false},
    {"llama-bpe", CL100K("\\\\p{N}{1,3}") ", " BYTES("false"), false, true},
    {"llama3", CL100K("\\\\p{N}{1,3}") ", " BYTES("false"), false, true},
    {"dbrx", CL100K("\\\\p{N}{1,3}") ", " BYTES("false"), false, false},
    {"tekken", CASED("", "\\\\p{N}") ", " BYTES("false"), false, true},
    {"gpt-4o", CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "\\\\p{N}{1,3}") ", " BYTES("false"), false,
     false},
};

const struct pre_tokenizer *pre_tokenizers_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
        if (len == strlen(pre_tokenizers[i].name) && !memcmp(name, pre_tokenizers[i].name, len))
            return &pre_tokenizers[i];
    return NULL;
}

static bool same_string(const struct json_tree_value *a, const struct json_tree_value *b)
{
    return a && b && a->kind == JSON_TREE_STRING && b->kind == JSON_TREE_STRING &&
           a->len == b->len && !memcmp(a->text, b->text, a->len);
}

/* A member that is true, or `standard` where there is none. */
static bool is_true(const struct json_tree_value *v, const char *member, bool standard)
{
    const struct json_tree_value *m = json_tree_member(v, member);
    return m && m->kind == JSON_TREE_BOOL ? m->is_true : standard;
}

/* Two steps that cut alike. */
static bool same_step(const struct json_tree_value *a, const struct json_tree_value *b)
{
    const struct json_tree_value *type = json_tree_member(a, "type");
    if (!same_string(type, json_tree_member(b, "type")))
        return false;
    if (json_tree_equals(type, "Split"))
        return same_string(json_tree_path(a, "pattern.Regex"),
                           json_tree_path(b, "pattern.Regex")) &&
               is_true(a, "invert", false) == is_true(b, "invert", false);
    if (json_tree_equals(type, "Digits"))
        return is_true(a, "individual_digits", false) == is_true(b, "individual_digits", false);
    return json_tree_equals(type, "ByteLevel") &&
           is_true(a, "use_regex", true) == is_true(b, "use_regex", true) &&
           is_true(a, "add_prefix_space", true) == is_true(b, "add_prefix_space", true);
}

/* `v` is a Sequence, or its only step. */
static bool same_steps(const struct json_tree_value *v, const struct json_tree_value *steps)
{
    const struct json_tree_value *own = json_tree_member(v, "pretokenizers");
    if (!json_tree_equals(json_tree_member(v, "type"), "Sequence"))
        return steps->n_items == 1 && same_step(v, json_tree_item(steps, 0));
    if (!json_tree_is(own, JSON_TREE_ARRAY) || own->n_items != steps->n_items)
        return false;
    for (uint32_t i = 0; i < own->n_items; i++)
        if (!same_step(json_tree_item(own, i), json_tree_item(steps, i)))
            return false;
    return true;
}

const struct pre_tokenizer *pre_tokenizers_match(const struct json_tree_value *v)
{
    enum { MOST_VALUES = 64 };
    for (size_t i = 0; v && i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++) {
        char text[1024];
        struct json_tree tree;
        const int n = snprintf(text, sizeof text, "[%s]", pre_tokenizers[i].json);
        if (!json_tree_read(&tree, text, (size_t)n, MOST_VALUES, NULL))
            continue;
        const bool same = same_steps(v, tree.values);
        json_tree_deinit(&tree);
        if (same)
            return &pre_tokenizers[i];
    }
    return NULL;
}
