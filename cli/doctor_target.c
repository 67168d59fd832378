/* SPDX-License-Identifier: GPL-3.0-or-later */
/* doctor PID: whether a script could be run in a process. All of it is read; nothing is stopped, traced or run. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "attach/access.h"
#include "attach/probe.h"
#include "attach/scope.h"
#include "attach/syscalls.h"
#include "cli/cgroup.h"
#include "cli/doctor.h"
#include "cli/host.h"
#include "cli/journal.h"

#define DOCTOR_CHANNEL_DESCRIPTORS 3 /* of the target's, for a moment: a socket pair and a memory file */
#define DOCTOR_NEARLY_FULL 0.9

/* ------------------------------------------------------------------- access */

static void doctor_check_process(struct doctor *doctor, const struct access_facts *facts,
                                 const struct process_status *status, uint64_t start_time)
{
    char uptime[32];
    scoped_free char *command = host_command(facts->pid);

    doctor_ok(doctor, "process", "%.60s, %u thread%s, up %s", command ? command : status->name, status->threads,
              status->threads == 1 ? "" : "s", cli_format_duration(uptime, sizeof(uptime), host_uptime(start_time)));
}

static void doctor_check_users(struct doctor *doctor, const struct access_facts *facts)
{
    char its[64], own[64];

    doctor_judge(doctor, "user", access_judge(facts, ACCESS_USER), "its %s, ours %s%s",
                 journal_format_user(its, sizeof(its), facts->target.uids[1]),
                 journal_format_user(own, sizeof(own), facts->own.uids[1]),
                 facts->own.effective & ACCESS_SYS_PTRACE ? " with CAP_SYS_PTRACE" : "");
}

/* The kernel's rules, and ours on who traces it already. */
static void doctor_check_access(struct doctor *doctor, const struct access_facts *facts)
{
    static const char *const relations[] = {
        [ACCESS_SAME] = "ours", [ACCESS_INNER] = "below ours", [ACCESS_OUTER] = "above or beside ours",
        [ACCESS_UNRELATED] = "another"};
    char names[128];
    size_t before = doctor->count;

    doctor_check_users(doctor, facts);
    doctor_judge(doctor, "user namespace", access_judge(facts, ACCESS_NAMESPACE), "%s", relations[facts->relation]);
    access_format_capabilities(names, sizeof(names), facts->target.permitted & ~facts->own.permitted);
    doctor_judge(doctor, "capabilities", access_judge(facts, ACCESS_CAPABILITIES), "%s%s",
                 names[0] ? "has what we haven't, which doesn't matter here: " : "none that we haven't", names);
    doctor_judge(doctor, "dumpable", access_judge(facts, ACCESS_DUMPABLE), "%s",
                 facts->dumpable ? "yes" : "no, which doesn't bind who has CAP_SYS_PTRACE");
    doctor_judge(doctor, "Yama", access_judge(facts, ACCESS_YAMA), facts->yama > 0 ? "lets us (ptrace_scope = %d)"
                 : "not there, or off", facts->yama);
    doctor_judge(doctor, "own filter", access_judge(facts, ACCESS_FILTER), "%s",
                 facts->own.seccomp ? "safepoint is under a seccomp filter, which allows ptrace" : "none");
    doctor_judge(doctor, "traced by", access_judge(facts, ACCESS_TRACER), "nobody");
    bool explained = false;
    for (size_t i = before; i < doctor->count; i++)
        explained |= doctor->checks[i].state == DOCTOR_FAIL;
    doctor_judge(doctor, "security module", explained ? NULL : access_judge(facts, ACCESS_MODULE), "%s",
                 facts->target.label[0] ? facts->target.label : "no label");
}

/* ------------------------------------------------------------------- Python */

static void doctor_check_file(struct doctor *doctor, const struct process *process, const struct maps *maps)
{
    const struct map *map = runtime_find_map(process, maps);

    if (map && map->deleted)
        doctor_warn(doctor, "runtime's file", "it was upgraded, most likely: restart the process when you can",
                    "%s was deleted or replaced since the process began; read through /proc all the same", map->path);
    else
        doctor_ok(doctor, "runtime's file", "%s", map ? map->path : "found in memory");
}

