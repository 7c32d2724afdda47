/* Writes one of the tiny folders (tiny_folders.h): write_folder NETWORK NUMBERS FOLDER, which must be
 * there. Without arguments: says which there are, a line for each. */
#include "support/tiny_folders.h"

#include <stdio.h>
#include <string.h>

static void list(void)
{
    const struct tiny_folders_network *network;
    const struct tiny_folders_numbers *numbers;
    for (size_t i = 0; (network = tiny_folders_network(i)); i++)
        for (size_t k = 0; (numbers = tiny_folders_numbers(k)); k++)
            printf("%s %s\n", network->name, numbers->name);
}

static int write_files(const struct tiny_folder *f, const char *folder)
{
    for (size_t i = 0; i < sizeof f->files / sizeof *f->files; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, f->files[i].name);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(f->files[i].data, 1, f->files[i].size, file) != f->files[i].size ||
            fclose(file))
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct tiny_folders_network *network;
    const struct tiny_folders_numbers *numbers;
    size_t i = 0, k = 0;
    if (argc == 1) {
        list();
        return 0;
    }
    if (argc != 4)
        return 2;
    while ((network = tiny_folders_network(i)) && strcmp(network->name, argv[1]) != 0)
        i++;
    while ((numbers = tiny_folders_numbers(k)) && strcmp(numbers->name, argv[2]) != 0)
        k++;
    if (!network || !numbers)
        return 2;
    struct tiny_folder f;
    const struct tiny_folder_kind kind = tiny_folders_kind(&network->kind, numbers);
    tiny_folder_init(&f, &kind);
    const int failed = write_files(&f, argv[3]);
    tiny_folder_deinit(&f);
    return failed;
}
