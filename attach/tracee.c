/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/tracee.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "attach/access.h"

#define TRACEE_EVENT_OF(status) ((status) >> 16)

uint64_t tracee_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------- waiting for a stop */

/* A stop is told by SIGCHLD, which is blocked while a thread is held (tracee_stop):
 * waiting for it ends at once, and has a limit, which waitpid() hasn't. */
static void tracee_await_signal(uint64_t nanoseconds)
{
    struct timespec limit = {(time_t)(nanoseconds / 1000000000ULL), (long)(nanoseconds % 1000000000ULL)};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, NULL, &limit);
}

/* Waits for any change of the thread. False when the time is over. */
static bool tracee_wait(pid_t tid, int *status, int timeout_ms)
{
    uint64_t start = tracee_clock(), limit = (uint64_t)timeout_ms * 1000000ULL, spent;

    for (;;) {
        pid_t got = waitpid(tid, status, __WALL | WNOHANG);
        if (got == tid)
            return true;
        if (got < 0 && errno != EINTR) { /* another wait took it: it is gone */
            *status = 0;
            return true;
        }
        if ((spent = tracee_clock() - start) > limit)
            return false;
        tracee_await_signal(limit - spent);
    }
}

/* What a raw status of waitpid says; decoded here and nowhere else. */
enum tracee_event {
    TRACEE_STOP,   /* stopped by our interrupt or a group stop: it is ours now */
    TRACEE_SIGNAL, /* about to get a signal: hand it over and go on waiting */
    TRACEE_ENDED,  /* gone: nothing to release */
};

static enum tracee_event tracee_decode(int status)
{
    if (!WIFSTOPPED(status))
        return TRACEE_ENDED;
    return TRACEE_EVENT_OF(status) == PTRACE_EVENT_STOP ? TRACEE_STOP : TRACEE_SIGNAL;
}

static struct error *tracee_ended(const struct tracee *tracee)
{
    return error_create(ERROR_TARGET_ENDED, NULL, "thread %d has ended", tracee->tid);
}

static struct error *tracee_wait_for_stop(struct tracee *tracee, int timeout_ms)
{
    for (;;) {
        int status;

        if (!tracee_wait(tracee->tid, &status, timeout_ms))
            return error_create(ERROR_BUSY, "it sleeps uninterruptibly in the kernel (a disk, a network file system)",
                                "thread %d did not stop within %d ms", tracee->tid, timeout_ms);
        switch (tracee_decode(status)) {
        case TRACEE_STOP:
            tracee->group_stopped = WSTOPSIG(status) != SIGTRAP;
            tracee->stopped = true;
            return NULL;
        case TRACEE_SIGNAL:
            if (ptrace(PTRACE_CONT, tracee->tid, 0, (long)WSTOPSIG(status)) < 0)
                return tracee_ended(tracee);
            break;
        case TRACEE_ENDED:
            return tracee_ended(tracee);
        }
    }
}

/* --------------------------------------------------------------- attaching */

static struct error *tracee_explain_refusal(const struct process *process, const struct tracee *tracee, int err)
{
    struct process_status status;
    struct error *error = process_read_status(process->pid, tracee->tid, &status);

    if (error)
        return error;
    if (status.state == 'Z' || status.state == 'X')
        return tracee_ended(tracee);
    if (err == EPERM || err == EACCES || err == ENOSYS)
        return access_explain(process->pid);
    return error_create_errno(ERROR_PERMISSION, err, "can't attach to thread %d of process %d", tracee->tid,
                              process->pid);
}

/* While a thread is held, nobody should run before us; where we may not ask for that,
 * it's as it was. */
static void tracee_set_policy(int policy)
{
    const struct sched_param priority = {.sched_priority = policy == SCHED_OTHER ? 0 : 1};

    sched_setscheduler(0, policy, &priority);
}

struct error *tracee_stop(struct tracee *tracee, const struct process *process, pid_t tid, int timeout_ms)
{
    sigset_t child;

    struct error *error;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    tracee_set_policy(SCHED_FIFO);
    *tracee = (struct tracee){.tid = tid, .stopped_at = tracee_clock()};
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
        error = tracee_explain_refusal(process, tracee, errno);
    else if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
        error = tracee_ended(tracee);
    else
        error = tracee_wait_for_stop(tracee, timeout_ms);
    if (error)
        tracee_set_policy(SCHED_OTHER);
    return error;
}

uint64_t tracee_release(struct tracee *tracee)
{
    if (!tracee->stopped)
        return 0;
    /* A thread that stays held is harmed: once more, whatever it was. */
    if (ptrace(PTRACE_DETACH, tracee->tid, 0, 0) < 0 && errno != ESRCH)
        ptrace(PTRACE_DETACH, tracee->tid, 0, 0);
    uint64_t held = tracee_clock() - tracee->stopped_at;
    tracee->stopped = false;
    tracee_set_policy(SCHED_OTHER);
    return held;
}

#define TRACEE_SIGNALS_MAX 32 /* of each queue: its own and the process's */

bool tracee_awaits_signal(const struct tracee *tracee)
{
    siginfo_t queued[TRACEE_SIGNALS_MAX];
    uint64_t mask;

    if (ptrace(PTRACE_GETSIGMASK, tracee->tid, sizeof(mask), &mask) < 0)
        return false;
    for (uint32_t flags = 0; flags <= PTRACE_PEEKSIGINFO_SHARED; flags++) {
        struct __ptrace_peeksiginfo_args arguments = {.off = 0, .flags = flags, .nr = TRACEE_SIGNALS_MAX};
        long count = ptrace(PTRACE_PEEKSIGINFO, tracee->tid, &arguments, queued);

        for (long i = 0; i < count; i++) {
            if (!(mask >> (queued[i].si_signo - 1) & 1))
                return true;
        }
    }
    return false;
}
