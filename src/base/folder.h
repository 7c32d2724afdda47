/* Folders on disk. */
#ifndef PENSIEVE_BASE_FOLDER_H
#define PENSIEVE_BASE_FOLDER_H

#include "base/error.h"

#include <sys/types.h>

/* Makes a folder and those above it, where they are missing. IO. `path` is written to meanwhile,
 * and as it was afterwards. */
bool folder_make(char *path, mode_t mode, struct error *err);

#endif
