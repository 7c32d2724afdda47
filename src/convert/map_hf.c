/* A folder to a folder: the same tensors, packed or in other floats, and the same files beside. */
#include "convert/map.h"

#include <string.h>

bool map_folder_to_folder(struct plan *p, struct error *err)
{
    (void)p;
    return error_set(err, ERROR_UNSUPPORTED, "folders cannot be converted by this build");
}

bool map_folder_to_gguf(struct plan *p, struct error *err)
{
    (void)p;
    return error_set(err, ERROR_UNSUPPORTED, "folders cannot be converted by this build");
}
