#include "support/test_models.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void test_models_path(char *out, size_t size, const char *file)
{
    const char *dir = getenv("PENSIEVE_TEST_MODELS"), *home = getenv("PENSIEVE_HOME");
    const char *data = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
    if (dir && *dir)
        snprintf(out, size, "%s/%s", dir, file);
    else if (home && *home)
        snprintf(out, size, "%s/models/%s", home, file);
    else if (data && *data)
        snprintf(out, size, "%s/pensieve/models/%s", data, file);
    else
        snprintf(out, size, "%s/.local/share/pensieve/models/%s", user ? user : "", file);
}

bool test_models_find(char *out, size_t size, const char *file)
{
    test_models_path(out, size, file);
    if (!access(out, R_OK))
        return true;
    fprintf(stderr, "SKIPPED: %s is missing (PENSIEVE_TEST_MODELS names its folder)\n", out);
    return false;
}
