/* The pensieve command: finds the subcommand. Everything else is in the file of that name. */
#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/faults.h"
#include "cli/options.h"
#include "cli/output.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", "answer the Anthropic Messages API with a local model", cli_serve},
    {"run", "stream one answer to the terminal", cli_run},
    {"pull", "fetch a model into the store", cli_pull},
    {"list", "the models that are known and those that are here", cli_list},
    {"rm", "remove a model from the store", cli_rm},
    {"show", "what is in a model file or folder", cli_show},
    {"convert", "make a model of another type: quantize, GGUF, MLX", cli_convert},
    {"tokenize", "text to tokens", cli_tokenize},
    {"memory", "what a running server's memory holds", cli_memory},
    {"bench", "measure prompt and generation speed", cli_bench},
};

static void print_help(FILE *to)
{
    fputs("usage: pensieve COMMAND [options]\n\n"
          "A local LLM server that speaks the Anthropic Messages API.\n\n",
          to);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
    fputs("\n  --version  version, CPU tiers and libraries\n"
          "  --help     this; pensieve COMMAND --help tells more\n\n"
          "PENSIEVE_CPU names the instruction set to use where --cpu does not (see --version).\n",
          to);
}

static int refuse_word(const char *word)
{
    struct nearest nearest;
    nearest_init(&nearest, word, strlen(word));
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        nearest_offer(&nearest, commands[i].name);
    if (word[0] == '-')
        return cli_usage_error("", "unknown option '%s'", word);
    if (!nearest.found)
        return cli_usage_error("", "unknown command '%s'", word);
    return cli_usage_error("", "unknown command '%s'; did you mean %s?", word, nearest.found);
}

static int run_command(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(word, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    if (!strcmp(word, "--version") || !strcmp(word, "-V"))
        return cli_version();
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        print_help(stdout);
        return CLI_OK;
    }
    if (argc > 1)
        return refuse_word(word);
    print_help(stderr);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    output_guard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* writing tells, and what was begun is ended */
    faults_install();
    const int code = run_command(argc, argv);
    if (code != CLI_OK || output_flush(&err))
        return code;
    return cli_report(argc > 1 && argv[1][0] != '-' ? argv[1] : "", &err);
}
