/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: what one task waits for, and who waits for one future. */
#ifndef SAFEPOINT_RUNTIME_TASK_WAIT_H
#define SAFEPOINT_RUNTIME_TASK_WAIT_H

#include "runtime/futures.h"

/* A frame of a task's stack as it is walked. */
struct task_walk_frame {
    struct frame frame;
    uint64_t generator; /* that it is of; 0: of a plain function, of a task that runs */
};

/* From what its frames are at (innermost first), and from the future that it waits for (0: none). */
void task_wait_find(const struct futures *futures, const struct task_walk_frame *frames, size_t count, uint64_t waiter,
                    struct task_wait *wait);

/* The tasks that await a future, directly or by way of others (gather, shield, wait): addresses by rising value; free()
 * them. False: memory is out. */
bool task_awaiters_find(const struct futures *futures, uint64_t future, uint64_t **tasks, size_t *count);

#endif
