/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_GET_RSEQ_CONFIGURATION 0x420f
#define PROBE_GET_SECCOMP_FILTER 0x420c
#define PROBE_NOBODY INT_MAX /* no process has this id: what is allowed answers ESRCH */

/* A call's answer about nobody: 0 where it was allowed to look. */
static int probe_asked(long answer)
{
    return answer < 0 && errno != ESRCH ? errno : 0;
}

static int probe_errno(long answer)
{
    return answer < 0 ? errno : 0;
}

static int probe_ptrace(pid_t child)
{
    (void)child;
    return probe_asked(ptrace(PTRACE_SEIZE, PROBE_NOBODY, 0, 0));
}

static int probe_process_vm(pid_t child)
{
    char byte = 0;
    struct iovec piece = {&byte, 1};
    int err = probe_asked(process_vm_readv(PROBE_NOBODY, &piece, 1, &piece, 1, 0));

    (void)child;
    return err ? err : probe_asked(process_vm_writev(PROBE_NOBODY, &piece, 1, &piece, 1, 0));
}

static int probe_pidfd_open(pid_t child)
{
    (void)child;
    return probe_errno(syscall(SYS_pidfd_open, getpid(), 0));
}

static int probe_pidfd_getfd(pid_t child)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);

    (void)child;
    return fd < 0 ? errno : probe_errno(syscall(SYS_pidfd_getfd, fd, fd, 0));
}

static int probe_memfd_create(pid_t child)
{
    (void)child;
    return probe_errno(memfd_create("safepoint", MFD_CLOEXEC));
}

static int probe_rseq(pid_t child)
{
    struct {
        unsigned long long area;
        unsigned size, signature, flags, pad;
    } configuration;

    return probe_errno(ptrace((enum __ptrace_request)PROBE_GET_RSEQ_CONFIGURATION, child, sizeof(configuration),
                              &configuration));
}

static int probe_read_seccomp(pid_t child)
{
    long answer = ptrace((enum __ptrace_request)PROBE_GET_SECCOMP_FILTER, child, 0, 0);

    /* It has none to show (and would have ours, if we had one): we were allowed to look. */
    return answer < 0 && errno != ENOENT && errno != EINVAL ? errno : 0;
}

static int probe_realtime(pid_t child)
{
    const struct sched_param priority = {.sched_priority = 1};

    (void)child;
    return probe_errno(sched_setscheduler(0, SCHED_FIFO, &priority));
}

static const struct {
    int (*run)(pid_t child);
    bool on_child; /* which is held stopped meanwhile */
} probe_table[PROBES] = {
    [PROBE_PTRACE] = {probe_ptrace, false},
    [PROBE_PROCESS_VM] = {probe_process_vm, false},
    [PROBE_PIDFD_OPEN] = {probe_pidfd_open, false},
    [PROBE_PIDFD_GETFD] = {probe_pidfd_getfd, false},
    [PROBE_MEMFD_CREATE] = {probe_memfd_create, false},
    [PROBE_RSEQ] = {probe_rseq, true},
    [PROBE_READ_SECCOMP] = {probe_read_seccomp, true},
    [PROBE_REALTIME] = {probe_realtime, false},
};

/* In the child: tries it on a child of its own, which ends with us. */
static int probe_on_child(enum probe probe)
{
    int status, err;
    pid_t own = getpid(), child = fork();

    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == own)
            pause();
        return 0;
    }
    if (child < 0)
        return errno;
    if (ptrace(PTRACE_SEIZE, child, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, child, 0, 0) < 0 ||
        waitpid(child, &status, __WALL) < 0)
        err = errno;
    else
        err = probe_table[probe].run(child);
    kill(child, SIGKILL);
    waitpid(child, &status, __WALL);
    return err;
}

int probe_run(enum probe probe)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        /* Killed by a filter, it leaves no core. */
        if (!probe_table[probe].on_child)
            prctl(PR_SET_DUMPABLE, 0);
        _exit(probe_table[probe].on_child ? probe_on_child(probe) : probe_table[probe].run(0)); /* lint: a child's end */
    }
    if (child < 0)
        return errno;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : PROBE_KILLED;
}
