/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inject/safe_point.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "inject/internal.h"

#define POINT_STOP_TIMEOUT_MS 2000
#define POINT_WITHDRAW_TRIES 50
#define POINT_WITHDRAW_MS 20
#define POINT_GILSTATE_UNLOCKED 1 /* what PyGILState_Ensure() gives a thread that hadn't the GIL */

/* ---------------------------------------------------------------- the signal */

static uint64_t point_signal_mask(const char *status, const char *field)
{
    const char *value = process_status_field(status, field);

    return value ? strtoull(value, NULL, 16) : 0;
}

static bool point_has_signal(uint64_t mask, int signal)
{
    return mask >> (signal - 1) & 1;
}

/* One that does nothing to the process when nobody traces it, and that the thread doesn't block. */
static struct error *point_choose_signal(struct safe_point *point, const struct inject_target *target, pid_t tid)
{
    static const int harmless[] = {SIGURG, SIGWINCH}; /* by default */
    static const int others[] = {SIGPIPE, SIGXFSZ, SIGUSR2, SIGUSR1, SIGHUP, SIGIO};
    scoped_free char *text = NULL;
    char name[64];
    size_t length;

    snprintf(name, sizeof(name), "task/%d/status", tid);
    struct error *error = process_read_file(target->process->pid, name, &text, &length);
    if (error)
        return error;
    uint64_t caught = point_signal_mask(text, "SigCgt"), blocked = point_signal_mask(text, "SigBlk");
    uint64_t ignored = point_signal_mask(text, "SigIgn");
    point->signal = 0;
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]) && !point->signal; i++) {
        if (!point_has_signal(caught | blocked, harmless[i]))
            point->signal = harmless[i];
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && !point->signal; i++) {
        if (point_has_signal(ignored & ~blocked, others[i]))
            point->signal = others[i];
    }
    if (!point->signal)
        return error_create(ERROR_UNSUPPORTED, NULL, "thread %d leaves no signal that it ignores", tid);
    return NULL;
}

/* Is the signal that it is about to get the one that it was made to raise, with the GIL in its hands? */
static bool point_is_reached(const struct safe_point *point, int signal)
{
    siginfo_t info;
    bool holds = false;

    if (signal != point->signal || ptrace(PTRACE_GETSIGINFO, point->tracee.tid, 0, &info) < 0 ||
        info.si_code != SI_TKILL || info.si_pid != point->inner_pid)
        return false;
    struct error *unknown = runtime_holds_gil(point->request.target->runtime, &point->request.thread, &holds);
    bool reached = !unknown && holds;
    error_destroy(unknown);
    return reached;
}

/* ----------------------------------------------------------------- posting */

/* What raise() calls; and the return from our frame. */
static struct error *point_check_filter(const struct safe_point *point, const struct inject_stop *stop)
{
    const struct {
        long number;
        uint64_t arguments[6];
    } calls[] = {
        {SYS_tgkill, {(uint64_t)point->inner_pid, (uint64_t)point->inner_pid, (uint64_t)point->signal}},
        {SYS_getpid, {0}}, {SYS_gettid, {0}}, {SYS_rt_sigprocmask, {0}}, {SYS_rt_sigreturn, {0}},
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (borrow_ask(&stop->borrow, calls[i].number, calls[i].arguments) != SECCOMP_ALLOWED)
            return error_create(ERROR_UNSUPPORTED, NULL, "the seccomp filter of process %d doesn't allow %s",
                                stop->request->target->process->pid, syscall_name(calls[i].number));
    }
    return NULL;
}

static struct error *point_refuse(const struct inject_stop *stop)
{
    return error_create(ERROR_NO_SAFE_POINT, NULL, "thread %d is %s", stop->request->thread.tid,
                        stop->request->doing);
}

static struct error *point_post_pending(struct safe_point *point, struct inject_stop *stop)
{
    struct error *error = pending_check(stop->request);

