/* The numbers in GGUF files that more than their reader uses (github.com/ggml-org/ggml,
 * docs/gguf.md). */
#ifndef PENSIEVE_WEIGHTS_GGUF_FORMAT_H
#define PENSIEVE_WEIGHTS_GGUF_FORMAT_H

/* How a value of the metadata lies in the file. */
enum gguf_value_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_VALUE_TYPES,
};

/* tokenizer.ggml.token_type */
enum gguf_token_type {
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN,
    GGUF_TOKEN_CONTROL,
    GGUF_TOKEN_USER_DEFINED, /* always matched as a whole in text */
    GGUF_TOKEN_UNUSED,       /* fills the embedding matrix up */
    GGUF_TOKEN_BYTE,         /* <0x0A> */
};

#endif
