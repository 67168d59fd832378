/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the tasks of an interpreter are noted:
 *
 *   3.8-3.11  asyncio.tasks._all_tasks         WeakSet.data: a set of weak references
 *   3.12+     asyncio.tasks._scheduled_tasks   likewise; and _eager_tasks, a set
 *   3.14+     those of C in linked lists: one in each thread state, one in the interpreter for threads that have ended;
 *             those of Python and of other makes in the sets of asyncio.tasks and of _asyncio
 *
 *   list head <-> task.node <-> task.node <-> ... back to the head
 */
#include <stdlib.h>

#include "attach/scope.h"
#include "runtime/task_read.h"

#define TASKS_MAX READER_ITEMS_MAX

/* ------------------------------------------------------------------- lists */

void task_list_add(struct tasks_read *read, struct address_list *list, uint64_t address)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        uint64_t *larger = reallocarray(list->items, room, sizeof(*larger));

        read->out_of_memory |= !larger;
        if (!larger)
            return;
        list->items = larger;
        list->room = room;
    }
    list->items[list->count++] = address;
}

int task_compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Sorted, each once. */
void task_list_sort(struct address_list *list)
{
    size_t kept = 0;

    if (list->count)
        qsort(list->items, list->count, sizeof(*list->items), task_compare_addresses);
    for (size_t i = 0; i < list->count; i++) {
        if (!kept || list->items[i] != list->items[kept - 1])
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

/* --------------------------------------------------------------- registries */

/* A set, or a WeakSet: its tasks, or weak references to them. */
static void read_set(struct tasks_read *read, uint64_t set, struct address_list *list)
{
    struct object_reader *reader = &read->reader;
    scoped_free uint64_t *items = NULL;
    size_t count;
    bool weak = set && reader_is_derived(reader, set, "WeakSet");

    if (!set)
        return;
    if (!reader_items(reader, weak ? reader_attribute(reader, set, "data") : set, &items, &count)) {
        read->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t task = items[i];
        if (weak)
            task =
                reader_is_derived(reader, task, "weakref") || reader_is_derived(reader, task, "weakref.ReferenceType")
                    ? reader_u64(reader, task + reader->layout.weakref.object)
                    : 0;
        if (future_task_kind(&read->futures, task) != FUTURE_NONE)
            task_list_add(read, list, task);
    }
}

/* A linked list whose head is in the target's own structure; an empty head may be all zeros. */
static void read_list(struct tasks_read *read, uint64_t head, struct address_list *list)
{
    struct object_reader *reader = &read->reader;
    uint64_t before = head, node = reader_u64(reader, head);

    for (size_t i = 0; node && node != head; i++) {
        uint64_t task = node - read->futures.layout.node;
        if (i == TASKS_MAX || node % 8 || reader_u64(reader, node + 8) != before ||
            !reader_is_derived(reader, task, "_asyncio.Task")) {
            read->torn = true;
            return;
        }
        task_list_add(read, list, task);
        before = node;
        node = reader_u64(reader, node);
    }
}

static void read_lists(struct tasks_read *read, uint64_t interpreter, struct address_list *list)
{
    const struct future_layout *layout = &read->futures.layout;

    if (!read->futures.c_known || layout->node == OFF_NONE)
        return;
    read_list(read, interpreter + layout->interpreter_tasks, list);
    for (size_t i = 0; i < read->thread_count; i++) {
        if (read->threads[i].interpreter.value == interpreter)
            read_list(read, read->threads[i].address.value + layout->thread_tasks, list);
    }
}

void task_read_registries(struct tasks_read *read, uint64_t interpreter, struct address_list *list)
{
    static const char *const modules[] = {"asyncio.tasks", "_asyncio"};
    static const char *const sets[] = {"_all_tasks", "_scheduled_tasks", "_eager_tasks"};

    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
        uint64_t dict = reader_module_dict(&read->reader, interpreter, modules[i]);
        for (size_t j = 0; dict && j < sizeof(sets) / sizeof(sets[0]); j++)
            read_set(read, reader_dict_get(&read->reader, dict, sets[j]), list);
    }
    read_lists(read, interpreter, list);
    task_list_sort(list);
}
