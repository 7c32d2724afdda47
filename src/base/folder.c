#include "base/folder.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

bool folder_make(char *path, mode_t mode, struct error *err)
{
    for (char *at = path + 1;; at++) {
        char c = *at;
        if (c != '/' && c)
            continue;
        *at = '\0';
        bool ok = !mkdir(path, mode) || errno == EEXIST;
        if (!ok)
            error_set(err, ERROR_IO, "cannot make the folder %s: %s", path, strerror(errno));
        *at = c;
        if (!ok || !c)
            return ok;
    }
}
