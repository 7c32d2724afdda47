/* A tensor in a type that its place can't have is refused with one sentence: which tensor, which
 * type, and what is wrong. Tiny models in whose files one type is another. */
#include "backend/cpu/cpu.h"
#include "model/model.h"
#include "support/tiny_folder.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Where a text begins that is there for certain. */
static uint8_t *find_text(void *data, size_t size, const char *text)
{
    const size_t n = strlen(text);
    for (uint8_t *p = data; p + n <= (uint8_t *)data + size; p++)
        if (!memcmp(p, text, n))
            return p;
    fail_msg("there is no %s", text);
    return NULL;
}

/* The error of a model's weights or, if they open, of the model. */
static struct error error_of(struct weights *w, struct error err)
{
    struct backend *be = backend_cpu_create(&(struct backend_cpu_options){.n_threads = 1}, &err);
    assert_non_null(be);
    if (w) {
        struct model *m = model_create(w, be, &(struct model_options){.n_ctx = 64}, &err);
        assert_null(m);
    }
    be->ops->destroy(be);
    weights_close(w);
    return err;
}

static void assert_says(const struct error *err, const char *name, const char *type,
                        const char *what)
{
    if (!strstr(err->message, name) || !strstr(err->message, type) || !strstr(err->message, what))
        fail_msg("\"%s\" does not say %s, %s and \"%s\"", err->message, name, type, what);
}

static void types_of_gguf_are_refused_in_the_wrong_place(void **state)
{
    static const struct {
        const char *name;
        uint32_t type;
        const char *type_name, *what;
    } cases[] = {
        {"blk.0.attn_norm.weight", QUANT_Q8_0, "Q8_0", "norms and biases are F32"},
        {"output_norm.weight", QUANT_MXFP4, "MXFP4", "norms and biases are F32"},
        {"blk.1.ffn_down.weight", 26, "I32", "cannot decode"},
        {"blk.1.ffn_down.weight", QUANT_Q4_K, "Q4_K", "rows of 96 elements are not whole blocks"},
        {"token_embd.weight", QUANT_Q1_0, "Q1_0", "rows of 64 elements are not whole blocks"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_model file;
        struct error err = {.message = ""};
        tiny_model_init(&file);
        uint8_t *p = find_text(file.data, file.size, cases[i].name) + strlen(cases[i].name);
        uint32_t n_dims;
        memcpy(&n_dims, p, sizeof n_dims);
        memcpy(p + 4 + 8 * n_dims, &cases[i].type, 4);
        struct weights *w = weights_open_bytes(file.data, file.size, &err);
        err = error_of(w, err);
        assert_says(&err, cases[i].name, cases[i].type_name, cases[i].what);
        tiny_model_deinit(&file);
    }
}

static void types_of_folders_are_refused_in_the_wrong_place(void **state)
{
    static const char *const names[] = {"model.layers.0.mlp.down_proj.weight",
                                        "model.layers.1.input_layernorm.weight"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tiny_folder folder;
        struct error err = {.message = ""};
        tiny_folder_init(&folder, &(struct tiny_folder_kind){", \"model_type\": \"llama\""});
        const struct weights_file *file = &folder.files[1];
        uint8_t *p = find_text((void *)file->data, file->size, names[i]);
        p = find_text(p, 200, "F32");
        *p = 'I';
        struct weights *w = weights_open_files(folder.files, 2, NULL, &err);
        assert_non_null(w);
        err = error_of(w, err);
        assert_says(&err, names[i], "I32", "which no weights can be");
        tiny_folder_deinit(&folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_gguf_are_refused_in_the_wrong_place),
        cmocka_unit_test(types_of_folders_are_refused_in_the_wrong_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
