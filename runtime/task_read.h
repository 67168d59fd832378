/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: one attempt to read the tasks of a process, and its parts. */
#ifndef SAFEPOINT_RUNTIME_TASK_READ_H
#define SAFEPOINT_RUNTIME_TASK_READ_H

#include "runtime/futures.h"
#include "runtime/task_wait.h"

/* Frames of one task. */
#define TASK_FRAMES_MAX 1000

struct address_list {
    uint64_t *items;
    size_t count, room;
};

/* One attempt. */
struct tasks_read {
    struct tasks *tasks;
    struct futures futures;
    struct object_reader reader;
    const struct thread_state *threads;
    size_t thread_count;
    bool with_done, held, out_of_memory, torn;
    struct task_walk_frame *walk; /* TASK_FRAMES_MAX of them */
};

/* Adds to a list; memory that is out is noted in `read`. Sorts it, each address once. */
void task_list_add(struct tasks_read *read, struct address_list *list, uint64_t address);
void task_list_sort(struct address_list *list);

/* Of two addresses, for qsort() and bsearch(). */
int task_compare_addresses(const void *a, const void *b);

/* Adds the tasks of an interpreter, by rising address, each once. What can't be read is noted in read->torn. */
void task_read_registries(struct tasks_read *read, uint64_t interpreter, struct address_list *list);

/* Puts the frames of a coroutine's stack into read->walk, innermost first: how many. `runs`: it is on some thread. */
size_t task_walk_stack(struct tasks_read *read, uint64_t coroutine, bool runs);

#endif
