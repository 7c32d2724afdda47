/* `pensieve rm`: removes a model from the store. What it removed is all that goes to standard
 * output. */
#include "base/buf.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "store/store.h"

#include <stdio.h>

enum { RM_MAX_PATH = 8192 };

int cli_rm(int argc, char **argv)
{
    const struct command command = {
        .name = "rm",
        .synopsis = "[options] NAME",
        .about =
            "Removes a model from the store, a file or a folder with all its files, and what was\n"
            "left of a fetch that broke off. NAME is as pensieve list says it. Files elsewhere "
            "are\n"
            "left alone.",
        .max_args = 1,
    };
    struct settings settings;
    int n_args, exit_code;
    struct error err = {0};
    struct buf path;
    if (!options_parse(&command, argc, argv, &settings, &n_args, &exit_code))
        return exit_code;
    if (!n_args)
        return cli_usage_error("rm", "which NAME?");
    buf_init(&path, RM_MAX_PATH);
    bool ok = store_remove(argv[1], &path, &err);
    if (ok) {
        output_line(path.data, path.len);
        putchar('\n');
    }
    buf_deinit(&path);
    return ok ? CLI_OK : cli_report("rm", &err);
}
