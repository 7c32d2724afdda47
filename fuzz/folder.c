/* Any files as a folder of safetensors, its index and its JSON: opened or refused, and all that is
 * offered lies inside them. */
#include "files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
};

static void ask_config(const struct weights *w)
{
    static const char *const paths[] = {"a",           "a.b", "quantization.bits", "generation.a",
                                        "tokenizer.a", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        uint64_t u;
        int64_t v;
        float x;
        bool yes;
        struct weights_string s = {0};
        files_sink += weights_config_uint(w, paths[i], &u);
        files_sink += weights_config_int(w, paths[i], &v);
        files_sink += weights_config_float(w, paths[i], &x);
        files_sink += weights_config_bool(w, paths[i], &yes);
        if (weights_config_string(w, paths[i], &s))
            files_touch(s.data, s.len);
        size_t n = weights_config_array_len(w, paths[i]);
        for (size_t k = 0; k < n && k < 100; k++)
            if (weights_config_array_string(w, paths[i], k, &s))
                files_touch(s.data, s.len);
        if (weights_config_array_float(w, paths[i], n, &x))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct files f;
    struct error err = {0};
    files_take(&f, names, sizeof names / sizeof *names, data, size);
    struct weights *w = weights_open_files(f.files, f.n, NULL, &err);
    if (w) {
        files_read_model(w);
        ask_config(w);
        weights_close(w);
    } else if (err.code == ERROR_NONE || err.code == ERROR_NO_MEMORY || !err.message[0]) {
        abort();
    }
    files_free(&f);
    return 0;
}
