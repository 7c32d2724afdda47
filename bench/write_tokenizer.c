/* See write_tokenizer.h. The format is that of github.com/huggingface/tokenizers. */
#include "write_tokenizer.h"

enum { CONTROL = 3, UNUSED = 5 };

static void put_string(struct buf *json, const char *text)
{
    buf_putc(json, '"');
    for (; *text; text++) {
        if (*text == '\n') {
            buf_puts(json, "\\n");
            continue;
        }
        if (*text == '"' || *text == '\\')
            buf_putc(json, '\\');
        buf_putc(json, *text);
    }
    buf_putc(json, '"');
}

static bool is_added(const struct dummy_vocabulary *v, uint32_t i)
{
    return v->types[i] == CONTROL || v->types[i] == UNUSED;
}

static void put_added(const struct dummy_vocabulary *v, struct buf *json)
{
    const char *comma = "";
    buf_puts(json, "  \"added_tokens\": [");
    for (uint32_t i = 0; i < v->n; i++) {
        if (!is_added(v, i))
            continue;
        buf_printf(json, "%s\n    {\"id\": %u, \"content\": ", comma, i);
        put_string(json, v->tokens[i]);
        buf_puts(json, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                       "\"normalized\": false, \"special\": true}");
        comma = ",";
    }
    buf_puts(json, "\n  ],\n");
}

/* What comes before and after the model. */
static void put_parts(const struct dummy_vocabulary *v, struct buf *json)
{
    if (v->kind == MODEL_SHAPE_SPM)
        buf_puts(json,
                 "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [\n"
                 "    {\"type\": \"Prepend\", \"prepend\": \"\xe2\x96\x81\"},\n"
                 "    {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
                 "\"content\": \"\xe2\x96\x81\"}]},\n"
                 "  \"pre_tokenizer\": null,\n  \"post_processor\": null,\n"
                 "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [\n"
                 "    {\"type\": \"Replace\", \"pattern\": {\"String\": \"\xe2\x96\x81\"}, "
                 "\"content\": \" \"},\n"
                 "    {\"type\": \"ByteFallback\"},\n    {\"type\": \"Fuse\"},\n"
                 "    {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]},\n");
    else
        buf_puts(json,
                 "  \"normalizer\": {\"type\": \"NFC\"},\n"
                 "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
                 "    {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
                 "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
                 "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": \"Isolated\", "
                 "\"invert\": false},\n"
                 "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                 "\"trim_offsets\": false, \"use_regex\": false}]},\n"
                 "  \"post_processor\": null,\n"
                 "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                 "\"trim_offsets\": false, \"use_regex\": false},\n");
}

void write_tokenizer(const struct dummy_vocabulary *v, struct buf *json)
{
    const bool is_spm = v->kind == MODEL_SHAPE_SPM;
    const char *comma = "";
    buf_puts(json, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(v, json);
    put_parts(v, json);
    buf_printf(json,
               "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": %s, "
               "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
               "\"fuse_unk\": %s, \"byte_fallback\": %s,\n    \"vocab\": {",
               is_spm ? "\"<unk>\"" : "null", is_spm ? "true" : "false",
               is_spm ? "true" : "false");
    for (uint32_t i = 0; i < v->n; i++) {
        if (!is_spm && is_added(v, i))
            continue;
        buf_printf(json, "%s\n      ", comma);
        put_string(json, v->tokens[i]);
        buf_printf(json, ": %u", i);
        comma = ",";
    }
    buf_puts(json, "\n    },\n    \"merges\": [");
    for (uint32_t i = 0; i < v->n_merges; i++) {
        buf_puts(json, i ? ",\n      " : "\n      ");
        put_string(json, v->merges[i]);
    }
    buf_puts(json, "\n    ]\n  }\n}\n");
}

void write_tokenizer_config(const struct dummy_vocabulary *v, uint32_t n_ctx, struct buf *json)
{
    const bool is_spm = v->kind == MODEL_SHAPE_SPM;
    buf_printf(json, "{\n  \"tokenizer_class\": \"%s\",\n  \"model_max_length\": %u,\n",
               is_spm ? "LlamaTokenizerFast" : "Qwen2Tokenizer", n_ctx);
    buf_printf(json, "  \"add_bos_token\": %s,\n  \"bos_token\": ", is_spm ? "true" : "false");
    if (is_spm)
        put_string(json, v->tokens[v->bos]);
    else
        buf_puts(json, "null");
    buf_puts(json, ",\n  \"eos_token\": ");
    put_string(json, v->tokens[v->eos]);
    buf_puts(json, ",\n  \"pad_token\": ");
    put_string(json, v->tokens[v->padding]);
    buf_puts(json, ",\n  \"chat_template\": ");
    put_string(json, v->chat_template);
    buf_puts(json, "\n}\n");
}
