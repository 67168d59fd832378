/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All threads of the target, stopped together for a moment: each is asked to stop before the first
 * is waited for, and those that were made meanwhile are stopped too, until none is new.
 */
#ifndef SAFEPOINT_ATTACH_THREAD_GROUP_H
#define SAFEPOINT_ATTACH_THREAD_GROUP_H

#include "attach/tracee.h"

struct thread_group {
    struct tracee *threads; /* by rising id; owned */
    size_t count;
    uint64_t stopped_at; /* CLOCK_MONOTONIC nanoseconds when the first stop was asked for */
};

/* Stops every thread of a process but `held` (0: none), which the caller holds already. On success
 * they are stopped until thread_group_release(); on an error (ERROR_BUSY: one didn't stop within
 * `timeout_ms`; ERROR_PERMISSION) all but `held` run as before. A process that was stopped by
 * SIGSTOP stays so. */
struct error *thread_group_stop(struct thread_group *group, const struct process *process, pid_t held, int timeout_ms)
    __attribute__((warn_unused_result));

/* Lets them all go on; returns how long the first was held in nanoseconds. A group that isn't
 * stopped is left alone: 0. */
uint64_t thread_group_release(struct thread_group *group);

#endif
