/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/thread_group.h"

#include <stdlib.h>

#include "attach/scope.h"

/* A process that makes threads faster than we stop them. */
#define GROUP_ROUNDS_MAX 100

static bool group_has(const struct thread_group *group, pid_t tid)
{
    for (size_t i = 0; i < group->count; i++) {
        if (group->threads[i].tid == tid)
            return true;
    }
    return false;
}

/* One that has ended needs no stop. */
static bool group_is_gone(const struct error *error)
{
    return error_code(error) == ERROR_TARGET_ENDED || error_code(error) == ERROR_NO_PROCESS;
}

/* Seizes those that are new and asks them to stop. */
static struct error *group_add(struct thread_group *group, const struct process *process, pid_t held, bool *added)
{
    scoped_free pid_t *tids = NULL;
    size_t count;
    struct error *error = process_list_threads(process->pid, &tids, &count);

    *added = false;
    if (error)
        return error;
    struct tracee *larger = reallocarray(group->threads, group->count + count, sizeof(*larger));
    if (!larger)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of %d", process->pid);
    group->threads = larger;
    for (size_t i = 0; i < count; i++) {
        struct tracee *tracee = &group->threads[group->count];

        if (tids[i] == held || group_has(group, tids[i]))
            continue;
        error = tracee_seize(tracee, process, tids[i]);
        if (!error)
            error = tracee_interrupt(tracee);
        if (error && !group_is_gone(error))
            return error;
        if (!error) {
            group->count++;
            *added = true;
        }
        error_destroy(error);
    }
    return NULL;
}

static struct error *group_await(struct thread_group *group, size_t from, int timeout_ms)
{
    struct error *failed = NULL;

    for (size_t i = from; i < group->count; i++) {
        struct error *error = tracee_await_stop(&group->threads[i], timeout_ms);

        if (error && !failed && !group_is_gone(error))
            failed = error;
        else
            error_destroy(error);
    }
    return failed;
}

struct error *thread_group_stop(struct thread_group *group, const struct process *process, pid_t held, int timeout_ms)
{
    struct error *error = NULL;
    bool added = true;

    *group = (struct thread_group){.stopped_at = tracee_clock()};
    for (int round = 0; added && !error && round < GROUP_ROUNDS_MAX; round++) {
        size_t before = group->count;

        error = group_add(group, process, held, &added);
        struct error *late = group_await(group, before, timeout_ms);
        if (error)
            error_destroy(late);
        else
            error = late;
    }
    if (!error && added)
        error = error_create(ERROR_BUSY, NULL, "process %d makes threads faster than they can be stopped", process->pid);
    if (error)
        thread_group_release(group);
    return error;
}

uint64_t thread_group_release(struct thread_group *group)
{
    if (!group->threads)
        return 0;
    for (size_t i = 0; i < group->count; i++)
        tracee_release(&group->threads[i]);
    uint64_t held = tracee_clock() - group->stopped_at;
    free(group->threads);
    *group = (struct thread_group){0};
    return held;
}
