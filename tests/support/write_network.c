/* Writes the tiny model of an architecture (tiny_networks.h): write_network NAME FILE; without
 * arguments it lists the names. */
#include "support/tiny_networks.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct tiny_model m;
    for (size_t i = 0; argc == 1 && tiny_network_name(i); i++)
        puts(tiny_network_name(i));
    if (argc != 3)
        return argc == 1 ? 0 : 2;
    tiny_network_init(&m, argv[1], NULL);
    FILE *file = fopen(argv[2], "wb");
    if (!file || fwrite(m.data, 1, m.size, file) != m.size || fclose(file))
        return 1;
    tiny_model_deinit(&m);
    return 0;
}
