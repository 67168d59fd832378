/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cli/cli.h"

static int signals_pipe[2] = {-1, -1};
static volatile sig_atomic_t signals_seen;

static void signals_handle(int signal)
{
    int saved = errno;

    signals_seen = signal;
    if (write(signals_pipe[1], "", 1) < 0) {
        /* full: it is readable already */
    }
    errno = saved;
}

void cli_signals_init(void)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = signals_handle}; /* no SA_RESTART: a blocked write ends too */

    if (pipe2(signals_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct sigaction old;
        /* nohup: what was ignored stays so */
        if (sigaction(wanted[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(wanted[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

int cli_signals_fd(void)
{
    return signals_pipe[0];
}

bool cli_signals_pending(void)
{
    return signals_seen != 0;
}

void cli_signals_clear(void)
{
    char bytes[16];

    if (signals_seen == SIGINT)
        signals_seen = 0;
    while (read(signals_pipe[0], bytes, sizeof(bytes)) > 0)
        ;
}

int cli_signals_take(void)
{
    int seen = signals_seen;
    char bytes[16];

    signals_seen = 0;
    while (read(signals_pipe[0], bytes, sizeof(bytes)) > 0)
        ;
    return seen;
}
