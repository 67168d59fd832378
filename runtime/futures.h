/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: the fields of futures and tasks, of asyncio's two implementations alike. */
#ifndef SAFEPOINT_RUNTIME_FUTURES_H
#define SAFEPOINT_RUNTIME_FUTURES_H

#include "attach/maps.h"
#include "runtime/reader.h"
#include "runtime/tasks.h"

/* struct TaskObj of Modules/_asynciomodule.c, which begins like struct FutureObj. OFF_NONE: not in this version. */
struct future_layout {
    unsigned minor;
    uint32_t size; /* of a task */
    uint32_t loop;
    uint32_t callback0;
    uint32_t callbacks;
    uint32_t awaited_by;        /* 3.14+ */
    uint32_t awaited_by_is_set; /* char */
    uint32_t state;             /* 0 pending, 1 cancelled, 2 finished */
    uint32_t must_cancel;       /* a byte, of which the bits: */
    uint8_t must_cancel_mask;
    uint32_t cancels; /* int, 3.11+ */
    uint32_t waiter;
    uint32_t coroutine;
    uint32_t name;
    uint32_t node; /* 3.14+: struct llist_node {next, prev} */

    uint32_t interpreter_tasks; /* 3.14+: a list's head */
    uint32_t thread_loop;       /* 3.14+ */
    uint32_t thread_task;
    uint32_t thread_tasks;
};

/* The row of this version; from 3.14 on with what its _asyncio says of itself. False where it isn't known, or _asyncio isn't there. */
bool future_layout_find(struct future_layout *layout, const struct runtime *runtime, const struct maps *maps);

struct futures {
    struct object_reader *reader;
    struct future_layout layout;
    bool c_known; /* the layout stands; otherwise only Python's own are read */
};

enum future_kind { FUTURE_NONE, FUTURE_C, FUTURE_PYTHON };

/* Is it a future (a task is one), or a task? */
enum future_kind future_kind(const struct futures *futures, uint64_t object);
enum future_kind future_task_kind(const struct futures *futures, uint64_t object);

/* Its state, whether or not it runs just now; its loop. */
enum task_state future_state(const struct futures *futures, uint64_t future, enum future_kind kind);
uint64_t future_loop(const struct futures *futures, uint64_t future, enum future_kind kind);

/* What its done callbacks are; free() them. */
bool future_callbacks(const struct futures *futures, uint64_t future, enum future_kind kind, uint64_t **items,
                      size_t *count);

/* Who awaits it, as 3.14+ notes it: futures. free() them. */
bool future_awaiters(const struct futures *futures, uint64_t future, enum future_kind kind, uint64_t **items,
                     size_t *count);

/* Of tasks alone. */
uint64_t task_coroutine(const struct futures *futures, uint64_t task, enum future_kind kind);
uint64_t task_waiter(const struct futures *futures, uint64_t task, enum future_kind kind);
uint64_t task_name(const struct futures *futures, uint64_t task, enum future_kind kind);
bool task_must_cancel(const struct futures *futures, uint64_t task, enum future_kind kind);
int64_t task_cancels(const struct futures *futures, uint64_t task, enum future_kind kind);

#endif
