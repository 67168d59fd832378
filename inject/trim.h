/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Having a process give back what its malloc keeps free: malloc_trim(0), called by one of its threads.
 *
 * The thread is held at its safe point (safe_point.h), where it is in the middle of nothing of malloc's, and makes the
 * call there, between two instructions of its own. It has the GIL meanwhile. No Python code runs.
 */
#ifndef SAFEPOINT_INJECT_TRIM_H
#define SAFEPOINT_INJECT_TRIM_H

#include "inject/inject.h"

struct trim_options {
    int timeout_ms; /* until when there must be a safe point */
    enum inject_wake_mode wake;
    bool (*cancelled)(void); /* asked now and then; NULL: never */
};

struct trim {
    pid_t tid;        /* who made the call */
    uint64_t took_ns; /* from its safe point until it was over */
};

/* Makes the call and waits until it is over. The caller holds process_lock(). All threads run before and after.
 * ERROR_UNSUPPORTED (the process has no malloc_trim, or its seccomp filter doesn't allow what that does),
 * ERROR_NO_SAFE_POINT in time, ERROR_INTERRUPTED, ERROR_TARGET_ENDED. */
struct error *trim_run(struct trim *trim, const struct inject_target *target, const struct trim_options *options)
    __attribute__((warn_unused_result));

#endif