static void doctor_check_main_thread(struct doctor *doctor, const struct runtime *runtime,
                                     const struct process_status *status)
{
    scoped_free struct thread_state *states = NULL;
    size_t count = 0;
    pid_t pid = runtime->process->pid;
    long number = status->state == 'R' ? -1 : process_read_syscall(pid, pid, NULL);
    bool holds = false;
    const char *in = number >= 0 ? syscall_name(number) : NULL;

    error_destroy(runtime_read_threads(runtime, &states, &count));
    for (size_t i = 0; i < count; i++)
        holds |= states[i].main && states[i].holds_gil;
    if (status->state == 'D')
        doctor_warn(doctor, "main thread", "what does it wait for? safepoint info; a disk, a network file system",
                    "sleeps uninterruptibly%s%s: nothing reaches it before that ends", in ? " in " : "", in ? in : "");
    else if (in && holds)
        doctor_warn(doctor, "main thread", "nothing runs in it before that call returns: give it time, --timeout 60s",
                    "blocked in %s, holding the GIL", in);
    else
        doctor_ok(doctor, "main thread", "%s%s", in ? "blocked in " : "running", in ? in : "");
}

/* Is it Python, and does that Python run scripts? */
static void doctor_check_python(struct doctor *doctor, const struct process *process,
                                const struct process_status *status)
{
    struct runtime runtime;
    struct maps maps;
    char build[64];
    struct error *error = maps_read(&maps, process->pid);

    if (error) {
        doctor_fail(doctor, "Python", error);
        return;
    }
    if ((error = runtime_find(&runtime, process, &maps))) {
        doctor_fail(doctor, "Python", error);
    } else {
        host_format_build(build, sizeof(build), &runtime);
        doctor_ok(doctor, "Python", "CPython %s%s%s", runtime.version, build[0] ? ", " : "", build);
        doctor_check_file(doctor, process, &maps);
        doctor_judge(doctor, "remote debugging", host_check_runtime(&runtime), "%s",
                     runtime.layout.interpreter.config_remote_debug == OFF_NONE ? "this version has no switch for it"
                                                                                : "on");
        doctor_check_main_thread(doctor, &runtime, status);
        runtime_close(&runtime);
    }
    maps_deinit(&maps);
}

/* ---------------------------------------------------------------- the process */

static void doctor_check_stopped(struct doctor *doctor, const struct process_status *status, pid_t pid)
{
    struct error *error = NULL;

    if (status->state == 'T') {
        error = error_create(ERROR_NO_SAFE_POINT, NULL, "process %d is stopped (SIGSTOP): nothing runs in it", pid);
        error = error_with_hint(error, "let it go on first: kill -CONT %d", pid);
    }
    doctor_judge(doctor, "stopped", error, "no");
}

/* Under a filter our system calls in the target could kill it: each is put to the filter first. */
static void doctor_check_seccomp(struct doctor *doctor, const struct access_facts *facts)
{
    scoped_free pid_t *tids = NULL;
    size_t count = 0, filtered = 0;
    struct process_status status;

    error_destroy(process_list_threads(facts->pid, &tids, &count));
    for (size_t i = 0; i < count; i++) {
        struct error *error = process_read_status(facts->pid, tids[i], &status);
        filtered += !error && status.seccomp;
        error_destroy(error);
    }
    if (!filtered)
        doctor_ok(doctor, "seccomp", "no thread has a filter");
    else if (probe_run(PROBE_READ_SECCOMP) == 0)
        doctor_ok(doctor, "seccomp", "%zu of %zu threads have a filter, which we may read", filtered, count);
    else
        doctor_fail(doctor, "seccomp", error_create(ERROR_UNSUPPORTED, "run safepoint as root on the host, outside of "
                    "any seccomp filter of its own", "%zu of %zu threads have a seccomp filter, which may kill the "
                    "process for a system call of ours, and which we may not read", filtered, count));
}

static void doctor_check_home(struct doctor *doctor, const struct process_status *status, pid_t pid)
{
    scoped_free char *container = host_container(pid);

    doctor_ok(doctor, "container", "%s", container ? container : "none, or ours");
    if (status->namespace_depth > 1)
        doctor_ok(doctor, "pid namespace", "its own, where it is %d", status->namespace_pid);
    else
        doctor_ok(doctor, "pid namespace", "ours");
}

