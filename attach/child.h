/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A copy-on-write child of the target, made for its memory: one clone() by a borrowed thread, no
 * handlers of fork. It is parked before its first instruction and never runs one of the target's:
 *
 *      thread's stack ->  | frame: the thread's own state      |  the parent goes on by this one
 *                         | ...                                |
 *                         | frame: exit_group(CHILD_EXIT_CODE) |  and the child would by this one
 *
 * Its exit sends no signal, and wait() of the target doesn't see it (only one with __WALL or __WCLONE
 * does). It shares the target's table of descriptors instead of having a copy: what the target closes
 * is closed. Of memory it has all but what is shared (which stays the same memory) and what was marked
 * MADV_DONTFORK. When we die it is killed by the kernel, or ends by itself.
 *
 * Once killed it is a zombie, which only its parent can remove: a thread of the target is made to
 * call wait4() for it (child_wait_step). One whose maker was killed is known by child_list_left().
 */
#ifndef SAFEPOINT_ATTACH_CHILD_H
#define SAFEPOINT_ATTACH_CHILD_H

#include "attach/borrow.h"

#define CHILD_EXIT_CODE 83  /* of one that nobody parked */
#define CHILD_OOM_SCORE 987 /* of one that is parked: it goes first when memory is short; and a mark */

struct child {
    struct tracee tracee;
    struct process process; /* its memory; open while `parked` */
    pid_t pid;              /* 0: none */
    uint64_t start_time;
    bool parked;
};

/* Does the thread's seccomp filter allow what a child needs, from making it to removing it?
 * NULL, or ERROR_UNSUPPORTED that names the call. */
struct error *child_check(const struct borrow *borrow) __attribute__((warn_unused_result));

/* The stopped and inspected thread makes the child. On success it is still stopped: tracee_release()
 * lets it go on; then child_park(). ERROR_SYSTEM where clone() fails (a limit on processes or on
 * memory): it is stopped too, and goes on by tracee_release() as if nothing had been. */
struct error *child_make(struct child *child, struct borrow *borrow) __attribute__((warn_unused_result));

/* Waits until the child is in its stop, marks it, and opens its memory. On an error it is killed. */
struct error *child_park(struct child *child) __attribute__((warn_unused_result));

/* Kills it. It is a zombie of the target's then. None: nothing happens. */
void child_kill(struct child *child);

/* A zombie of the target's that was a child of ours, or is about to be one. */
struct child_left {
    pid_t pid, inner; /* as we and as the target call it */
    uint64_t start_time;
};
/* Is it there still? As a zombie, which can be removed? */
bool child_is_left(const struct child_left *left);
bool child_is_dead(const struct child_left *left);
/* Describes a killed child; false: it is gone. */
bool child_describe_left(const struct child *child, struct child_left *left);
/* What killed ones of us have left with the target (nobody else may be at work on it): at most `room` of them. Returns how many. */
size_t child_list_left(const struct process *process, struct child_left *list, size_t room);
/* The step by which a thread of the target removes it. */
struct arch_step child_wait_step(const struct child_left *left);

#endif
