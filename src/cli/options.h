/* Command lines over tables of settings: one parser and one shape of help for all subcommands. */
#ifndef PENSIEVE_CLI_OPTIONS_H
#define PENSIEVE_CLI_OPTIONS_H

#include "base/error.h"
#include "base/settings.h"

#include <stdbool.h>
#include <stddef.h>

/* Exit codes: NO_READER is that of a program which SIGPIPE ends. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NO_READER = 128 + 13 };

struct command {
    const char *name;                  /* "serve" */
    const char *synopsis;              /* what follows the name: "[options] MODEL" */
    const char *about;                 /* paragraphs for --help */
    const struct settings_part *parts; /* [n_parts], in the order of the help */
    size_t n_parts;
    int max_args; /* that are no options */
};

/* Writes the defaults, parses argv[1..argc) (argv[0] is the subcommand), and takes from the
 * environment what no option said; options and arguments in any order, "--" ends options. The
 * arguments are moved to argv[1 .. 1 + n_args). `settings` then tells who said what. False when
 * there is nothing more to do: --help was shown (exit_code CLI_OK), or a line about what is wrong
 * (CLI_USAGE). */
bool options_parse(const struct command *command, int argc, char **argv, struct settings *settings,
                   int *n_args, int *exit_code);

/* One line to standard error, with a hint at --help; returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "pensieve serve: <message>", as a terminal may see it; returns the exit code that fits the error.
 * CANCELLED is output that nobody reads any more, and is passed over in silence. */
int cli_report(const char *command, const struct error *err);

#endif
