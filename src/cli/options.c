/* See options.h. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int cli_usage_error(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "pensieve%s%s: ", *command ? " " : "", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, " (see pensieve %s%s--help)\n", command, *command ? " " : "");
    va_end(args);
    return CLI_USAGE;
}

int cli_report(const char *command, const struct error *err)
{
    fprintf(stderr, "pensieve %s: %s\n", command, err->message);
    return err->code == ERROR_USAGE ? CLI_USAGE : CLI_FAILED;
}

/* ---- help ---- */

enum { HELP_COLUMN = 24 };

static void print_option(FILE *to, const struct option_row *row)
{
    char left[64];
    int n = snprintf(left, sizeof left, "  %c%c%s--%s%s%s", row->letter ? '-' : ' ',
                     row->letter ? row->letter : ' ', row->letter ? ", " : "  ", row->name,
                     row->metavar ? " " : "", row->metavar ? row->metavar : "");
    fprintf(to, "%-*s", HELP_COLUMN, left);
    if (n >= HELP_COLUMN)
        fprintf(to, "\n%*s", HELP_COLUMN, "");
    for (const char *c = row->help; *c; c++)
        if (*c == '\n')
            fprintf(to, "\n%*s", HELP_COLUMN, "");
        else
            fputc(*c, to);
    fputc('\n', to);
}

static void print_help(FILE *to, const struct command *command)
{
    static const struct option_row help = {.name = "help", .letter = 'h', .help = "show this"};
    fprintf(to, "usage: pensieve %s %s\n\n%s\n\n", command->name, command->synopsis,
            command->about);
    for (size_t i = 0; i < command->n_options; i++)
        print_option(to, &command->options[i]);
    print_option(to, &help);
    if (command->more)
        fprintf(to, "\n%s\n", command->more);
}

/* ---- values ---- */

static bool parse_uint(const struct command *command, const struct option_row *row,
                       const char *text)
{
    char *end = NULL;
    bool is_wide = row->kind == OPTION_UINT64;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno) {
        cli_usage_error(command->name, "--%s wants a whole number, not '%s'", row->name, text);
        return false;
    }
    if (!is_wide && ((double)value < row->min || (double)value > row->max)) {
        cli_usage_error(command->name, "--%s must be between %.0f and %.0f", row->name, row->min,
                        row->max);
        return false;
    }
    if (is_wide)
        *(uint64_t *)row->value = value;
    else
        *(uint32_t *)row->value = (uint32_t)value;
    return true;
}

static bool parse_float(const struct command *command, const struct option_row *row,
                        const char *text)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < row->min || value > row->max) {
        cli_usage_error(command->name, "--%s must be a number between %g and %g, not '%s'",
                        row->name, row->min, row->max, text);
        return false;
    }
    *(float *)row->value = (float)value;
    return true;
}

/* A whole number of bytes, or of KiB, MiB, GiB or TiB with their first letter behind it. */
static bool parse_size(const struct command *command, const struct option_row *row,
                       const char *text)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (unit)
        end += 1 + (!strcasecmp(end + 1, "iB") ? 2 : !strcasecmp(end + 1, "B") ? 1 : 0);
    if (*text < '0' || *text > '9' || *end || errno || value > UINT64_MAX >> shift) {
        cli_usage_error(command->name, "--%s wants a size like 512M or 8G, not '%s'", row->name,
                        text);
        return false;
    }
    *(uint64_t *)row->value = (uint64_t)value << shift;
    return true;
}

static bool parse_choice(const struct command *command, const struct option_row *row,
                         const char *text)
{
    char names[128] = "";
    for (uint32_t i = 0; row->choices[i]; i++) {
        if (!strcmp(text, row->choices[i])) {
            *(uint32_t *)row->value = i;
            return true;
        }
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s",
                 !i ? "" : row->choices[i + 1] ? ", " : " or ", row->choices[i]);
    }
    cli_usage_error(command->name, "--%s is %s, not '%s'", row->name, names, text);
    return false;
}

static bool set_value(const struct command *command, const struct option_row *row, const char *text)
{
    if (row->given)
        *row->given = true;
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)row->value = true;
        return true;
    case OPTION_TEXT:
        *(const char **)row->value = text;
        return true;
    case OPTION_UINT:
    case OPTION_UINT64:
        return parse_uint(command, row, text);
    case OPTION_FLOAT:
        return parse_float(command, row, text);
    case OPTION_SIZE:
        return parse_size(command, row, text);
    case OPTION_CHOICE:
        return parse_choice(command, row, text);
    }
    return false;
}

/* ---- the line ---- */

/* The option that `arg` names ("--name", "--name=value", "-n"), or NULL. */
static const struct option_row *find_option(const struct command *command, const char *arg)
{
    bool is_long = arg[1] == '-';
    size_t n = is_long ? strcspn(arg + 2, "=") : 0;
    for (size_t i = 0; i < command->n_options; i++) {
        const struct option_row *row = &command->options[i];
        if (is_long ? strlen(row->name) == n && !strncmp(row->name, arg + 2, n)
                    : row->letter && arg[1] == row->letter && !arg[2])
            return row;
    }
    return NULL;
}

/* Handles the option at argv[*i], moving *i over its value. */
static bool take_option(const struct command *command, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *inline_value = arg[1] == '-' ? strchr(arg, '=') : NULL;
    const struct option_row *row = find_option(command, arg);
    if (!row) {
        cli_usage_error(command->name, "unknown option '%s'", arg);
        return false;
    }
    if (row->kind == OPTION_FLAG) {
        if (inline_value)
            cli_usage_error(command->name, "--%s takes no value", row->name);
        return !inline_value && set_value(command, row, NULL);
    }
    if (inline_value)
        return set_value(command, row, inline_value + 1);
    if (*i + 1 >= argc) {
        cli_usage_error(command->name, "--%s wants a value (%s)", row->name, row->metavar);
        return false;
    }
    return set_value(command, row, argv[++*i]);
}

bool options_parse(const struct command *command, int argc, char **argv, int max_args, int *n_args,
                   int *exit_code)
{
    bool only_args = false;
    *n_args = 0;
    *exit_code = CLI_USAGE;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        bool is_option = !only_args && arg[0] == '-' && arg[1];
        if (is_option && !strcmp(arg, "--")) {
            only_args = true;
        } else if (is_option && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            print_help(stdout, command);
            *exit_code = CLI_OK;
            return false;
        } else if (is_option) {
            if (!take_option(command, argc, argv, &i))
                return false;
        } else if (*n_args == max_args) {
            cli_usage_error(command->name, "unexpected argument '%s'", arg);
            return false;
        } else {
            argv[1 + (*n_args)++] = arg;
        }
    }
    return true;
}
