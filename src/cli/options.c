/* See options.h. */
#include "cli/options.h"

#include "base/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 24, MAX_HELP = 4096, MAX_CALLED = 64, MAX_LINE = 2048 };

int cli_usage_error(const char *command, const char *format, ...)
{
    char message[MAX_LINE], line[MAX_LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    printable_copy(line, sizeof line, message, strlen(message));
    const char *space = *command ? " " : "";
    fprintf(stderr, "pensieve%s%s: %s (see pensieve %s%s--help)\n", space, command, line, command,
            space);
    return CLI_USAGE;
}

int cli_report(const char *command, const struct error *err)
{
    char line[MAX_LINE];
    if (err->code == ERROR_CANCELLED)
        return CLI_NO_READER;
    printable_copy(line, sizeof line, err->message, strlen(err->message));
    fprintf(stderr, "pensieve%s%s: %s\n", *command ? " " : "", command, line);
    return err->code == ERROR_USAGE ? CLI_USAGE : CLI_FAILED;
}

/* ---- help ---- */

static void print_indented(FILE *to, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            fprintf(to, "\n%*s", HELP_COLUMN, "");
        else
            fputc(*text, to);
    fputc('\n', to);
}

static void print_setting(FILE *to, const struct setting *row)
{
    char left[64];
    struct buf help;
    int n = row->has_no_flag
                ? snprintf(left, sizeof left, "%s", row->environment)
                : snprintf(left, sizeof left, "  %c%c%s--%s%s%s", row->letter ? '-' : ' ',
                           row->letter ? row->letter : ' ', row->letter ? ", " : "  ", row->name,
                           row->metavar ? " " : "", row->metavar ? row->metavar : "");
    fprintf(to, "%-*s", HELP_COLUMN, left);
    if (n >= HELP_COLUMN)
        fprintf(to, "\n%*s", HELP_COLUMN, "");
    buf_init(&help, MAX_HELP);
    setting_help(row, &help);
    print_indented(to, help.data ? help.data : "");
    buf_deinit(&help);
}

/* The flags, or what only the environment says. */
static size_t print_settings(FILE *to, const struct settings *s, bool has_no_flag)
{
    size_t n = 0;
    for (size_t i = 0; i < settings_n(s); i++) {
        const struct setting *row = settings_at(s, i, NULL);
        if (row->has_no_flag != has_no_flag)
            continue;
        if (has_no_flag && !n++)
            fputc('\n', to);
        print_setting(to, row);
    }
    return n;
}

static void print_help(FILE *to, const struct command *command, const struct settings *s)
{
    static const struct setting help = {.name = "help", .letter = 'h', .help = "show this"};
    fprintf(to, "usage: pensieve %s %s\n\n%s\n\n", command->name, command->synopsis,
            command->about);
    print_settings(to, s, false);
    print_setting(to, &help);
    print_settings(to, s, true);
}

/* ---- the line ---- */

/* A command line on its way. */
struct line {
    const struct command *command;
    struct settings *settings;
    int argc, at;
    char **argv;
};

/* The number of the flag that `arg` names ("--name", "--name=value", "-n"), or settings_n. */
static size_t find_flag(const struct settings *s, const char *arg)
{
    const size_t n = settings_n(s);
    size_t i = 0;
    if (arg[1] == '-') {
        i = settings_find(s, arg + 2, strcspn(arg + 2, "="));
        return i < n && settings_at(s, i, NULL)->has_no_flag ? n : i;
    }
    while (i < n && (settings_at(s, i, NULL)->letter != arg[1] || arg[2]))
        i++;
    return i;
}

static bool refuse_flag(const struct line *l, const char *arg)
{
    const char *meant =
        arg[1] != '-' ? NULL : settings_nearest_flag(l->settings, arg + 2, strcspn(arg + 2, "="));
    if (meant)
        cli_usage_error(l->command->name, "unknown option '%s'; did you mean --%s?", arg, meant);
    else
        cli_usage_error(l->command->name, "unknown option '%s'", arg);
    return false;
}

/* What stands for a value: behind '=' or in the next word; a flag's is its name alone. */
static const char *value_of(struct line *l, const struct setting *row)
{
    const char *arg = l->argv[l->at], *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
    if (row->kind == SETTING_FLAG) {
        if (equals)
            cli_usage_error(l->command->name, "--%s takes no value", row->name);
        return equals ? NULL : "true";
    }
    if (equals)
        return equals + 1;
    if (l->at + 1 < l->argc)
        return l->argv[++l->at];
    cli_usage_error(l->command->name, "--%s wants a value (%s)", row->name, row->metavar);
    return NULL;
}

/* Handles the option at argv[at], moving `at` over its value. */
static bool take_option(struct line *l)
{
    char called[MAX_CALLED];
    struct error err = {0};
    const size_t i = find_flag(l->settings, l->argv[l->at]);
    if (i == settings_n(l->settings))
        return refuse_flag(l, l->argv[l->at]);
    const struct setting *row = settings_at(l->settings, i, NULL);
    const char *value = value_of(l, row);
    if (!value)
        return false;
    snprintf(called, sizeof called, "--%s", row->name);
    if (settings_set(l->settings, i, SETTING_BY_FLAG, called, value, &err))
        return true;
    cli_usage_error(l->command->name, "%s", err.message);
    return false;
}

/* All words; false when the parsing has ended with `exit_code`. */
static bool take_words(struct line *l, int *n_args, int *exit_code)
{
    bool only_args = false;
    for (l->at = 1; l->at < l->argc; l->at++) {
        char *arg = l->argv[l->at];
        const bool is_option = !only_args && arg[0] == '-' && arg[1];
        if (is_option && !strcmp(arg, "--")) {
            only_args = true;
        } else if (is_option && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            print_help(stdout, l->command, l->settings);
            *exit_code = CLI_OK;
            return false;
        } else if (is_option) {
            if (!take_option(l))
                return false;
        } else if (*n_args == l->command->max_args) {
            cli_usage_error(l->command->name, "unexpected argument '%s'", arg);
            return false;
        } else {
            l->argv[1 + (*n_args)++] = arg;
        }
    }
    return true;
}

bool options_parse(const struct command *command, int argc, char **argv, struct settings *settings,
                   int *n_args, int *exit_code)
{
    struct line l = {command, settings, argc, 1, argv};
    struct error err = {0};
    *n_args = 0;
    *exit_code = CLI_USAGE;
    if (!settings_init(settings, command->parts, command->n_parts, &err)) {
        *exit_code = cli_report(command->name, &err);
        return false;
    }
    if (!take_words(&l, n_args, exit_code))
        return false;
    if (settings_take_environment(settings, &err))
        return true;
    cli_usage_error(command->name, "%s", err.message);
    return false;
}
