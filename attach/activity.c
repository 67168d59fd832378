/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of /proc/PID/task/TID:
 *
 *   schedstat   "nanoseconds run, nanoseconds waited, turns": the turns rise when the thread gets a processor
 *   syscall     "running", or the number of the call it is blocked in and its arguments
 *   stat        its name, state and processor
 *   sched       se.exec_start: the clock of its processor when it last ran
 *
 * Read in this order: turns, then not running, then (whatever is to be read) and then the same turns: in between it
 * didn't run. The clock of sched is its processor's own, which stands still while that one serves interrupts or
 * another guest: it is compared with our own entry on the same processor.
 */
#include "attach/activity.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "attach/syscalls.h"

#define TEXT_MAX        4096
#define PROCESSORS_MAX  1024
#define STAT_PROCESSOR  39
#define CLOCK_UNKNOWN   INT64_MIN

/* A file of a thread as a string; "" where it can't be read. False: as the thread is gone. */
static bool read_text(pid_t pid, pid_t tid, const char *name, char *text)
{
    char path[96];

    text[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, TEXT_MAX - 1);
    text[got > 0 ? got : 0] = '\0';
    return got >= 0 || (errno != ENOENT && errno != ESRCH);
}

static bool read_turns(pid_t pid, pid_t tid, uint64_t *turns)
{
    char text[TEXT_MAX];
    unsigned long long ran, waited, count;

    read_text(pid, tid, "schedstat", text);
    /* A kernel that doesn't count gives zeros; who lives has had a turn. */
    if (sscanf(text, "%llu %llu %llu", &ran, &waited, &count) != 3 || !count)
        return false;
    *turns = count;
    return true;
}

/* False while it runs, and where it can't be told (then it isn't `seen_running`). */
static bool read_syscall(struct activity *activity, bool *seen_running)
{
    char text[TEXT_MAX], *end;

    activity->syscall = -1;
    read_text(activity->pid, activity->tid, "syscall", text);
    long number = strtol(text, &end, 10);
    *seen_running = !strncmp(text, "running", 7);
    if (end == text)
        return false;
    for (size_t i = 0; i < 6; i++)
        activity->arguments[i] = strtoull(end, &end, 16);
    activity->syscall = number < 0 ? -1 : syscall_unrestarted(number, activity->arguments);
    return true;
}

static void read_stat(struct activity *activity)
{
    char text[TEXT_MAX];

    bool gone = !read_text(activity->pid, activity->tid, "stat", text);
    activity->state = gone ? 'X' : '?';
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close < open || close[1] != ' ')
        return;
    snprintf(activity->name, sizeof(activity->name), "%.*s", (int)(close - open - 1), open + 1);
    activity->state = close[2];
    const char *at = close;
    for (int field = 2; at && field < STAT_PROCESSOR; field++)
        at = strchr(at + 1, ' ');
    if (at)
        activity->processor = atoi(at + 1);
}

void activity_look(struct activity *activity, pid_t pid, pid_t tid)
{
    bool seen_running, known, blocked;

    *activity = (struct activity){.pid = pid, .tid = tid, .processor = -1};
    known = read_turns(pid, tid, &activity->turns);
    blocked = read_syscall(activity, &seen_running);
    activity->turns_known = known && blocked;
    read_stat(activity);
    /* It was seen running: what its name's file says a moment later doesn't matter. */
    if (seen_running && activity->state == 'S')
        activity->state = 'R';
}

void activity_look_core(struct activity *activity, const struct core_thread *thread)
{
    struct arch_state state = {.register_size = thread->register_size};
    long number = -1;

    *activity = (struct activity){.tid = thread->tid, .state = 'R', .syscall = -1, .processor = -1};
    memcpy(state.registers, thread->registers, sizeof(state.registers));
    if (arch_native.blocked(&state, &number, activity->arguments) == ARCH_NOT_BLOCKED)
        return;
    activity->state = 'S';
    activity->syscall = syscall_unrestarted(number, activity->arguments);
}

bool activity_stayed(const struct activity *activity)
{
    uint64_t turns;

    if (!activity->pid)
        return true;
    return activity->turns_known && read_turns(activity->pid, activity->tid, &turns) && turns == activity->turns;
}

/* ------------------------------------------------------------ blocked since when */

/* se.exec_start in nanoseconds. */
static int64_t read_clock(pid_t pid, pid_t tid)
{
    char text[TEXT_MAX];
    long long milliseconds, rest;

    read_text(pid, tid, "sched", text);
    const char *at = strstr(text, "se.exec_start");
    at = at ? strchr(at, ':') : NULL;
    if (!at || sscanf(at, ": %lld.%6lld", &milliseconds, &rest) != 2)
        return CLOCK_UNKNOWN;
    return milliseconds * 1000000 + rest;
}

/* The clock of a processor now, by our own entry: running there for an instant brings it up to date. */
static int64_t read_processor_clock(int processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        return CLOCK_UNKNOWN;
    return read_clock(getpid(), getpid());
}

static bool is_blocked(const struct activity *activity)
{
    return activity->syscall >= 0 && activity->processor >= 0 && activity->processor < PROCESSORS_MAX &&
           activity->processor < CPU_SETSIZE;
}

/* Those of one processor together, so that it is visited once. */
static void read_blocked_on(const struct activity *activities, size_t count, int processor, int64_t *nanoseconds)
{
    int64_t now = read_processor_clock(processor);

    for (size_t i = 0; i < count; i++) {
        if (!is_blocked(&activities[i]) || activities[i].processor != processor)
            continue;
        int64_t then = read_clock(activities[i].pid, activities[i].tid);
        if (now != CLOCK_UNKNOWN && then != CLOCK_UNKNOWN)
            nanoseconds[i] = now > then ? now - then : 0;
    }
}

void activity_read_blocked(const struct activity *activities, size_t count, int64_t *nanoseconds)
{
    bool seen[PROCESSORS_MAX] = {false};
    cpu_set_t before;
    bool movable = sched_getaffinity(0, sizeof(before), &before) == 0;

    for (size_t i = 0; i < count; i++)
        nanoseconds[i] = -1;
    for (size_t i = 0; movable && i < count; i++) {
        if (!is_blocked(&activities[i]) || seen[activities[i].processor])
            continue;
        seen[activities[i].processor] = true;
        read_blocked_on(activities, count, activities[i].processor, nanoseconds);
    }
    if (movable)
        (void)!sched_setaffinity(0, sizeof(before), &before);
}
