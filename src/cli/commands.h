/* The subcommands. Each gets argv from its own name on and returns the process's exit code: 0, 1
 * for what went wrong, 2 for a wrong command line, 128 + n for a signal. */
#ifndef PENSIEVE_CLI_COMMANDS_H
#define PENSIEVE_CLI_COMMANDS_H

int cli_serve(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_pull(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_rm(int argc, char **argv);
int cli_show(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_memory(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_version(void);

#endif
