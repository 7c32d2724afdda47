/* Writes the tiny model of an architecture (tiny_networks.h): write_network NAME TYPE FILE,
 * TYPE being that of matrices. Without arguments: which there are, a line for each. */
#include "support/tiny_networks.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct tiny_model m;
    for (size_t i = 0; argc == 1 && tiny_network_name(i); i++)
        for (size_t k = 0; tiny_network_type(k); k++)
            printf("%s %s\n", tiny_network_name(i), tiny_network_type(k));
    if (argc != 4)
        return argc == 1 ? 0 : 2;
    tiny_network_init(&m, argv[1], argv[2], NULL);
    FILE *file = fopen(argv[3], "wb");
    if (!file || fwrite(m.data, 1, m.size, file) != m.size || fclose(file))
        return 1;
    tiny_model_deinit(&m);
    return 0;
}
