/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which thread waits for which lock, and who holds it.
 *
 * The kernel says on which address a thread is blocked, its frames say in which call. A lock is named only when the two
 * agree: it is in the frame, and the address is its own. What a Lock doesn't note, who has it, is not guessed: the only
 * other witness is a thread whose frame stands inside a `with` of that very lock.
 */
#ifndef SAFEPOINT_RUNTIME_LOCKS_H
#define SAFEPOINT_RUNTIME_LOCKS_H

#include "attach/activity.h"
#include "runtime/reader.h"

/* How it is known who has to let go. */
enum lock_witness {
    LOCK_NOBODY,    /* the lock is free, or it isn't somebody's to give: a condition, a queue, an event */
    LOCK_UNKNOWN,   /* somebody has it, and nothing says who */
    LOCK_BY_FIELD,  /* the lock notes its owner */
    LOCK_BY_FRAME,  /* a thread is inside a `with` of it */
    LOCK_BY_TARGET, /* a thread that is joined: it has to end */
};

struct lock_wait {
    size_t thread;    /* who waits: number of the thread state */
    const char *kind; /* "lock", "rlock", "condition", "event", "queue", "join", "import", "gil", "futex"... */
    uint64_t object;  /* the lock itself; 0: not found */
    char type[128];   /* its type */
    bool checked;     /* the address that the thread is blocked on is that lock's */
    bool timed;       /* the wait has a limit */
    uint64_t address; /* that it is blocked on: a semaphore, a mutex */
    uint64_t subject; /* the condition, queue, thread, module lock... that the lock is part of; 0: none */
    char subject_type[128];
    char subject_name[128]; /* of a thread, a module; "" */
    enum lock_witness witness;
    uint64_t owner_pthread; /* 0 where nobody is known */
    size_t owner;           /* number of its thread state; SIZE_MAX: none of these threads' (it may have ended) */
    int64_t count;          /* of an RLock: how often it is held */
    struct python_frame owner_frame; /* LOCK_BY_FRAME: where its `with` is */
    struct python_frame frame;       /* where it waits: its innermost frame outside the modules of locks */
    bool has_frame;
    bool changing; /* the thread ran while it was looked at: it may be over */
};

struct locks {
    struct lock_wait *waits; /* of the oldest thread first */
    size_t count;
    size_t *circle_first, *circles; /* circle n: numbers of waits, of which each waits for the thread of the next */
    size_t circle_count;
};

/* Looks at these threads, of which activities[i] has been seen before. `held`: all of them are stopped. ERROR_UNSUPPORTED, by name, where the objects of
 * this version aren't known. End it with locks_deinit() in any case. */
struct error *locks_read(struct locks *locks, const struct runtime *runtime, const struct thread_state *threads,
                         const struct activity *const *activities, size_t count, bool held)
    __attribute__((warn_unused_result));
void locks_deinit(struct locks *locks);

#endif
