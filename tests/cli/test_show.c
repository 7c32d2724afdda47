/* `pensieve show` on hand-made files: what is in them, in words and as JSON, and no terminal obeys
 * them. */
#include "base/buf.h"
#include "quant/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "../weights/gguf_bytes.h"

int cli_show(int argc, char **argv);

static char folder[] = "/tmp/pensieve-show-XXXXXX";
static const char template[] =
    "{% for m in messages %}\n{{ m.content }}\n\n{% endfor %}\nfour\nfive";

static char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put_text(struct buf *b, const char *key, const char *text)
{
    gguf_key(b, key, GGUF_STRING);
    gguf_string(b, text);
}

static void put_size(struct buf *b, const char *arch, const char *key, uint32_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    GGUF_META(b, name, U32, uint32_t, value);
}

/* A file of an architecture with 3 words of 32 dimensions; the template may be NULL. */
static void write_model(const char *name, const char *arch, const char *general_name,
                        const char *chat_template)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    gguf_header(&b, 3, 2, 12 + (chat_template != NULL));
    put_text(&b, "general.architecture", arch);
    put_text(&b, "general.name", general_name);
    put_size(&b, arch, "block_count", 2);
    put_size(&b, arch, "embedding_length", 32);
    put_size(&b, arch, "feed_forward_length", 64);
    put_size(&b, arch, "attention.head_count", 4);
    put_size(&b, arch, "attention.head_count_kv", 2);
    put_size(&b, arch, "context_length", 2048);
    GGUF_META(&b, "answer", I8, int8_t, -42);
    put_text(&b, "tokenizer.ggml.model", "gpt2");
    put_text(&b, "tokenizer.ggml.pre", "smollm");
    gguf_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    gguf_string(&b, "a");
    gguf_string(&b, "b");
    gguf_string(&b, "c");
    if (chat_template)
        put_text(&b, "tokenizer.chat_template", chat_template);
    gguf_tensor(&b, "token_embd.weight", QUANT_Q8_0, 2, (uint64_t[]){32, 3}, 0);
    gguf_tensor(&b, "output_norm.weight", QUANT_F32, 1, (uint64_t[]){32}, 128);
    gguf_pad(&b, 32);
    gguf_data(&b, 0, 256);
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
    fclose(f);
    buf_deinit(&b);
}

struct result {
    int code;
    char out[16384], err[4096];
};

static int redirect(FILE *stream, const char *name)
{
    fflush(stream);
    int saved = dup(fileno(stream));
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && fd >= 0);
    dup2(fd, fileno(stream));
    close(fd);
    return saved;
}