    if (error)
        return error;
    const struct arch_step step = {
        .target = stop->request->add_pending_call.value,
        .arguments = {stop->request->target->code.raise.value, (uint64_t)point->signal}};
    point->borrowed = false;
    return borrow_chain(&stop->borrow, &step, 1, block_resume(stop));
}

static struct error *point_find(const struct inject_target *target, const char *name, uint64_t *function)
{
    struct image_range range;

    if (!image_find_symbol(target->runtime->image, name, &range))
        return stage_no_symbol(target, name);
    *function = range.start.value;
    return NULL;
}

static struct error *point_post_borrowed(struct safe_point *point, struct inject_stop *stop)
{
    const struct inject_target *target = stop->request->target;
    /* A signal that a pause() waits for must not be handled before it, nor in the rt_sigsuspend() that stands for one since
     * a chain before this. Other calls' may be: where Python repeats the call, it looks at its signals first. */
    bool own = !borrow_pauses(&stop->borrow) && !point_has_signal(stop->borrow.state.signal_mask, point->signal);
    struct arch_step steps[] = {
        {.own_signal_mask = own},
        {.target = target->code.raise.value,
         .arguments = {(uint64_t)point->signal},
         .own_signal_mask = own,
         .signal = point->signal},
        {.arguments = {POINT_GILSTATE_UNLOCKED}, .own_signal_mask = own},
    };
    struct error *error = point_find(target, "PyGILState_Ensure", &steps[0].target);

    if (error || (error = point_find(target, "PyGILState_Release", &steps[2].target)))
        return error;
    point->borrowed = true;
    return borrow_chain(&stop->borrow, steps, 3, block_resume(stop));
}

/* The guards of the borrowed call: in a system call of Python's own (or, by consent, somebody else's) that isn't a futex,
 * where the GIL was given up. */
static bool point_may_borrow(const struct inject_stop *stop)
{
    return stop->request->thread.interpreter_id == 0 && !stop->holds_gil &&
           stop->borrow.blocked != ARCH_NOT_BLOCKED && !syscall_is_futex(stop->borrow.blocked_number) &&
           (stop->block == BLOCK_REPEATED || stop->block == BLOCK_RESTARTED ||
            (stop->block == BLOCK_FOREIGN && stop->options->wake == INJECT_WAKE_FORCE));
}

static struct error *point_post_stopped(struct safe_point *point, struct inject_stop *stop)
{
    const struct inject_target *target = stop->request->target;
    struct error *error = borrow_inspect(&stop->borrow, target->process, stop->tracee, target->maps, &target->code,
                                         &stop->request->limits);

    if (stop->tracee->group_stopped) {
        error_destroy(error);
        return error_create(ERROR_UNSUPPORTED, NULL, "process %d is stopped (SIGSTOP)", target->process->pid);
    }
    if (error || (error = runtime_check_lives(target->runtime)) || (error = point_check_filter(point, stop)))
        return error;
    block_describe(stop);
    if (block_hands_off(stop))
        return point_refuse(stop);
    if (point_may_borrow(stop))
        return point_post_borrowed(point, stop);
    if (stop->request->thread.main && (stop->block == BLOCK_NONE || stop->block == BLOCK_LOCK || stop->holds_gil))
        return point_post_pending(point, stop);
    return point_refuse(stop);
}

static struct error *point_prepare(struct safe_point *point, const struct inject_target *target,
                                   const struct thread_state *thread)
{
    struct process_status status;
    struct error *error = process_read_status(target->process->pid, 0, &status);

    if (error)
        return error;
    point->inner_pid = status.namespace_pid;
    if (!target->code.raise.value)
        return error_create(ERROR_UNSUPPORTED, NULL, "the C library of process %d has no symbol raise",
                            target->process->pid);
    if ((error = point_choose_signal(point, target, thread->tid)))
        return error;
    return borrow_read_limits(&point->request.limits, target->process, thread->tid);
}

