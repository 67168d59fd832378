/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/period.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/cli.h"

double period_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct error *period_wait(pid_t pid, double end, bool *interrupted)
{
    scoped_fd int process = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd waits[] = {{cli_signals_fd(), POLLIN, 0}, {process, POLLIN, 0}};

    if (process < 0)
        return error_create_errno(ERROR_TARGET_ENDED, errno, "process %d", pid);
    for (;;) {
        double left = end - period_now();
        if (cli_signals_take()) {
            *interrupted = true;
            return NULL;
        }
        if (waits[1].revents)
            return error_create(ERROR_TARGET_ENDED, NULL, "process %d has ended meanwhile", pid);
        if (left <= 0)
            return NULL;
        poll(waits, 2, left < 3600 ? (int)(left * 1000) + 1 : 3600000);
    }
}
