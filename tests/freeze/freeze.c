/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * freeze PID [OPTION VALUE]...: takes a freeze of a process as a command would, looks at its memory twice, and
 * ends it; one line of JSON about it on stdout. For tests/live/test_freeze.py and tests/bench/freeze.py.
 *
 *   count ADDRESS        a 64-bit number that the target changes: read before and after `hold`
 *   pattern ADDRESS:SIZE bytes that the target sets as a whole: is one byte unlike the first?
 *   hold MS              how long the freeze is kept, at least: until the number has changed, too (but for 10 s)
 *   timeout MS, wake never|auto, fork no, pause no, room BYTES|cgroup
 * SIGINT ends it while it waits for a safe point.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attach/scope.h"
#include "cli/cgroup.h"
#include "inject/freeze.h"

struct look {
    pid_t pid;
    uint64_t count_at, pattern_at, pattern_size;
    long hold_ms;
    bool room_of_cgroup;
    struct freeze_options options;
};

struct seen {
    uint64_t first, second, live_first, live_second;
    bool uniform;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    interrupted = number;
}

static bool is_interrupted(void)
{
    return interrupted;
}

static void parse(struct look *look, const char *name, const char *value)
{
    char *colon = NULL;

    if (!strcmp(name, "count"))
        look->count_at = strtoull(value, NULL, 0);
    else if (!strcmp(name, "pattern"))
        look->pattern_at = strtoull(value, &colon, 0), look->pattern_size = strtoull(colon + 1, NULL, 0);
    else if (!strcmp(name, "hold"))
        look->hold_ms = atol(value);
    else if (!strcmp(name, "timeout"))
        look->options.timeout_ms = atoi(value);
    else if (!strcmp(name, "wake"))
        look->options.wake = strcmp(value, "never") ? INJECT_WAKE_AUTO : INJECT_WAKE_NEVER;
    else if (!strcmp(name, "fork"))
        look->options.no_fork = true;
    else if (!strcmp(name, "pause"))
        look->options.no_pause = true;
    else if (!strcmp(name, "room") && !strcmp(value, "cgroup"))
        look->room_of_cgroup = true;
    else if (!strcmp(name, "room"))
        look->options.memory_room = strtoull(value, NULL, 0);
    else
        exit(2);
}

static void nap(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    nanosleep(&time, NULL);
}

/* Are all of these bytes the same? */
static struct error *is_uniform(const struct memory *memory, uint64_t at, uint64_t size, bool *uniform)
{
    scoped_free unsigned char *bytes = malloc(size);

    *uniform = true;
    if (!bytes)
        return error_create(ERROR_SYSTEM, NULL, "out of memory");
    struct error *error = memory_read(memory, address_of(at), bytes, size);
    for (uint64_t i = 1; !error && i < size; i++)
        *uniform &= bytes[i] == bytes[0];
    return error;
}

static struct error *see(const struct look *look, const struct freeze *freeze, struct seen *seen)
{
    const struct memory *frozen = &freeze->process->memory, *live = &freeze->target->process->memory;
    struct error *error = NULL;

    seen->uniform = true;
    if (look->pattern_size)
        error = is_uniform(frozen, look->pattern_at, look->pattern_size, &seen->uniform);
    if (error)
        return error;
    if (!look->count_at) {
        nap(look->hold_ms);
        return NULL;
    }
    if ((error = memory_read_u64(frozen, address_of(look->count_at), &seen->first)) ||
        (error = memory_read_u64(live, address_of(look->count_at), &seen->live_first)))
        return error;
    nap(look->hold_ms);
    for (int i = 0; look->hold_ms && i < 2000; i++) {
        if ((error = memory_read_u64(live, address_of(look->count_at), &seen->live_second)))
            return error;
        if (seen->live_second != seen->live_first)
            break;
        nap(5);
    }
    return memory_read_u64(frozen, address_of(look->count_at), &seen->second);
}

static void print_text(const char *name, const char *text)
{
    printf(", \"%s\": \"", name);
    for (; *text; text++)
        printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    printf("\"");
}

static void print(const struct freeze *freeze, const struct seen *seen, unsigned cleared, uint64_t opened)
{
    printf("{\"way\": \"%s\", \"at_safe_point\": %s, \"tid\": %d, \"pause_us\": %" PRIu64 ", \"opened_us\": %" PRIu64
           ", \"child\": %d, \"cleared\": %u, \"uniform\": %s",
           freeze_way_name(freeze->way), freeze->at_safe_point ? "true" : "false", freeze->tid, freeze->pause_ns / 1000,
           opened / 1000, freeze->child.pid, cleared, seen->uniform ? "true" : "false");
    printf(", \"frozen\": [%" PRIu64 ", %" PRIu64 "], \"live\": [%" PRIu64 ", %" PRIu64 "]", seen->first, seen->second,
           seen->live_first, seen->live_second);
    print_text("why", freeze->why);
    print_text("refused", freeze->refused);
}

static struct error *take(struct look *look, const struct inject_target *target)
{
    struct freeze freeze;
    struct seen seen = {0};
    unsigned cleared;
    uint64_t start;
    struct error *error = freeze_clear_leftovers(target, &cleared);

    if (error)
        return error;
    start = tracee_clock();
    if ((error = freeze_open(&freeze, target, &look->options)))
        return error;
    uint64_t opened = tracee_clock() - start;
    error = see(look, &freeze, &seen);
    print(&freeze, &seen, cleared, opened);
    struct error *left = freeze_close(&freeze);
    if (!error)
        print_text("left", left ? error_message(left) : "");
    printf("}\n");
    error_destroy(left);
    return error;
}

static struct error *with_runtime(struct look *look, struct process *process, struct maps *maps)
{
    struct runtime runtime;
    struct inject_target target = {process, &runtime, maps, {.munmap = ADDRESS_NULL}};
    struct error *error = runtime_find(&runtime, process, maps);
    bool locked;

    if (error)
        return error;
    if (!(error = borrow_find_code(&target.code, process, maps)))
        error = process_lock(process, &locked);
    if (!error && !locked)
        error = error_create(ERROR_BUSY, NULL, "another is at work");
    if (!error)
        error = take(look, &target);
    runtime_close(&runtime);
    return error;
}

static struct error *look_at(struct look *look)
{
    struct process process;
    struct maps maps;
    struct cgroup_use use;
    struct error *error = process_open(&process, look->pid);

    if (error)
        return error;
    if (look->room_of_cgroup && cgroup_read(&use, look->pid, CGROUP_MEMORY))
        look->options.memory_room = use.used < use.limit ? use.limit - use.used : 0;
    if (!(error = maps_read(&maps, look->pid))) {
        error = with_runtime(look, &process, &maps);
        maps_deinit(&maps);
    }
    process_close(&process);
    return error;
}

int main(int argc, char **argv)
{
    struct look look = {.pid = argc > 1 ? atoi(argv[1]) : 0,
                        .options = {.timeout_ms = 5000, .memory_room = UINT64_MAX, .cancelled = is_interrupted}};

    signal(SIGINT, interrupt);
    for (int i = 2; i + 1 < argc; i += 2)
        parse(&look, argv[i], argv[i + 1]);
    struct error *error = look_at(&look);
    if (!error)
        return 0;
    printf("{\"error\": \"%s\"", error_code_name(error_code(error)));
    print_text("message", error_message(error));
    printf("}\n");
    int status = error_exit_status(error_code(error));
    error_destroy(error);
    return status;
}