struct error *safe_point_post(struct safe_point *point, const struct inject_target *target,
                              const struct thread_state *thread, enum inject_wake_mode wake)
{
    struct inject_stop stop = {.request = &point->request, .options = &point->options, .tracee = &point->tracee};

    *point = (struct safe_point){.options = {.wake = wake}};
    inject_request_init(&point->request, target, &point->options);
    point->request.thread = *thread;
    struct error *error = point_prepare(point, target, thread);
    if (!error)
        error = tracee_stop(&point->tracee, target->process, thread->tid, POINT_STOP_TIMEOUT_MS);
    if (error)
        return error;
    error = point_post_stopped(point, &stop);
    borrow_deinit(&stop.borrow);
    if (!error)
        error = tracee_resume(&point->tracee, TRACEE_RUN, 0);
    if (error)
        tracee_release(&point->tracee);
    point->request.pause_ns = tracee_clock() - point->tracee.stopped_at;
    return error;
}

/* ----------------------------------------------------------------- waiting */

/* What is not ours to see goes on as it would. */
static struct error *point_pass_on(struct safe_point *point, const struct tracee_event *event)
{
    if (event->kind == TRACEE_ENDED)
        return error_create(ERROR_TARGET_ENDED, NULL, "thread %d has ended", point->tracee.tid);
    if (event->kind == TRACEE_INTERRUPTED && point->tracee.group_stopped)
        return tracee_resume(&point->tracee, TRACEE_STAY, 0);
    return tracee_resume(&point->tracee, TRACEE_RUN, event->kind == TRACEE_SIGNALLED ? event->signal : 0);
}

struct error *safe_point_await(struct safe_point *point, int timeout_ms, bool *reached)
{
    uint64_t until = tracee_clock() + (uint64_t)timeout_ms * 1000000ULL, now;
    struct tracee_event event;
    struct error *error = NULL;

    *reached = false;
    while (!error && (now = tracee_clock()) < until &&
           tracee_wait_event(&point->tracee, &event, (int)((until - now) / 1000000ULL) + 1)) {
        if (event.kind == TRACEE_SIGNALLED && point_is_reached(point, event.signal)) {
            point->reached_at = tracee_clock();
            *reached = true;
            return NULL;
        }
        error = point_pass_on(point, &event);
    }
    return error;
}

/* The main thread is stopped, and takes no pending calls. `done`: ours isn't there any more. */
static struct error *point_take_back(struct safe_point *point, bool *done)
{
    const struct inject_target *target = point->request.target;
    bool held;

    *done = point->borrowed;
    if (point->borrowed)
        return NULL;
    struct error *error = runtime_read_pending_lock(target->runtime, &held);
    if (error || held)
        return error;
    return pending_neutralize(&point->request, target->code.raise, (uint64_t)point->signal, done);
}

struct error *safe_point_withdraw(struct safe_point *point, bool *reached)
{
    struct tracee_event event;
    struct error *error = NULL;
    bool done = false;

    *reached = false;
    for (int i = 0; i < POINT_WITHDRAW_TRIES && !error && !done; i++) {
        if (!point->tracee.stopped && (error = tracee_interrupt(&point->tracee)))
            break;
        if (!tracee_wait_event(&point->tracee, &event, POINT_STOP_TIMEOUT_MS))
            return error_create(ERROR_BUSY, NULL, "thread %d doesn't stop", point->tracee.tid);
        if (event.kind == TRACEE_SIGNALLED && point_is_reached(point, event.signal)) {
            point->reached_at = tracee_clock();
            *reached = true;
            return NULL;
        }
        if (event.kind == TRACEE_INTERRUPTED && (error = point_take_back(point, &done)))
            break;
        if (done)
            break;
        /* On its way from the queue to raise(), or into the queue. */
        if (!(error = point_pass_on(point, &event)))
            error = safe_point_await(point, POINT_WITHDRAW_MS, reached);
        if (*reached)
            return error;
    }
    /* A call that is still in the queue raises a signal that nobody sees. */
    if (!point->tracee.stopped && !error && !(error = tracee_interrupt(&point->tracee)))
        error = tracee_await_stop(&point->tracee, POINT_STOP_TIMEOUT_MS);
    tracee_release(&point->tracee);
    return error;
}
