/* Any files as the parts of a split GGUF: opened or refused, and all that is offered lies inside
 * them. */
#include "files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "m-00001-of-00003.gguf",
    "m-00002-of-00003.gguf", "m-00003-of-00003.gguf",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct files f;
    struct error err = {0};
    files_take(&f, names, sizeof names / sizeof *names, data, size);
    struct weights *w = f.n ? weights_open_files(f.files, f.n, f.files[f.n - 1].name, &err) : NULL;
    if (w) {
        files_read_model(w);
        weights_close(w);
    } else if (f.n && (err.code == ERROR_NONE || err.code == ERROR_NO_MEMORY || !err.message[0])) {
        abort();
    }
    files_free(&f);
    return 0;
}
