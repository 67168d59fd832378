/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Holding a thread at its safe point, where it has the GIL and no object is half changed: it is made to
 * raise() there, and a tracer sees the signal before it would be ignored.
 *
 *   safe_point_post     stops it for some 100 us; then it runs, seized, with the call before it
 *   safe_point_await    until it is held at the safe point, or the time is over
 *   safe_point_withdraw instead, when it didn't come; or after it, when nothing was done there
 */
#ifndef SAFEPOINT_INJECT_SAFE_POINT_H
#define SAFEPOINT_INJECT_SAFE_POINT_H

#include "inject/inject.h"

struct safe_point {
    struct inject_request request; /* for the thread, its limits, and what it was found doing */
    struct inject_options options;
    struct tracee tracee;
    bool borrowed;       /* it takes the GIL in its blocked call; else a pending call */
    int signal;          /* what is raised */
    pid_t inner_pid;     /* who raises it, as the target calls itself */
    uint64_t reached_at; /* CLOCK_MONOTONIC nanoseconds of its stop at the safe point */
};

/* On success the thread runs and is seized; on error it runs as before: ERROR_NO_SAFE_POINT (it can't get there from
 * where it is, which is said), ERROR_BUSY (not at this moment), ERROR_UNSUPPORTED (never). */
struct error *safe_point_post(struct safe_point *point, const struct inject_target *target,
                              const struct thread_state *thread, enum inject_wake_mode wake)
    __attribute__((warn_unused_result));

/* Waits. `reached`: it is stopped at its safe point and holds the GIL; tracee_release(&point->tracee) lets
 * it go on as if nothing had been. */
struct error *safe_point_await(struct safe_point *point, int timeout_ms, bool *reached)
    __attribute__((warn_unused_result));

/* Takes the call back, and lets the thread go. It may arrive just now: then `reached`, as above. (A thread that
 * waits for the GIL in its blocked call goes on to do so, raises, and gives it back: nobody sees that.) */
struct error *safe_point_withdraw(struct safe_point *point, bool *reached) __attribute__((warn_unused_result));

#endif
