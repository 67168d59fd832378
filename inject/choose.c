/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which thread shall run a request: candidates, the most promising first. With "any",
 * one at a time is posted to and taken back before the next, so that the request
 * runs exactly once; the caller turns to the next when one doesn't come by.
 */
#include <stdlib.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "inject/internal.h"

/* How soon may a thread come to a safe point? */
enum choose_rank { CHOOSE_RUNS_PYTHON, CHOOSE_MAIN, CHOOSE_BLOCKED, CHOOSE_OTHER };

static enum choose_rank choose_rank(const struct inject_target *target, const struct thread_state *thread)
{
    bool runs_anywhere = target->runtime->layout.thread_state.remote_debugger_support != OFF_NONE;
    long call;

    if (thread->holds_gil && (thread->main || runs_anywhere))
        return CHOOSE_RUNS_PYTHON;
    if (thread->main)
        return CHOOSE_MAIN;
    call = process_read_syscall(target->process->pid, thread->tid, NULL);
    return call >= 0 && !syscall_is_futex(call) ? CHOOSE_BLOCKED : CHOOSE_OTHER;
}

struct choose_candidate {
    struct thread_state thread;
    enum choose_rank rank;
    size_t place; /* in CPython's list */
};

static int choose_compare(const void *a, const void *b)
{
    const struct choose_candidate *left = a, *right = b;

    if (left->rank != right->rank)
        return left->rank < right->rank ? -1 : 1;
    return (left->place > right->place) - (left->place < right->place);
}

/* By the id that we know it by, or else the one that it has in its own namespace. */
static pid_t choose_translate(const struct inject_target *target, const struct inject_choice *choice)
{
    scoped_free pid_t *tids = NULL;
    size_t count;
    pid_t found = choice->tid;
    struct error *error = process_list_threads(target->process->pid, &tids, &count);

    for (size_t i = 0; !error && i < count; i++) {
        struct process_status status;

        if (tids[i] == choice->tid)
            return choice->tid;
        struct error *gone = process_read_status(target->process->pid, tids[i], &status);
        if (!gone && status.namespace_pid == choice->tid)
            found = tids[i];
        error_destroy(gone);
    }
    error_destroy(error);
    return found;
}

/* A thread state of another interpreter may be idle: only one that runs something has a thread of its own. */
static bool choose_is_alive(const struct inject_target *target, const struct thread_state *thread)
{
    struct python_frame frame;
    bool found = false;

    if (!thread->tid)
        return false;
    if (thread->interpreter_id == 0)
        return true;
    struct error *torn = runtime_read_top_frame(target->runtime, thread, &frame, &found);
    bool running = found || torn;
    error_destroy(torn);
    return running;
}

static bool choose_fits(const struct inject_choice *choice, pid_t tid, const struct thread_state *thread)
{
    if (thread->interpreter_id != choice->interpreter)
        return false;
    if (choice->kind == INJECT_THREAD_ANY)
        return true;
    if (choice->kind == INJECT_THREAD_ID)
        return thread->tid == tid;
    return thread->main || choice->interpreter != 0;
}

static struct error *choose_nobody(const struct inject_target *target, const struct inject_choice *choice)
{
    struct error *error;

    if (choice->kind == INJECT_THREAD_ID) {
        error = error_create(ERROR_USAGE, NULL, "thread %d of process %d runs no Python", choice->tid,
                             target->process->pid);
        return error_with_hint(error, "list its threads: safepoint info %d", target->process->pid);
    }
    if (choice->interpreter != 0)
        return error_create(ERROR_NO_SAFE_POINT, NULL, "no thread runs in interpreter %lld of process %d",
                            (long long)choice->interpreter, target->process->pid);
    return error_create(ERROR_UNSUPPORTED, NULL, "the main Python thread of process %d wasn't found",
                        target->process->pid);
}

static void choose_hand_over(struct choose_candidate *found, size_t fitting, unsigned turn,
                             struct thread_state **list)
{
    struct thread_state *threads = malloc(fitting * sizeof(*threads));

    qsort(found, fitting, sizeof(*found), choose_compare);
    for (size_t i = 0; threads && i < fitting; i++)
        threads[i] = found[(i + turn) % fitting].thread;
    *list = threads;
}

struct error *choose_threads(const struct inject_target *target, const struct inject_choice *choice,
                             struct thread_state **list, size_t *count)
{
    scoped_free struct thread_state *threads = NULL;
    scoped_free struct choose_candidate *found = NULL;
    size_t all, fitting = 0;
    struct error *error = runtime_read_threads(target->runtime, &threads, &all);
    pid_t tid = choice->kind == INJECT_THREAD_ID ? choose_translate(target, choice) : 0;

    *list = NULL;
    *count = 0;
    if (error)
        return error;
    if (!(found = calloc(all + 1, sizeof(*found))))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of %d", target->process->pid);
    for (size_t i = 0; i < all; i++) {
        if (!choose_fits(choice, tid, &threads[i]) || !choose_is_alive(target, &threads[i]))
            continue;
        enum choose_rank rank = choice->kind == INJECT_THREAD_ANY ? choose_rank(target, &threads[i]) : CHOOSE_MAIN;
        found[fitting++] = (struct choose_candidate){threads[i], rank, i};
    }
    if (!fitting)
        return choose_nobody(target, choice);
    choose_hand_over(found, fitting, choice->turn, list);
    *count = fitting;
    return *list ? NULL : error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of %d", target->process->pid);
}

struct error *inject_interpreter_runs(const struct inject_target *target, int64_t id, bool *runs)
{
    const struct inject_choice choice = {.kind = INJECT_THREAD_MAIN, .interpreter = id};
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error = choose_threads(target, &choice, &threads, &count);

    *runs = !error;
    if (!error || error_code(error) != ERROR_NO_SAFE_POINT)
        return error;
    error_destroy(error);
    return NULL;
}
