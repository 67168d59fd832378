/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "attach/scope.h"
#include "attach/syscalls.h"

#define CHILD_TIMEOUT_MS 10000 /* a clone() of a very large process takes seconds */
#define CHILD_FLAGS ((uint64_t)(CLONE_FILES | CLONE_FS))

struct child_call {
    long number;
    uint64_t arguments[6];
};

static const struct child_call child_calls[] = {
    {SYS_clone, {CHILD_FLAGS}}, {SYS_wait4, {1, 0, __WALL | WNOHANG}}, {SYS_exit_group, {CHILD_EXIT_CODE}},
    {SYS_rt_sigreturn, {0}},
};

struct error *child_check(const struct borrow *borrow)
{
    for (size_t i = 0; i < sizeof(child_calls) / sizeof(child_calls[0]); i++) {
        if (borrow_ask(borrow, child_calls[i].number, child_calls[i].arguments) == SECCOMP_ALLOWED)
            continue;
        return error_create(ERROR_UNSUPPORTED, NULL, "the seccomp filter of process %d doesn't allow %s",
                            borrow->process->pid, syscall_name(child_calls[i].number));
    }
    return NULL;
}

/* ---------------------------------------------------------------- making it */

/* Below all frames of a chain, clear of the first one's red zone: borrow_inspect() saw to the room. */
static struct error *child_write_frame(const struct borrow *borrow, struct address *at)
{
    const struct arch_step leave = {
        .is_syscall = true, .target = SYS_exit_group, .arguments = {CHILD_EXIT_CODE}};
    unsigned char frame[2048];

    *at = address_of(borrow->frame.value - (uint64_t)BORROW_STEPS_MAX * arch_native.step_size);
    if (arch_native.step_size > sizeof(frame))
        return error_create(ERROR_BUG, NULL, "a frame has %zu bytes", arch_native.step_size);
    /* Nothing follows: what lies above is as good a stack as any for the call that ends it. */
    arch_native.build_step(&borrow->state, &leave, borrow->frame, &borrow->code.places, frame);
    return memory_write(&borrow->process->memory, *at, frame, arch_native.step_size);
}

/* What clone() returned; 0 at its entry. */
static int child_read_errno(pid_t tid)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0 || info.op != PTRACE_SYSCALL_INFO_EXIT)
        return 0;
    return info.exit.is_error ? (int)-info.exit.rval : 0;
}

static struct error *child_explain_failure(int err)
{
    if (err == EAGAIN)
        return error_create(ERROR_SYSTEM, NULL, "a limit on processes doesn't let it fork");
    if (err == ENOMEM)
        return error_create(ERROR_SYSTEM, NULL, "the kernel has no memory for a fork of it");
    return error_create(ERROR_SYSTEM, NULL, "it can't fork: %s", strerror(err));
}

/* Lets the thread make the call, until it has. */
static struct error *child_await_clone(struct tracee *tracee, pid_t *pid)
{
    struct tracee_event event;
    struct error *error;
    int err;

    do {
        if ((error = tracee_resume(tracee, TRACEE_TO_CALL, 0)))
            return error;
        if (!tracee_wait_event(tracee, &event, CHILD_TIMEOUT_MS))
            return error_create(ERROR_SYSTEM, NULL, "it didn't fork within %d s", CHILD_TIMEOUT_MS / 1000);
        if (event.kind == TRACEE_ENDED)
            return error_create(ERROR_TARGET_ENDED, NULL, "thread %d has ended", tracee->tid);
        if (event.kind == TRACEE_CALL && (err = child_read_errno(tracee->tid)))
            return child_explain_failure(err);
    } while (event.kind != TRACEE_CLONED);
    *pid = event.child;
    return NULL;
}

struct error *child_make(struct child *child, struct borrow *borrow)
{
    pid_t tid = borrow->tracee->tid;
    struct arch_step make = {.is_syscall = true, .target = SYS_clone, .arguments = {CHILD_FLAGS}};
    struct address frame;
    struct error *error;

    *child = (struct child){0};
    if ((error = child_write_frame(borrow, &frame)))
        return error;
    make.arguments[1] = frame.value;
    /* The child inherits these: none that outlives its stop does harm. */
    if (ptrace(PTRACE_SETOPTIONS, tid, 0, (long)(PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD)) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't follow thread %d", tid);
    if ((error = borrow_chain(borrow, &make, 1, ARCH_RESUME_SAME)))
        return error;
    return child_await_clone(borrow->tracee, &child->pid);
}

/* ------------------------------------------------------------------ parking */

/* It is known as ours from here on, whatever becomes of us: killed with us it has this mark, not killed it ends by
 * its own exit code. */
static void child_mark(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    scoped_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!dprintf(fd, "%d", CHILD_OOM_SCORE);
}

struct error *child_park(struct child *child)
{
    struct error *error;

