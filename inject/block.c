/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a stopped thread is doing, and so what may be done with it. The ladder (facts
 * in docs/safety.md): a call that Python repeats after EINTR is woken; a lock's too, and
 * runs pending calls; Python's own calls that don't repeat are begun again after
 * a borrowed call; somebody else's are left alone.
 */
#include <stdio.h>
#include <string.h>

#include "attach/syscalls.h"
#include "inject/internal.h"

#define BLOCK_CALLERS_MAX 16

/* Readline calls Python's hooks, and is called by them. */
static bool block_is_readline(const char *name)
{
    return !strncmp(name, "libreadline", 11) || !strncmp(name, "libedit", 7);
}

/* Python's own code: the runtime and the standard extensions. ctypes calls what it is told to. */
static bool block_is_python(const struct inject_stop *stop, const struct map *map)
{
    const char *name = map_basename(map);

    if (!strcmp(map->path, image_path(stop->request->target->runtime->image)) || block_is_readline(name))
        return true;
    return strstr(map->path, "/lib-dynload/") && strncmp(name, "_ctypes", 7) != 0;
}

/* The nearest of the possible callers that isn't Python's own, or NULL. All that may have made
 * a call must be Python's: a wrong guess would end somebody's call before its time. */
static const struct map *block_find_foreign(const struct inject_stop *stop, const struct map *const *callers,
                                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!block_is_python(stop, callers[i]))
            return callers[i];
    }
    return NULL;
}

static enum inject_block block_classify(long number, bool foreign)
{
    if (foreign)
        return BLOCK_FOREIGN;
    if (syscall_is_futex(number))
        return BLOCK_LOCK;
    return syscall_is_repeated(number) ? BLOCK_REPEATED : BLOCK_RESTARTED;
}

static bool block_waits_for_gil(const struct inject_request *request, long number, uint64_t argument)
{
    return syscall_is_futex(number) &&
           runtime_is_gil_wait(request->target->runtime, &request->thread, address_of(argument));
}

bool inject_is_blocked(const struct inject_request *request)
{
    uint64_t argument;
    long number = process_read_syscall(request->target->process->pid, request->thread.tid, &argument);

    return number >= 0 && !block_waits_for_gil(request, number, argument);
}

static void block_describe_call(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    const struct map *callers[BLOCK_CALLERS_MAX];
    size_t count = borrow_find_callers(&stop->borrow, request->target->maps, callers, BLOCK_CALLERS_MAX);
    const struct map *foreign = block_find_foreign(stop, callers, count);
    const struct map *caller = foreign ? foreign : count ? callers[0] : NULL;

    stop->block = block_classify(stop->borrow.blocked_number, foreign || !count);
    if (block_waits_for_gil(request, stop->borrow.blocked_number, stop->borrow.blocked_arguments[0])) {
        snprintf(request->doing, sizeof(request->doing), "waiting for the GIL");
        return;
    }
    snprintf(request->doing, sizeof(request->doing), "blocked in %s%s%.80s%s",
             syscall_name(stop->borrow.blocked_number), caller ? " called by " : "",
             caller ? map_basename(caller) : "", stop->holds_gil ? " holding the GIL" : "");
}

/* Where it runs: the code at its program counter, or the nearest caller that isn't the C library. */
static void block_describe_run(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    const struct maps *maps = request->target->maps;
    const struct map *callers[BLOCK_CALLERS_MAX];
    size_t count = borrow_find_callers(&stop->borrow, maps, callers, BLOCK_CALLERS_MAX);
    const struct map *at = maps_find(maps, address_of(arch_native.instruction_pointer(&stop->borrow.state)));

    stop->block = BLOCK_NONE;
    if (at && !block_is_python(stop, at) && count)
        at = callers[0];
    snprintf(request->doing, sizeof(request->doing), "in C code%s%.80s%s", at ? " of " : "",
             at ? map_basename(at) : "", stop->holds_gil ? " holding the GIL" : "");
}

void block_describe(struct inject_stop *stop)
{
    const struct inject_target *target = stop->request->target;
    struct error *unknown = runtime_holds_gil(target->runtime, &stop->request->thread, &stop->holds_gil);

    if (unknown) /* then nothing is done that needs it free */
        stop->holds_gil = true;
    error_destroy(unknown);
    if (stop->borrow.blocked == ARCH_NOT_BLOCKED || stop->borrow.blocked == ARCH_RESTARTS_HIDDEN)
        block_describe_run(stop);
    else
        block_describe_call(stop);
}

static bool block_may_wake(const struct inject_stop *stop)
{
    return !stop->options || stop->options->wake != INJECT_WAKE_NEVER;
}

bool block_is_repeated(const struct inject_stop *stop)
{
    return stop->block == BLOCK_REPEATED || stop->block == BLOCK_LOCK;
}

/* A call with a time-out can't be begun again once a frame was used. */
bool block_hands_off(const struct inject_stop *stop)
{
    if (stop->borrow.blocked != ARCH_RESTARTS_BLOCK)
        return false;
    if (block_is_repeated(stop))
        return !block_may_wake(stop);
    return !stop->request->forced;
}

enum arch_resume block_resume(struct inject_stop *stop)
{
    bool wake = stop->options && block_may_wake(stop) && block_is_repeated(stop);

    stop->request->wake = wake ? INJECT_WAKE_EINTR : INJECT_WAKE_NONE;
    return wake ? ARCH_RESUME_EINTR : ARCH_RESUME_SAME;
}
