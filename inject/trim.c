/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "inject/trim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "inject/internal.h"
#include "inject/safe_point.h"

#define TRIM_WAIT_MS      100
#define TRIM_NAP_US       1000
#define TRIM_MILLISECOND  UINT64_C(1000000)
#define TRIM_LONGEST_MS   120000 /* of many GB */

struct trimming {
    struct trim *trim;
    const struct trim_options *options;
    struct inject_target target; /* with fresh maps */
    struct maps maps;
    uint64_t function;
    uint64_t deadline;
    char why[320];
};

static void trim_nap(long microseconds)
{
    struct timespec nap = {0, microseconds * 1000};

    nanosleep(&nap, NULL);
}

static bool trim_is_library(const struct map *map)
{
    const char *name = map_basename(map);

    return map->executable && map->inode && (!strncmp(name, "libc.so.", 8) || !strncmp(name, "libc-2.", 7));
}

static struct error *trim_find_function(struct trimming *trimming)
{
    const struct process *process = trimming->target.process;
    struct image_range range;
    struct image *image;

    for (size_t i = 0; i < trimming->maps.count && !trimming->function; i++) {
        if (!trim_is_library(&trimming->maps.entries[i]))
            continue;
        struct error *error = image_open(&image, process, &trimming->maps.entries[i]);
        if (error)
            return error;
        if (image_find_export(image, "malloc_trim", &range))
            trimming->function = range.start.value;
        image_close(image);
    }
    if (trimming->function)
        return NULL;
    return error_create(ERROR_UNSUPPORTED, "only glibc has it", "process %d has no malloc_trim", process->pid);
}

/* What malloc_trim() calls, and the return from our frame. */
static struct error *trim_check_filter(const struct inject_stop *stop)
{
    static const struct {
        long number;
        uint64_t arguments[6];
    } calls[] = {{SYS_madvise, {0, 4096, MADV_DONTNEED}}, {SYS_brk, {0}}, {SYS_futex, {0}}, {SYS_rt_sigreturn, {0}}};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (borrow_ask(&stop->borrow, calls[i].number, calls[i].arguments) != SECCOMP_ALLOWED)
            return error_create(ERROR_UNSUPPORTED, NULL, "the seccomp filter of process %d doesn't allow %s",
                                stop->request->target->process->pid, syscall_name(calls[i].number));
    }
    return NULL;
}

/* The thread is held at its safe point, and let go with the call before it. */
static struct error *trim_call(struct trimming *trimming, struct safe_point *point)
{
    const struct inject_target *target = &trimming->target;
    const struct arch_step step = {.target = trimming->function, .arguments = {0}};
    struct inject_stop stop = {.request = &point->request, .options = &point->options, .tracee = &point->tracee};
    struct error *error = borrow_inspect(&stop.borrow, target->process, stop.tracee, target->maps, &target->code,
                                         &point->request.limits);

    if (!error)
        error = trim_check_filter(&stop);
    if (!error)
        error = borrow_chain(&stop.borrow, &step, 1, ARCH_RESUME_SAME);
    tracee_release(&point->tracee);
    borrow_deinit(&stop.borrow);
    return error;
}

/* The thread blocks all signals as long as it is at it. */
static struct error *trim_await(struct trimming *trimming, const struct safe_point *point)
{
    const struct process *process = trimming->target.process;
    uint64_t until = point->reached_at + TRIM_LONGEST_MS * TRIM_MILLISECOND;
    struct error *error = NULL;

    while (!error && process_runs_chain(process->pid, point->tracee.tid)) {
        if (trimming->options->cancelled && trimming->options->cancelled())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; malloc_trim() goes on in process %d", process->pid);
        if (tracee_clock() > until)
            return error_create(ERROR_NO_SAFE_POINT, NULL, "malloc_trim() takes longer than %d s in process %d, and goes on",
                                TRIM_LONGEST_MS / 1000, process->pid);
        trim_nap(TRIM_NAP_US);
        error = process_check(process);
    }
    trimming->trim->tid = point->tracee.tid;
    trimming->trim->took_ns = tracee_clock() - point->reached_at;
    return error;
}

