/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who awaits whom, of tasks that were read, as a forest. Computation alone. */
#ifndef SAFEPOINT_RUNTIME_TASK_TREE_H
#define SAFEPOINT_RUNTIME_TASK_TREE_H

#include "runtime/tasks.h"

/* Task t awaits children[c] for c from first[t] to first[t + 1] - 1. */
struct task_tree {
    size_t count;
    size_t *first, *children;
    size_t *holders; /* of what each waits for, a lock: the task that has it, or SIZE_MAX */
    size_t *roots;   /* tasks that none of these awaits, and one of each circle */
    size_t root_count;
    size_t *circle_first, *circles; /* circle n: tasks of which each awaits the next, or a lock
                                      * that it has, the last the first */
    size_t circle_count;
};

/* ERROR_SYSTEM when memory is out. End it with task_tree_deinit() in any case. */
struct error *task_tree_init(struct task_tree *tree, const struct tasks *tasks) __attribute__((warn_unused_result));
void task_tree_deinit(struct task_tree *tree);

#endif
