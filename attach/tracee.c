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
#define TRACEE_CALL_MARK 0x80 /* PTRACE_O_TRACESYSGOOD */

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
static struct tracee_event tracee_decode(pid_t tid, int status)
{
    struct tracee_event event = {.kind = TRACEE_ENDED};
    unsigned long message = 0;

    if (!WIFSTOPPED(status))
        return event;
    event.signal = WSTOPSIG(status);
    switch (TRACEE_EVENT_OF(status)) {
    case PTRACE_EVENT_STOP:
        event.kind = TRACEE_INTERRUPTED;
        break;
    case PTRACE_EVENT_CLONE:
        event.kind = ptrace(PTRACE_GETEVENTMSG, tid, 0, &message) < 0 ? TRACEE_ENDED : TRACEE_CLONED;
        event.child = (pid_t)message;
        break;
    default:
        event.kind = event.signal == (SIGTRAP | TRACEE_CALL_MARK) ? TRACEE_CALL : TRACEE_SIGNALLED;
        break;
    }
    return event;
}

bool tracee_wait_event(struct tracee *tracee, struct tracee_event *event, int timeout_ms)
{
    int status;

    if (!tracee_wait(tracee->tid, &status, timeout_ms))
        return false;
    *event = tracee_decode(tracee->tid, status);
    tracee->stopped = event->kind != TRACEE_ENDED;
    if (event->kind == TRACEE_INTERRUPTED)
        tracee->group_stopped = event->signal != SIGTRAP;
    return true;
}

static struct error *tracee_ended(const struct tracee *tracee)
{
    return error_create(ERROR_TARGET_ENDED, NULL, "thread %d has ended", tracee->tid);
}

struct error *tracee_await_stop(struct tracee *tracee, int timeout_ms)
{
    struct tracee_event event;

    for (;;) {
        if (!tracee_wait_event(tracee, &event, timeout_ms))
            return error_create(ERROR_BUSY, "it sleeps uninterruptibly in the kernel (a disk, a network file system)",
                                "thread %d did not stop within %d ms", tracee->tid, timeout_ms);
        if (event.kind == TRACEE_ENDED)
            return tracee_ended(tracee);
        if (event.kind == TRACEE_INTERRUPTED)
            return NULL;
        struct error *error = tracee_resume(tracee, TRACEE_RUN, event.kind == TRACEE_SIGNALLED ? event.signal : 0);
        if (error)
            return error;
    }
}

struct error *tracee_resume(struct tracee *tracee, enum tracee_until until, int signal)
{
    static const enum __ptrace_request requests[] = {
        [TRACEE_RUN] = PTRACE_CONT, [TRACEE_TO_CALL] = PTRACE_SYSCALL, [TRACEE_STAY] = PTRACE_LISTEN};

    if (ptrace(requests[until], tracee->tid, 0, (long)signal) < 0)
        return tracee_ended(tracee);
    tracee->stopped = false;
    return NULL;
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

struct error *tracee_seize(struct tracee *tracee, const struct process *process, pid_t tid)
{
    struct error *error = NULL;
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    tracee_set_policy(SCHED_FIFO);
    *tracee = (struct tracee){.tid = tid, .stopped_at = tracee_clock()};
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
        error = tracee_explain_refusal(process, tracee, errno);
    if (error)
        tracee_set_policy(SCHED_OTHER);
    return error;
}

struct error *tracee_interrupt(struct tracee *tracee)
{
    return ptrace(PTRACE_INTERRUPT, tracee->tid, 0, 0) < 0 ? tracee_ended(tracee) : NULL;
}

struct error *tracee_stop(struct tracee *tracee, const struct process *process, pid_t tid, int timeout_ms)
{
    struct error *error = tracee_seize(tracee, process, tid);

    if (error)
        return error;
    if (!(error = tracee_interrupt(tracee)))
        error = tracee_await_stop(tracee, timeout_ms);
    if (error)
        tracee_set_policy(SCHED_OTHER);
    return error;
}

uint64_t tracee_release(struct tracee *tracee)
{
    if (!tracee->stopped) {
        tracee_set_policy(SCHED_OTHER);
        return 0;
    }
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