static void restore(FILE *stream, int saved, const char *name, char *text, size_t size)
{
    fflush(stream);
    dup2(saved, fileno(stream));
    close(saved);
    FILE *f = fopen(path_of(name), "rb");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void write_bytes(const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Runs `pensieve show` with up to three arguments. */
static struct result *show(char *a, char *b, char *c)
{
    static struct result r;
    char *argv[] = {(char[]){"show"}, a, b, c, NULL};
    int argc = 1;
    while (argv[argc])
        argc++;
    char *model = a ? strdup(a) : NULL; /* path_of's memory is used again below */
    if (a)
        argv[1] = model;
    int out = redirect(stdout, "out"), err = redirect(stderr, "err");
    r.code = cli_show(argc, argv);
    restore(stdout, out, "out", r.out, sizeof r.out);
    restore(stderr, err, "err", r.err, sizeof r.err);
    free(model);
    return &r;
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static char all_flag[] = "--all", json_flag[] = "--json", template_flag[] = "--template";

static void it_tells_what_is_in_the_file(void **state)
{
    (void)state;
    write_model("llama.gguf", "llama", "Little Lama", template);
    struct result *r = show(path_of("llama.gguf"), NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_string_equal(r->err, "");
    static const char *const parts[] = {
        "Little Lama\n",
        "  architecture   llama\n",
        "  parameters     0.1 thousand\n",
        "  layers         2, 32 wide, feed-forward 64\n",
        "  attention      4 heads of 8, 2 for keys and values\n",
        "  context        2048 tokens\n",
        "Q8_0     1 tensor,  0.1 kB: token_embd\n",
        "F32      1 tensor,  0.1 kB: output_norm\n",
        /* 2 layers of 2 heads of 8: keys and values of two bytes each */
        "  memory         0.1 kB for each token of conversation (--kv-type f16); in all ",
        " with 2048 tokens\n",
        "  vocabulary     3 tokens, gpt2, pre-tokenizer smollm\n",
        "    | {% for m in messages %}\n    | {{ m.content }}\n    | \n",
        "    | {% endfor %}\n    | ...\n",
        "  catalogue      not in it\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(r->out, parts[i]);
    assert_null(strstr(r->out, "answer"));
    r = show(path_of("llama.gguf"), all_flag, NULL);
    assert_says(r->out, "  answer = -42\n");
    assert_says(r->out, "  tokenizer.ggml.tokens = [3 strings]\n");
}

static void as_json_it_is_one_object(void **state)
{
    (void)state;
    write_model("llama.gguf", "llama", "Little Lama", template);
    for (int all = 0; all < 2; all++) {
        struct result *r = show(path_of("llama.gguf"), json_flag, all ? all_flag : NULL);
        assert_int_equal(r->code, 0);
        json_t *o = json_loads(r->out, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        const char *name, *chat_template, *type;
        int context, heads, n_vocab, answer = 0, n_file, n_tensors, n_bytes;
        assert_int_equal(json_unpack(o, "{s:s, s:i, s:{s:i}, s:{s:i}, s:s, s:i}", "name", &name,
                                     "context_length", &context, "network", "heads", &heads,
                                     "vocabulary", "tokens", &n_vocab, "chat_template",
                                     &chat_template, "file_bytes", &n_file),
                         0);
        assert_string_equal(name, "Little Lama");
        assert_string_equal(chat_template, template);
        assert_int_equal(context, 2048);
        assert_int_equal(heads, 4);
        assert_int_equal(n_vocab, 3);
        json_t *first = json_array_get(json_object_get(o, "quantization"), 0);
        assert_int_equal(json_unpack(first, "{s:s, s:i, s:i}", "type", &type, "tensors", &n_tensors,
                                     "bytes", &n_bytes),
                         0);
        assert_string_equal(type, "F32"); /* the most bytes come first */
        assert_int_equal(n_tensors, 1);
        assert_int_equal(n_bytes, 128);
        assert_true(json_is_null(json_object_get(o, "catalogue")));
        json_unpack(o, "{s:{s:i}}", "metadata", "answer", &answer);
        assert_int_equal(answer, all ? -42 : 0);
        json_decref(o);
    }
}

static void the_template_comes_whole_or_its_lack_is_an_error(void **state)
{
    (void)state;
    write_model("llama.gguf", "llama", "Little Lama", template);
    struct result *r = show(path_of("llama.gguf"), template_flag, NULL);
    assert_int_equal(r->code, 0);
    assert_int_equal(strlen(r->out), sizeof template);
    assert_memory_equal(r->out, template, sizeof template - 1);
    assert_int_equal(r->out[sizeof template - 1], '\n');
    write_model("bare.gguf", "llama", "x", NULL);
    r = show(path_of("bare.gguf"), template_flag, NULL);
    assert_int_equal(r->code, 1);
    assert_string_equal(r->out, "");
    assert_says(r->err, "has no chat template");
    assert_says(show(path_of("bare.gguf"), NULL, NULL)->out, "  chat template  none\n");
}

static void an_architecture_that_does_not_run_is_shown_all_the_same(void **state)
{
    (void)state;
    write_model("mamba.gguf", "mamba9", "Snake", template);
    struct result *r = show(path_of("mamba.gguf"), NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_says(r->out, "  architecture   mamba9\n");
    assert_says(r->out, "does not run here: ");
    assert_says(r->out, "  context        2048 tokens\n");
    assert_says(r->out, "  parameters     0.1 thousand\n");
    r = show(path_of("mamba.gguf"), json_flag, NULL);
    json_t *o = json_loads(r->out, 0, NULL);
    assert_non_null(o);
    assert_true(json_is_false(json_object_get(o, "runs")));
    assert_true(json_is_string(json_object_get(o, "why_not")));
    json_decref(o);
}

static void no_terminal_obeys_the_file(void **state)
{
    (void)state;
    write_model("evil.gguf", "llama",
                "\033]0;x\a\xc2\x9b"
                "2J\xff\r\n",
                "\033[2J\b");
    struct result *r = show(path_of("evil.gguf"), all_flag, NULL);
    assert_int_equal(r->code, 0);
    for (const char *p = r->out; *p; p++)
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    assert_null(strstr(r->out, "\xc2\x9b"));
    r = show(path_of("evil.gguf"), json_flag, all_flag);
    json_t *o = json_loads(r->out, 0, NULL);
    assert_non_null(o);
    assert_says(json_string_value(json_object_get(o, "name")), "2J?");
    json_decref(o);
}

/* A vector behind one byte lies at an odd place wherever the file lies. */
static void write_folder(void)
{
    static const char tensors[] =
        "{\"__metadata__\":{\"format\":\"mlx\"},"
        "\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"U32\",\"shape\":[2,8],"
        "\"data_offsets\":[0,64]},"
        "\"model.layers.0.mlp.up_proj.scales\":{\"dtype\":\"F16\",\"shape\":[2,1],"
        "\"data_offsets\":[64,68]},"
        "\"model.layers.0.mlp.up_proj.biases\":{\"dtype\":\"F16\",\"shape\":[2,1],"
        "\"data_offsets\":[68,72]},"
        "\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[72,73]},"
        "\"model.norm.weight\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[73,77]},"
        "\"odd.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[77,78]}}";
    const uint64_t length = sizeof tensors - 1 + (sizeof tensors - 1) % 2;
    struct buf b;
    buf_init(&b, 4096);
    buf_append(&b, &length, sizeof length);
    buf_puts(&b, tensors);
    if (length != sizeof tensors - 1)
        buf_putc(&b, ' ');
    gguf_data(&b, 0, 78);
    write_bytes("model.safetensors", b.data, b.len);
    buf_deinit(&b);
    static const char config[] = "{\"model_type\":\"phi3\",\"max_position_embeddings\":4096,"
                                 "\"vocab_size\":32064,"
                                 "\"quantization\":{\"bits\":4,\"group_size\":64}}";
    static const char tokenizer[] = "{\"chat_template\":\"{{ messages }}\"}";
    write_bytes("config.json", config, sizeof config - 1);
    static const char generation[] = "{\"do_sample\":false,\"top_k\":5}";
    write_bytes("tokenizer_config.json", tokenizer, sizeof tokenizer - 1);
    write_bytes("generation_config.json", generation, sizeof generation - 1);
}

static void a_folder_is_shown_whole(void **state)
{
    (void)state;
    write_folder();
    struct result *r = show(folder, NULL, NULL);
    assert_int_equal(r->code, 0);
    static const char *const parts[] = {
        "bytes), safetensors of MLX\n",
        "0.0 kB lie at odd places and are copied into memory\n",
        "  architecture   phi3\n",
        "does not run here: config.json lacks num_hidden_layers\n",
        "  context        4096 tokens\n",
        "AFFINE_4    1 tensor,  0.1 kB, groups of 64: up_proj\n",
        "F16      1 tensor,  0.0 kB: norm\n",
        "  vocabulary     32064 tokens\n",
        "  beside them    tokenizer_config.json, generation_config.json, config.json\n",
        "  its sampling   temperature 0, top_k 5\n",
        ("  chat template  14 bytes of tokenizer_config.json (whole: --template)\n"
         "    | {{ messages }}\n"),
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(r->out, parts[i]);
    r = show(path_of("model.safetensors"), all_flag, NULL);
    assert_says(r->out, "\nconfig.json:\n{\"model_type\":\"phi3\"");
    r = show(folder, all_flag, json_flag);
    json_t *object = json_loads(r->out, 0, NULL);
    assert_non_null(object);
    const char *format, *file, *kinds, *type;
    int made, group;
    assert_int_equal(json_unpack(object, "{s:s, s:[{s:s}], s:i, s:[{s:s, s:i, s:s}], s:{s:s}}",
                                 "format", &format, "files", "name", &file, "made_bytes", &made,
                                 "quantization", "type", &type, "group", &group, "kinds", &kinds,
                                 "metadata", "model_type", &format),
                     0);
    assert_string_equal(file, "model.safetensors");
    assert_int_equal(made, 4);
    assert_string_equal(type, "AFFINE_4");
    assert_int_equal(group, 64);
    assert_string_equal(kinds, "up_proj");
    json_decref(object);
    r = show(folder, template_flag, NULL);
    assert_string_equal(r->out, "{{ messages }}\n");
}

/* What a broken download is: all that describes the tensors, and some of them. */
static void a_cut_file_is_shown_as_far_as_it_goes(void **state)
{
    (void)state;
    struct stat st;
    write_model("cut.gguf", "llama", "Half", template);
    assert_int_equal(stat(path_of("cut.gguf"), &st), 0);
    assert_int_equal(truncate(path_of("cut.gguf"), st.st_size - 130), 0);
    struct result *r = show(path_of("cut.gguf"), NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_says(r->out, "Half\n");
    assert_says(r->out, "  layers         2, 32 wide, feed-forward 64\n");
    assert_says(r->out, "cut.gguf: byte ");
    assert_says(r->out, "the file is cut: tensor \"output_norm.weight\" ends at byte ");
    assert_says(r->out, "1 of 2 tensors are not whole: it can be shown, not run\n");
    assert_says(r->out, "    | {% for m in messages %}\n");
    r = show(path_of("cut.gguf"), json_flag, NULL);
    json_t *o = json_loads(r->out, 0, NULL);
    int missing;
    assert_int_equal(json_unpack(o, "{s:i}", "missing_tensors", &missing), 0);
    assert_int_equal(missing, 1);
    assert_true(json_is_false(json_object_get(o, "is_whole")));
    assert_true(json_is_string(json_object_get(o, "cut")));
    json_decref(o);
    assert_says(show(path_of("llama.gguf"), json_flag, NULL)->out, "\"is_whole\": true");
}

/* A mix of types: which layers have which is told where not all have it. */
static void layers_are_told_where_they_differ(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    gguf_header(&b, 3, 8, 1);
    put_text(&b, "general.architecture", "llama");
    for (unsigned i = 0; i < 7; i++) {
        char name[64];
        const bool is_large = i < 3 || i == 5;
        snprintf(name, sizeof name, "blk.%u.ffn_down.weight", i);
        gguf_tensor(&b, name, is_large ? QUANT_F32 : QUANT_Q8_0, 2, (uint64_t[]){32, 1}, i * 128);
    }
    gguf_tensor(&b, "output.weight", QUANT_Q8_0, 2, (uint64_t[]){32, 1}, 7 * 128);
    gguf_pad(&b, 32);
    gguf_data(&b, 0, 8 * 128);
    write_bytes("layers.gguf", b.data, b.len);
    buf_deinit(&b);
    struct result *r = show(path_of("layers.gguf"), NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_says(r->out, "F32      4 tensors, 0.5 kB: ffn_down of layers 0-2,5\n");
    assert_says(r->out, "Q8_0     4 tensors, 0.1 kB: ffn_down of layers 3-4,6, output\n");
}

static void what_is_wrong_is_said_on_standard_error(void **state)
{
    (void)state;
    char odd[] = "--frobnicate", help[] = "--help", missing[] = "/nonexistent/x.gguf";
    struct result *r = show(NULL, NULL, NULL);
    assert_int_equal(r->code, 2);
    assert_says(r->err, "which MODEL");
    r = show(odd, NULL, NULL);
    assert_int_equal(r->code, 2);
    assert_says(r->err, "--frobnicate");
    r = show(help, NULL, NULL);
    assert_int_equal(r->code, 0);
    assert_says(r->out, "usage: pensieve show [options] MODEL");
    r = show(missing, NULL, NULL);
    assert_int_equal(r->code, 1);
    assert_says(r->err, "/nonexistent/x.gguf");
    write_model("cut.gguf", "llama", "x", NULL);
    assert_int_equal(truncate(path_of("cut.gguf"), 300), 0);
    r = show(path_of("cut.gguf"), NULL, NULL);
    assert_int_equal(r->code, 1);
    assert_string_equal(r->out, "");
    assert_says(r->err, "cut.gguf: metadata entry");
    assert_says(r->err, "byte ");
}

static int make_folder(void **state)
{
    (void)state;
    setenv("PENSIEVE_HOME", mkdtemp(folder) ? folder : "/nonexistent", 1);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"llama.gguf",
                                        "bare.gguf",
                                        "mamba.gguf",
                                        "evil.gguf",
                                        "cut.gguf",
                                        "out",
                                        "err",
                                        "config.json",
                                        "model.safetensors",
                                        "tokenizer_config.json",
                                        "generation_config.json",
                                        "layers.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_what_is_in_the_file),
        cmocka_unit_test(as_json_it_is_one_object),
        cmocka_unit_test(the_template_comes_whole_or_its_lack_is_an_error),
        cmocka_unit_test(an_architecture_that_does_not_run_is_shown_all_the_same),
        cmocka_unit_test(no_terminal_obeys_the_file),
        cmocka_unit_test(a_folder_is_shown_whole),
        cmocka_unit_test(a_cut_file_is_shown_as_far_as_it_goes),
        cmocka_unit_test(layers_are_told_where_they_differ),
        cmocka_unit_test(what_is_wrong_is_said_on_standard_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
