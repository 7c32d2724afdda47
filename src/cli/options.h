/* Command lines: a table of options per subcommand, one parser and one shape of help for all. */
#ifndef PENSIEVE_CLI_OPTIONS_H
#define PENSIEVE_CLI_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char *, into argv */
    OPTION_UINT,   /* uint32_t between min and max */
    OPTION_UINT64, /* uint64_t */
    OPTION_FLOAT,  /* float between min and max */
    OPTION_SIZE,   /* uint64_t in bytes: 2147483648, 2048M, 2G, 2GiB */
    OPTION_CHOICE, /* uint32_t, which of `choices` */
};

struct option_row {
    const char *name; /* without the dashes */
    char letter;      /* or 0 */
    enum option_kind kind;
    void *value;         /* of the kind's type */
    bool *given;         /* set when the option is there; or NULL */
    double min, max;     /* numbers */
    const char *metavar; /* "N"; NULL for flags */
    const char *help;    /* "\n" breaks the line */
    const char *const *choices; /* ended by NULL */
};

struct command {
    const char *name;                 /* "serve" */
    const char *synopsis;             /* what follows the name: "[options] MODEL" */
    const char *about;                /* paragraphs for --help */
    const struct option_row *options; /* [n_options] */
    size_t n_options;
    const char *more; /* after the options, or NULL */
};

/* Parses argv[1..argc) (argv[0] is the subcommand); options and arguments in any order, "--" ends
 * options. The arguments are moved to argv[1 .. 1 + n_args). False when there is nothing more to
 * do: --help was shown (exit_code CLI_OK), or a line about what is wrong (CLI_USAGE). */
bool options_parse(const struct command *command, int argc, char **argv, int max_args, int *n_args,
                   int *exit_code);

/* One line to standard error, with a hint at --help; returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "pensieve serve: <message>"; returns the exit code that fits the error. */
int cli_report(const char *command, const struct error *err);

#endif
