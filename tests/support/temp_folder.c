#include "support/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char temp_folder[] = "/tmp/pensieve-test-XXXXXX";

int temp_folder_make(void **state)
{
    (void)state;
    strcpy(temp_folder, "/tmp/pensieve-test-XXXXXX");
    return mkdtemp(temp_folder) ? 0 : -1;
}

int temp_folder_remove(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", temp_folder);
    return system(command);
}
