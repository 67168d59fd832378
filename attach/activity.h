/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kernel says of a thread: its name, whether it runs, the system call that it is blocked in and since when,
 * and whether it has run since. Nothing is stopped for it.
 */
#ifndef SAFEPOINT_ATTACH_ACTIVITY_H
#define SAFEPOINT_ATTACH_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/core.h"

struct activity {
    pid_t pid, tid;        /* pid 0: of a core */
    char name[64];
    char state;            /* as in status: R S D T t Z; X: it is gone; ?: can't be told */
    long syscall;          /* that it is blocked in; -1: none, or unknown */
    uint64_t arguments[6]; /* of the call */
    int processor;         /* that it last ran on; -1 unknown */
    uint64_t turns;        /* how often it was given a processor */
    bool turns_known;      /* and it wasn't running when they were read */
};

/* Looks at a thread of a process; one that is gone has the state X. */
void activity_look(struct activity *activity, pid_t pid, pid_t tid);

/* The same of a thread of a core: what it was blocked in, by its registers. It has no pid, and has stayed. */
void activity_look_core(struct activity *activity, const struct core_thread *thread);

/* Hasn't the thread run for an instant since activity_look()? False where that can't be told. */
bool activity_stayed(const struct activity *activity);

/* Since when each of these is blocked, in nanoseconds: -1 for those that run, and where the kernel doesn't tell. A
 * clock of each processor is needed for it, which takes moving to it for an instant: the caller's thread is back where
 * it may run when this returns. Exact to some milliseconds. */
void activity_read_blocked(const struct activity *activities, size_t count, int64_t *nanoseconds);

#endif