/* For who may look into its root. */
static void doctor_check_proc(struct doctor *doctor, const struct process_status *status, pid_t pid)
{
    char path[96];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/root/proc/%d/fd", pid, status->namespace_pid);
    if (stat(path, &st) == 0)
        doctor_ok(doctor, "its /proc", "there");
    else
        doctor_warn(doctor, "its /proc", "nothing has to be done: from 3.14 on, scripts then go by a private directory",
                    "not in its root, or not for its pid namespace");
}

/* The soft limit of open files; false when it can't be read or there is none. */
static bool doctor_read_nofile(pid_t pid, unsigned long *limit)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *error = process_read_file(pid, "limits", &text, &length);
    const char *line = error ? NULL : strstr(text, "Max open files");

    error_destroy(error);
    return line && sscanf(line, "Max open files %lu", limit) == 1;
}

static void doctor_check_descriptors(struct doctor *doctor, pid_t pid)
{
    long open = host_count_descriptors(pid);
    unsigned long limit;
    char hint[128];

    if (open < 0 || !doctor_read_nofile(pid, &limit))
        return;
    long room = (long)limit - open;
    snprintf(hint, sizeof(hint), "raise it: prlimit --pid %d --nofile=%lu%s", pid, limit * 2,
             room > 0 ? "; or safepoint exec --channel directory" : "");
    if (room <= 0)
        doctor_fail(doctor, "open files", error_create(ERROR_UNSUPPORTED, hint, "process %d has %ld files open of the "
                    "%lu that it may have: none is left for the channel", pid, open, limit));
    else if (room < DOCTOR_CHANNEL_DESCRIPTORS)
        doctor_warn(doctor, "open files", hint, "%ld of the %lu that it may have", open, limit);
    else
        doctor_ok(doctor, "open files", "%ld of the %lu that it may have", open, limit);
}

static void doctor_check_cgroup(struct doctor *doctor, pid_t pid, enum cgroup_resource resource)
{
    static const struct {
        const char *name, *hint;
        char *(*format)(char *text, size_t room, uint64_t value);
    } rows[] = {
        [CGROUP_PIDS] = {"pids cgroup", "a script that starts threads or processes may fail: raise pids.max",
                         cli_format_count},
        [CGROUP_MEMORY] = {"memory cgroup", "a script that takes much memory may have the process killed (OOM): raise "
                           "memory.max first", cli_format_size},
    };
    char used[32], limit[32];
    struct cgroup_use use;

    if (!cgroup_read(&use, pid, resource)) {
        doctor_ok(doctor, rows[resource].name, "no limit");
        return;
    }
    rows[resource].format(used, sizeof(used), use.used);
    rows[resource].format(limit, sizeof(limit), use.limit);
    if ((double)use.used > DOCTOR_NEARLY_FULL * (double)use.limit)
        doctor_warn(doctor, rows[resource].name, rows[resource].hint, "%s of %s", used, limit);
    else
        doctor_ok(doctor, rows[resource].name, "%s of %s", used, limit);
}

static void doctor_examine_process(struct doctor *doctor, const struct process *process)
{
    struct access_facts facts;
    struct process_status status;
    struct error *error = access_read_facts(&facts, process->pid);

    if (error || (error = process_read_status(process->pid, 0, &status))) {
        doctor_fail(doctor, "process", error);
        return;
    }
    doctor_check_process(doctor, &facts, &status, process->start_time);
    doctor_check_access(doctor, &facts);
    if (facts.granted) {
        doctor_check_python(doctor, process, &status);
        doctor_check_proc(doctor, &status, process->pid);
    } else {
        doctor_warn(doctor, "Python", NULL, "can't be told before its memory may be read");
    }
    doctor_check_stopped(doctor, &status, process->pid);
    doctor_check_seccomp(doctor, &facts);
    doctor_check_home(doctor, &status, process->pid);
    doctor_check_descriptors(doctor, process->pid);
    doctor_check_cgroup(doctor, process->pid, CGROUP_PIDS);
    doctor_check_cgroup(doctor, process->pid, CGROUP_MEMORY);
}

void doctor_examine_target(struct doctor *doctor, pid_t pid, uint64_t *start_time)
{
    struct process process;
    struct error *error = process_open(&process, pid);

    if (error) {
        doctor_fail(doctor, "process", error);
        return;
    }
    *start_time = process.start_time;
    doctor_examine_process(doctor, &process);
    process_close(&process);
}
