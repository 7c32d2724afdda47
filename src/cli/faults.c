/* See faults.h. In the handler only what is async-signal-safe. What is kept on disk needs no
 * farewell: files that were being written are ignored where they are torn. */
#include "cli/faults.h"

#include "base/file_map.h"
#include "cli/options.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    const char *name = file_map_find(info->si_addr);
    if (!name) {
        signal(number, SIG_DFL); /* it happens again at once, and ends the process */
        return;
    }
    say("pensieve: ");
    say(name);
    say(" cannot be read any more: it was cut or replaced while it was in use, or its disk fails; "
        "put the whole file there and start again\n");
    _exit(CLI_FAILED);
}

void faults_install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = (int)SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
