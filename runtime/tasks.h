/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The asyncio tasks of a process, read while it runs: which there are, what each is doing, on what it waits and who
 * waits for it. Tasks in C and in Python, eager ones, of every loop of every interpreter.
 */
#ifndef SAFEPOINT_RUNTIME_TASKS_H
#define SAFEPOINT_RUNTIME_TASKS_H

#include "attach/maps.h"
#include "runtime/reader.h"

enum task_state { TASK_PENDING, TASK_RUNNING, TASK_CANCELLED, TASK_FINISHED };

/* One function of a task's stack. */
struct task_frame {
    char *function; /* qualified */
    char *file;
    int line; /* 0 unknown */
};

/* What a task waits for, in a word, and what is known of it. */
struct task_wait {
    const char *kind; /* "task", "gather", "sleep", "lock", "queue", "socket"...; NULL: it doesn't wait */
    uint64_t object;  /* the lock, queue, future or task; 0: none */
    char type[128];   /* of the object */
    bool ready;       /* what it waits for is done: the task goes on in the loop's next turn */
    bool timed;       /* the two that follow are known */
    double delay;     /* seconds of a sleep in all */
    double left;      /* until its end; negative when it is late */
    int descriptor;   /* of a socket; -1: none */
    uint64_t holder;  /* the task that is inside an `async with` of it; 0: none is known */
};

struct task {
    uint64_t address; /* id() of it */
    uint64_t loop;    /* of its loop */
    int64_t interpreter;
    char *name;
    char *coroutine; /* qualified name, or its type's where it is of another make */
    enum task_state state;
    bool must_cancel;          /* cancelled, and hasn't seen it yet */
    int64_t cancels;           /* requests, 3.11+ */
    bool python;               /* of asyncio's implementation in Python */
    bool changing;             /* it ran while it was read: its stack and state may be of different moments */
    uint64_t signature;        /* of what was read */
    struct task_frame *frames; /* innermost first */
    size_t frame_count;
    bool cut; /* more frames than anybody's: the innermost are left out */
    struct task_wait wait;
    uint64_t *awaited_by; /* addresses of tasks; by rising address */
    size_t awaiter_count;
};

struct task_loop {
    uint64_t address;
    int64_t interpreter;
    char type[128];
    uint64_t pthread; /* of the thread that runs it, 0: it isn't running, or not known */
    pid_t tid;        /* likewise */
};

struct tasks {
    struct task *items; /* by interpreter, loop and the order they were made in, as far as their names tell */
    size_t *by_address; /* their numbers, by rising address */
    size_t count;
    struct task_loop *loops;
    size_t loop_count;
    size_t done;     /* tasks that are finished, and kept by somebody; in items only where that was asked for */
    bool changing;   /* the process ran while it was read: what belongs together may be of different moments */
    bool incomplete; /* some of a registry couldn't be read */
};

struct tasks_wish {
    bool with_done; /* finished ones, too */
    bool held;      /* nothing of the process runs as long as it is read: it is stopped, or a file */
};

/* Reads them. ERROR_UNSUPPORTED, by name, where the tasks of this version aren't known. No task at all is no error. End
 * it with tasks_deinit() in any case. */
struct error *tasks_read(struct tasks *tasks, const struct runtime *runtime, const struct maps *maps,
                         const struct tasks_wish *wish) __attribute__((warn_unused_result));
void tasks_deinit(struct tasks *tasks);

/* The number of the task at an address, or SIZE_MAX. */
size_t tasks_find(const struct tasks *tasks, uint64_t address);

#endif
