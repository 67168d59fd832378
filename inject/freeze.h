/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory of a process at one instant, to be read at leisure while the process goes on.
 *
 * The instant is one at which no thread is in the middle of changing an object:
 *
 *   no thread holds the GIL   all threads are stopped, and it is looked at again: nothing else is needed
 *   the main thread runs      a pending call of raise() with a signal that is ignored: the stop that a tracer
 *                             gets before a signal is the safe point, and whoever it is that holds the GIL
 *                             there has finished what it did. (Without a tracer the signal is nothing.)
 *   it is blocked             a thread that waits in a system call of Python's takes the GIL, as an extension's
 *                             callback would, raises, and gives it back: PyGILState_Ensure(), raise(),
 *                             PyGILState_Release(); its call is begun again
 *
 * No Python code runs. What is kept of that instant is, in the order of what costs the target least:
 *
 *   FREEZE_CHILD  a copy-on-write child (attach/child.h): a pause of some 10 ms for each GB
 *   FREEZE_COPY   a copy in our memory (attach/copy.h), all threads stopped meanwhile: some 300 ms for each GB
 *   FREEZE_LIVE   nothing: the running process itself, whose memory changes while it is read
 *
 * In a child, threads that are outside of Python (blocked, or in C code without the GIL) may write to
 * their own memory during the few milliseconds that the kernel takes; Python's objects don't change.
 */
#ifndef SAFEPOINT_INJECT_FREEZE_H
#define SAFEPOINT_INJECT_FREEZE_H

#include "attach/child.h"
#include "attach/copy.h"
#include "inject/inject.h"

enum freeze_way { FREEZE_CHILD, FREEZE_COPY, FREEZE_LIVE };

struct freeze_options {
    int timeout_ms;             /* until when there must be a safe point */
    enum inject_wake_mode wake; /* may a blocked call be disturbed (repeated by Python, or begun again)? */
    bool no_fork, no_pause;     /* begin with FREEZE_COPY; FREEZE_LIVE */
    uint64_t memory_room;       /* bytes until a memory limit of the target's; UINT64_MAX: there is none */
    uint64_t copy_max;          /* bytes that a copy may take; 0: no bound */
    bool (*cancelled)(void);    /* asked now and then while there is no safe point; NULL: never */
};

struct freeze {
    /* What to read: its `memory` is that of the instant. Of FREEZE_CHILD it is the child, whose maps and
     * mapped files are those of the instant too; of the others the target's own. */
    const struct process *process;
    enum freeze_way way;
    bool at_safe_point; /* false: an object may be half changed */
    char why[320];      /* if not at a safe point, why; else "" */
    char refused[256];  /* why it was done by none of the ways before this; "" when by the first */
    pid_t tid;          /* the thread whose safe point it is; 0: nobody held the GIL, or none */
    uint64_t pause_ns;  /* from a stop of the first thread to the end of the last one's, the longest of these */

    /* The rest is the freeze's own. */
    const struct inject_target *target;
    enum inject_wake_mode wake;
    struct child child;
    struct copy copy;
    struct process copied; /* the target, with the copy for memory */
};

/* Takes the freeze. All threads of the target run before and after, and their system calls go on as if
 * nothing had been. Where no safe point is reached in time, it is of the instant of the deadline
 * (at_safe_point = false). The caller holds process_lock(), and ends it with freeze_close().
 * `freeze` must not be moved. ERROR_PERMISSION, ERROR_TARGET_ENDED, ERROR_INTERRUPTED, ERROR_SYSTEM (there
 * is no memory for a copy, or it is more than copy_max); everything is undone then. */
struct error *freeze_open(struct freeze *freeze, const struct inject_target *target,
                          const struct freeze_options *options) __attribute__((warn_unused_result));

/* Ends it: the child is killed, and removed by a thread of the target's. ERROR_BUSY when none could be borrowed
 * without harm for it: a zombie stays, which the target's own wait() doesn't see and
 * freeze_clear_leftovers() removes another time. All else is released in any case. */
struct error *freeze_close(struct freeze *freeze) __attribute__((warn_unused_result));

/* Removes what one of us that was killed has left with the target; after process_lock(). */
struct error *freeze_clear_leftovers(const struct inject_target *target, unsigned *cleared)
    __attribute__((warn_unused_result));

/* "child", "copy", "live", as in JSON. */
const char *freeze_way_name(enum freeze_way way);

#endif
