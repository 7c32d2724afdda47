/* A tokenizer of a folder in memory: the smallest that opens, with a tokenizer.json in it. */
#ifndef PENSIEVE_TESTS_TEXT_TOKENIZER_FOLDER_H
#define PENSIEVE_TESTS_TEXT_TOKENIZER_FOLDER_H

#include "test_tokenizer_cases.h"

#include <stdlib.h>
#include <string.h>

struct tokenizer_folder {
    struct weights *w;
    struct tokenizer *t; /* NULL: err says why */
    struct error err;
};

/* Of these files, which must outlive it, and the smallest tensors. */
static inline struct tokenizer_folder tokenizer_folder_open(const struct weights_file *more,
                                                            size_t n_more)
{
    static const struct {
        uint64_t n_header;
        char header[64], data[8];
    } tensors = {
        64, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}          ", {0}};
    struct weights_file files[8] = {{"model.safetensors", &tensors, sizeof tensors}};
    struct tokenizer_folder f = {0};
    memcpy(files + 1, more, n_more * sizeof *more);
    f.w = weights_open_files(files, n_more + 1, NULL, &f.err);
    if (!f.w) {
        fprintf(stderr, "%s\n", f.err.message);
        abort();
    }
    f.t = tokenizer_create(f.w, &f.err);
    return f;
}

/* Texts may be NULL: no such file. They must outlive it. */
static inline struct tokenizer_folder
tokenizer_folder_make(const char *tokenizer_json, const char *tokenizer_config, const char *config)
{
    struct weights_file files[4];
    size_t n = 0;
    config = config ? config : "{}";
    files[n++] = (struct weights_file){"config.json", config, strlen(config)};
    if (tokenizer_json)
        files[n++] =
            (struct weights_file){"tokenizer.json", tokenizer_json, strlen(tokenizer_json)};
    if (tokenizer_config)
        files[n++] = (struct weights_file){"tokenizer_config.json", tokenizer_config,
                                           strlen(tokenizer_config)};
    return tokenizer_folder_open(files, n);
}

static inline void tokenizer_folder_unmake(struct tokenizer_folder *f)
{
    tokenizer_destroy(f->t);
    weights_close(f->w);
}

#endif