static bool trim_cancelled(const struct trimming *trimming)
{
    return trimming->options->cancelled && trimming->options->cancelled();
}

/* Brings one thread to its safe point, or leaves it as it was. */
static struct error *trim_at_thread(struct trimming *trimming, const struct thread_state *thread, bool *done)
{
    struct safe_point point;
    bool reached = false;
    struct error *error = safe_point_post(&point, &trimming->target, thread, trimming->options->wake);

    if (error)
        return error;
    do
        error = safe_point_await(&point, TRIM_WAIT_MS, &reached);
    while (!error && !reached && point.borrowed && tracee_clock() < trimming->deadline && !trim_cancelled(trimming));
    if (!error && !reached)
        error = safe_point_withdraw(&point, &reached);
    if (error || !reached) {
        tracee_release(&point.tracee);
        return error;
    }
    if ((error = trim_call(trimming, &point)))
        return error;
    *done = true;
    return trim_await(trimming, &point);
}

/* The main thread, then those that are blocked in something that isn't a lock. */
static bool trim_is_candidate(const struct trimming *trimming, const struct thread_state *thread)
{
    long call;

    if (!thread->tid || thread->interpreter_id != 0)
        return false;
    if (thread->main)
        return true;
    call = thread->holds_gil ? -1 : process_read_syscall(trimming->target.process->pid, thread->tid, NULL);
    return call >= 0 && !syscall_is_futex(call);
}

/* What is only so at this moment, or of this thread. */
static bool trim_may_go_on(const struct error *error)
{
    return error_code(error) == ERROR_BUSY || error_code(error) == ERROR_NO_SAFE_POINT ||
           error_code(error) == ERROR_UNSUPPORTED;
}

static struct error *trim_round(struct trimming *trimming, bool *done, bool *hopeless)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count = 0;
    struct error *error = runtime_read_threads(trimming->target.runtime, &threads, &count);

    *hopeless = !error;
    if (error && error_code(error) != ERROR_BUSY)
        return error;
    error_destroy(error);
    error = NULL;
    for (int mains = 1; mains >= 0 && !*done; mains--) {
        for (size_t i = 0; i < count && !*done; i++) {
            if (threads[i].main != mains || !trim_is_candidate(trimming, &threads[i]))
                continue;
            error = trim_at_thread(trimming, &threads[i], done);
            *hopeless &= error && error_code(error) == ERROR_UNSUPPORTED;
            if (error && (*done || !trim_may_go_on(error)))
                return error;
            if (error && (threads[i].main || !trimming->why[0]))
                snprintf(trimming->why, sizeof(trimming->why), "%s", error_message(error));
            error_destroy(error);
            error = NULL;
        }
    }
    return NULL;
}

static struct error *trim_rounds(struct trimming *trimming)
{
    bool done = false, hopeless = false;

    while (tracee_clock() < trimming->deadline && !hopeless) {
        struct error *error = trim_round(trimming, &done, &hopeless);

        if (error || done)
            return error;
        if (trim_cancelled(trimming))
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; malloc_trim() was not called");
        trim_nap(5 * TRIM_NAP_US);
    }
    return error_create(hopeless ? ERROR_UNSUPPORTED : ERROR_NO_SAFE_POINT, NULL, "malloc_trim() was not called: %s",
                        trimming->why[0] ? trimming->why : "no thread got to a safe point in time");
}

struct error *trim_run(struct trim *trim, const struct inject_target *target, const struct trim_options *options)
{
    struct trimming trimming = {.trim = trim, .options = options, .target = *target};
    struct error *error = maps_read(&trimming.maps, target->process->pid);

    *trim = (struct trim){.tid = 0};
    if (error)
        return error;
    trimming.target.maps = &trimming.maps;
    trimming.deadline = tracee_clock() + (uint64_t)options->timeout_ms * TRIM_MILLISECOND;
    error = trim_find_function(&trimming);
    if (!error)
        error = trim_rounds(&trimming);
    maps_deinit(&trimming.maps);
    return error;
}
