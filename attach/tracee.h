/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thread of the target, stopped by ptrace for a moment.
 *
 * PTRACE_SEIZE and PTRACE_INTERRUPT: no signal is sent to the target. When we
 * die at any instant the kernel lets the thread go. Signals that reach the
 * thread while it is held are passed on.
 */
#ifndef SAFEPOINT_ATTACH_TRACEE_H
#define SAFEPOINT_ATTACH_TRACEE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/arch/arch.h"
#include "attach/error.h"
#include "attach/process.h"

struct tracee {
    pid_t tid;
    bool stopped;       /* held in a ptrace stop right now */
    bool group_stopped; /* the process was stopped by SIGSTOP or the like, before us */
    uint64_t stopped_at; /* CLOCK_MONOTONIC nanoseconds when the stop was asked for */
};

/* Stops one thread of a process, waiting at most `timeout_ms` for it. On
 * success it is stopped until tracee_release(). ERROR_PERMISSION (with the
 * cause: another tracer by name, uid, Yama), ERROR_TARGET_ENDED, ERROR_BUSY when
 * it didn't stop in time (uninterruptible sleep): it is then let go when we exit. */
struct error *tracee_stop(struct tracee *tracee, const struct process *process, pid_t tid, int timeout_ms)
    __attribute__((warn_unused_result));

/* The same in its parts. A seized thread runs on until it is interrupted, and is let go for good by
 * tracee_release() once it is stopped. */
struct error *tracee_seize(struct tracee *tracee, const struct process *process, pid_t tid)
    __attribute__((warn_unused_result));
struct error *tracee_interrupt(struct tracee *tracee) __attribute__((warn_unused_result));
struct error *tracee_await_stop(struct tracee *tracee, int timeout_ms) __attribute__((warn_unused_result));

/* What a seized thread has done; in all cases but the last it is stopped now. */
enum tracee_event_kind {
    TRACEE_INTERRUPTED, /* by us, or by a stop of the process (tracee->group_stopped) */
    TRACEE_SIGNALLED,   /* about to get `signal`: hand it over, or keep it back */
    TRACEE_CLONED,      /* made `child`, with PTRACE_O_TRACECLONE */
    TRACEE_CALL,        /* at a system call's entry or exit, with PTRACE_O_TRACESYSGOOD */
    TRACEE_ENDED,       /* gone: nothing to release */
};
struct tracee_event {
    enum tracee_event_kind kind;
    int signal;
    pid_t child;
};
/* Waits for the next of them. False: nothing came within `timeout_ms`. */
bool tracee_wait_event(struct tracee *tracee, struct tracee_event *event, int timeout_ms);

/* Lets a stopped thread run on, still seized. */
enum tracee_until {
    TRACEE_RUN,     /* to the next event */
    TRACEE_TO_CALL, /* the entry or exit of a system call is one, too */
    TRACEE_STAY,    /* in the stop of its process, until that is over */
};
struct error *tracee_resume(struct tracee *tracee, enum tracee_until until, int signal)
    __attribute__((warn_unused_result));

/* Lets the thread go on. A thread that isn't held is left alone. Returns how
 * long it was held in nanoseconds. */
uint64_t tracee_release(struct tracee *tracee);

/* Waits a signal for a held thread, which it doesn't block? It is delivered first of all when the thread is let go. */
bool tracee_awaits_signal(const struct tracee *tracee);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t tracee_clock(void);

#endif