    child->tracee = (struct tracee){.tid = child->pid};
    if (!(error = tracee_await_stop(&child->tracee, CHILD_TIMEOUT_MS)) &&
        !(error = process_read_start_time(child->pid, &child->start_time))) {
        child_mark(child->pid);
        if (ptrace(PTRACE_SETOPTIONS, child->pid, 0, (long)PTRACE_O_EXITKILL) < 0)
            error = error_create_errno(ERROR_SYSTEM, errno, "can't hold the child %d", child->pid);
        else
            error = process_open(&child->process, child->pid);
    }
    child->parked = !error;
    if (error)
        child_kill(child);
    return error;
}

void child_kill(struct child *child)
{
    int status = 0;
    pid_t got;

    if (!child->pid || !child->tracee.tid)
        return;
    /* Ours, and not yet waited for: nobody else can have its id. Until we have waited, its parent can't remove it. */
    kill(child->pid, SIGKILL);
    do
        got = waitpid(child->pid, &status, __WALL);
    while ((got < 0 && errno == EINTR) || (got >= 0 && !WIFSIGNALED(status) && !WIFEXITED(status)));
    if (child->parked)
        process_close(&child->process);
    child->parked = false;
    child->tracee.tid = 0;
}

/* ----------------------------------------------------------------- zombies */

bool child_is_left(const struct child_left *left)
{
    uint64_t start_time;
    struct error *gone = process_read_start_time(left->pid, &start_time);
    bool there = !gone && start_time == left->start_time;

    error_destroy(gone);
    return there;
}

/* Fields of /proc/PID/stat, of which the name, field 2, may hold anything. */
static bool child_read_stat(pid_t pid, char *state, long *exit_signal, long *exit_code)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *gone = process_read_file(pid, "stat", &text, &length);
    const char *at = gone ? NULL : strrchr(text, ')');

    error_destroy(gone);
    if (!at || sscanf(at, ") %c", state) != 1)
        return false;
    *exit_signal = *exit_code = -1;
    for (int field = 3; (at = strchr(at + 1, ' ')); field++) {
        if (field == 38)
            *exit_signal = strtol(at, NULL, 10);
        else if (field == 52)
            *exit_code = strtol(at, NULL, 10);
    }
    return true;
}

static int child_read_mark(pid_t pid)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *gone = process_read_file(pid, "oom_score_adj", &text, &length);
    int score = gone ? 0 : atoi(text);

    error_destroy(gone);
    return score;
}

/* Dead, or dying: killed with its maker, or ending by itself, with the signals blocked that it was made with. */
static bool child_is_ours(pid_t pid)
{
    long exit_signal, exit_code;
    char state;

    return child_read_stat(pid, &state, &exit_signal, &exit_code) && exit_signal == 0 &&
           (child_read_mark(pid) == CHILD_OOM_SCORE || exit_code == CHILD_EXIT_CODE << 8 ||
            (state != 'Z' && process_runs_chain(pid, 0)));
}

bool child_is_dead(const struct child_left *left)
{
    long exit_signal, exit_code;
    char state;

    return child_is_left(left) && child_read_stat(left->pid, &state, &exit_signal, &exit_code) && state == 'Z';
}

static bool child_describe(pid_t pid, struct child_left *left)
{
    struct process_status status;
    struct error *gone = process_read_start_time(pid, &left->start_time);

    if (!gone)
        gone = process_read_status(pid, 0, &status);
    left->pid = pid;
    left->inner = gone ? 0 : status.namespace_pid;
    bool there = !gone;
    error_destroy(gone);
    return there;
}

bool child_describe_left(const struct child *child, struct child_left *left)
{
    return child->pid && child_describe(child->pid, left) && left->start_time == child->start_time;
}

size_t child_list_left(const struct process *process, struct child_left *list, size_t room)
{
    scoped_free pid_t *tids = NULL;
    size_t count = 0, found = 0;
    struct error *gone = process_list_threads(process->pid, &tids, &count);

    error_destroy(gone);
    for (size_t i = 0; i < count; i++) {
        scoped_free char *text = NULL;
        size_t length;
        char name[64], *end;

        snprintf(name, sizeof(name), "task/%d/children", tids[i]);
        gone = process_read_file(process->pid, name, &text, &length);
        error_destroy(gone);
        for (char *at = text; at && found < room; at = end) {
            pid_t pid = (pid_t)strtol(at, &end, 10);
            if (end == at)
                break;
            found += child_is_ours(pid) && child_describe(pid, &list[found]);
        }
    }
    return found;
}

struct arch_step child_wait_step(const struct child_left *left)
{
    return (struct arch_step){.is_syscall = true,
                              .target = SYS_wait4,
                              .arguments = {(uint64_t)left->inner, 0, __WALL | WNOHANG, 0}};
}
