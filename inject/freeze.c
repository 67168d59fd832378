/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rounds, until one of them gives the instant or the time is over: nobody has the GIL? else bring the main
 * thread, or one that is blocked, to its safe point. What is learnt on the way (it can't fork) decides how
 * the next round keeps the instant.
 */
#include "inject/freeze.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "attach/thread_group.h"
#include "inject/internal.h"
#include "inject/safe_point.h"

#define FREEZE_STOP_MS 2000
#define FREEZE_FIRST_WAIT_MS 50
#define FREEZE_LONGEST_WAIT_MS 400
#define FREEZE_HOPELESS_MS 500 /* for a moment without the GIL, where no thread can be brought to a safe point */
#define FREEZE_REMOVE_MS 2000
#define FREEZE_LEFT_MAX 64
#define FREEZE_MILLISECOND UINT64_C(1000000)

/* A freeze that is being taken. */
struct freezing {
    struct freeze *freeze;
    const struct freeze_options *options;
    struct inject_target target; /* with maps that are fresh in each round */
    struct maps maps;
    struct thread_state *threads;
    size_t count;
    bool many_interpreters;
    bool copying; /* no child is to be had */
    uint64_t deadline;
    unsigned round;
    bool hopeless; /* no thread of this round can ever be brought to a safe point */
};

static void freeze_nap(long microseconds)
{
    struct timespec nap = {microseconds / 1000000, microseconds % 1000000 * 1000};

    nanosleep(&nap, NULL);
}

static void freeze_count_pause(struct freezing *freezing, uint64_t nanoseconds)
{
    if (nanoseconds > freezing->freeze->pause_ns)
        freezing->freeze->pause_ns = nanoseconds;
}

/* ------------------------------------------------------------ keeping the instant */

/* From the next stop on the memory is copied. Takes ownership of why. */
static struct error *freeze_turn_to_copy(struct freezing *freezing, struct error *why)
{
    struct freeze *freeze = freezing->freeze;

    if (why)
        snprintf(freeze->refused, sizeof(freeze->refused), "%s", error_message(why));
    error_destroy(why);
    freezing->copying = true;
    copy_deinit(&freeze->copy);
    struct error *error = copy_prepare(&freeze->copy, freezing->target.process);
    if (error || !freezing->options->copy_max || freeze->copy.room <= freezing->options->copy_max)
        return error;
    return error_create(ERROR_SYSTEM, "give it more: --max-memory; or read it as it runs: --no-pause",
                        "no child is to be had (%s), and a copy takes %zu MiB", freeze->refused, freeze->copy.room >> 20);
}

static bool freeze_target_ended(const struct freezing *freezing)
{
    struct error *ended = process_check(freezing->target.process);

    error_destroy(ended);
    return ended;
}

/* The stopped thread makes the child, if it can be borrowed without harm; `tried`: clone() itself failed. */
static struct error *freeze_fork(struct freezing *freezing, struct inject_stop *stop, bool *tried)
{
    const struct inject_target *target = &freezing->target;
    struct error *error = borrow_inspect(&stop->borrow, target->process, stop->tracee, target->maps, &target->code,
                                         &stop->request->limits);

    *tried = false;
    if (error || (error = child_check(&stop->borrow)))
        return error;
    block_describe(stop);
    if (block_hands_off(stop))
        return error_create(ERROR_BUSY, NULL, "thread %d is %s, a call that would end before its time",
                            stop->tracee->tid, stop->request->doing);
    *tried = true;
    return child_make(&freezing->freeze->child, &stop->borrow);
}

static void freeze_find_thread(const struct freezing *freezing, pid_t tid, struct thread_state *thread)
{
    *thread = (struct thread_state){.tid = tid};
    for (size_t i = 0; i < freezing->count; i++) {
        if (freezing->threads[i].tid == tid && (!thread->address.value || freezing->threads[i].holds_gil))
            *thread = freezing->threads[i];
    }
}

static struct error *freeze_fork_on(struct freezing *freezing, struct tracee *tracee, bool *tried)
{
    struct inject_options options = {.wake = freezing->options->wake};
    struct inject_request request;
    struct inject_stop stop = {.request = &request, .options = &options, .tracee = tracee};

    *tried = false;
    inject_request_init(&request, &freezing->target, &options);
    freeze_find_thread(freezing, tracee->tid, &request.thread);
    struct error *error = borrow_read_limits(&request.limits, freezing->target.process, tracee->tid);
    if (error)
        return error;
    error = freeze_fork(freezing, &stop, tried);
    borrow_deinit(&stop.borrow);
    return error;
}

/* What `error` says of the way that was tried: done, or another round with another way. */
static struct error *freeze_finish(struct freezing *freezing, struct error *error, bool *taken)
{
    struct freeze *freeze = freezing->freeze;

    if (!error && !freezing->copying)
        error = child_park(&freeze->child);
    *taken = !error;
    if (!error) {
        freeze->way = freezing->copying ? FREEZE_COPY : FREEZE_CHILD;
        return NULL;
    }
    if (freeze_target_ended(freezing))
        return error;
    if (!freezing->copying)
        return freeze_turn_to_copy(freezing, error);
    if (error_code(error) != ERROR_BUSY)
        return error;
    error_destroy(error); /* it has grown, or a thread didn't stop */
    return freeze_turn_to_copy(freezing, NULL);
}

/* ------------------------------------------------------------ all threads stopped */

/* Does any thread hold the GIL of its interpreter? */
static struct error *freeze_anybody_in_python(const struct freezing *freezing, bool *anybody)
{
    const struct runtime *runtime = freezing->target.runtime;
    scoped_free struct thread_state *threads = NULL;
    struct address holder;
    size_t count;
    struct error *error = runtime_read_gil(runtime, anybody, &holder);

    if (error || *anybody || !freezing->many_interpreters)
        return error;
    error = runtime_read_threads(runtime, &threads, &count);
    for (size_t i = 0; !error && i < count; i++)
        *anybody |= threads[i].holds_gil;
    return error;
}

/* Is it blocked in a call that a frame would end? Those are asked last. */
static bool freeze_would_end(const struct tracee *tracee)
{
    struct arch_state state;
    uint64_t arguments[6];
    long number;
    struct error *error = arch_native.read_state(tracee->tid, &state);
    bool would = error || arch_native.blocked(&state, &number, arguments) == ARCH_RESTARTS_BLOCK;

    error_destroy(error);
    return would;
}

/* The first that can be borrowed makes the child. */
static struct error *freeze_fork_group(struct freezing *freezing, struct thread_group *group)
{
    struct error *error = NULL;
    bool tried = false;

    for (size_t i = 0; i < group->count * 2 && !tried; i++) {
        struct tracee *tracee = &group->threads[i % group->count];

        if (!tracee->stopped || freeze_would_end(tracee) != (i >= group->count))
            continue;
        error_destroy(error);
        if (!(error = freeze_fork_on(freezing, tracee, &tried)))
            return NULL;
    }
    return error ? error : error_create(ERROR_TARGET_ENDED, NULL, "process %d has no thread", freezing->target.process->pid);
}

/* All threads as they are now; `idle`: only if none is in Python. */
static struct error *freeze_take_stopped(struct freezing *freezing, bool idle, bool *taken)
{
    struct thread_group group;
    bool busy = false;

    *taken = false;
    struct error *error = thread_group_stop(&group, freezing->target.process, 0, FREEZE_STOP_MS);
    if (error)
        return error;
    if (idle)
        error = freeze_anybody_in_python(freezing, &busy);
    if (!error && !busy)
        error = freezing->copying ? copy_take(&freezing->freeze->copy) : freeze_fork_group(freezing, &group);
    freeze_count_pause(freezing, thread_group_release(&group));
    return busy ? error : freeze_finish(freezing, error, taken);
}

static struct error *freeze_try_idle(struct freezing *freezing, bool *taken)
{
    struct error *error = freeze_anybody_in_python(freezing, taken);
    bool busy = *taken;

    *taken = false;
    if (error || busy)
        return error;
    error = freeze_take_stopped(freezing, true, taken);
    freezing->freeze->at_safe_point = *taken;
    return error;
}

/* --------------------------------------------------------------- at a safe point */

/* Another interpreter may have a GIL of its own, which this safe point says nothing of. */
static void freeze_check_others(const struct freezing *freezing, const struct safe_point *point)
{
    struct freeze *freeze = freezing->freeze;
    scoped_free struct thread_state *threads = NULL;
    size_t count = 0;

    freeze->at_safe_point = true;
    if (!freezing->many_interpreters)
        return;
    struct error *torn = runtime_read_threads(freezing->target.runtime, &threads, &count);
    error_destroy(torn);
    for (size_t i = 0; i < count; i++) {
        if (!threads[i].holds_gil || threads[i].address.value == point->request.thread.address.value)
            continue;
        freeze->at_safe_point = false;
        snprintf(freeze->why, sizeof(freeze->why), "thread %d runs interpreter %lld, which has a GIL of its own",
                 threads[i].tid, (long long)threads[i].interpreter_id);
    }
}

/* The thread is held at its safe point. */
static struct error *freeze_take_at(struct freezing *freezing, struct safe_point *point, bool *taken)
{
    const struct process *process = freezing->target.process;
    struct thread_group group = {0};
    struct error *error;
    bool tried;

    freeze_check_others(freezing, point);
    if (freezing->copying) {
        if (!(error = thread_group_stop(&group, process, point->tracee.tid, FREEZE_STOP_MS)))
            error = copy_take(&freezing->freeze->copy);
        thread_group_release(&group);
    } else {
        error = freeze_fork_on(freezing, &point->tracee, &tried);
    }
    tracee_release(&point->tracee);
    freeze_count_pause(freezing, tracee_clock() - point->reached_at);
    freezing->freeze->tid = point->tracee.tid;
    return freeze_finish(freezing, error, taken);
}

static bool freeze_cancelled(const struct freezing *freezing)
{
    return freezing->options->cancelled && freezing->options->cancelled();
}

/* Until when this thread is waited for: one that waits for the GIL is the only one that has to. */
static uint64_t freeze_wait_until(const struct freezing *freezing, const struct safe_point *point)
{
    uint64_t wait = FREEZE_FIRST_WAIT_MS << (freezing->round < 3 ? freezing->round : 3);
    uint64_t until = tracee_clock() + (wait < FREEZE_LONGEST_WAIT_MS ? wait : FREEZE_LONGEST_WAIT_MS) * FREEZE_MILLISECOND;

    return point->borrowed || until > freezing->deadline ? freezing->deadline : until;
}

static struct error *freeze_at_thread(struct freezing *freezing, const struct thread_state *thread, bool *taken)
{
    struct safe_point point;
    bool reached = false;

    *taken = false;
    struct error *error = safe_point_post(&point, &freezing->target, thread, freezing->options->wake);
    freeze_count_pause(freezing, point.request.pause_ns);
    if (error)
        return error;
    uint64_t until = freeze_wait_until(freezing, &point);
    while (!error && !reached && tracee_clock() < until && !freeze_cancelled(freezing))
        error = safe_point_await(&point, FREEZE_FIRST_WAIT_MS, &reached);
    if (!error && !reached)
        error = safe_point_withdraw(&point, &reached);
    if (!error && reached)
        return freeze_take_at(freezing, &point, taken);
    tracee_release(&point.tracee); /* after an error; otherwise it is let go already */
    return error;
}

/* The main thread, then those that are blocked in something that isn't a lock. */
static bool freeze_is_candidate(const struct freezing *freezing, const struct thread_state *thread)
{
    long call;

    if (!thread->tid || thread->interpreter_id != 0)
        return false;
    if (thread->main)
        return true;
    call = thread->holds_gil ? -1 : process_read_syscall(freezing->target.process->pid, thread->tid, NULL);
    return call >= 0 && !syscall_is_futex(call);
}

static struct error *freeze_try_threads(struct freezing *freezing, bool *taken)
{
    struct freeze *freeze = freezing->freeze;

    *taken = false;
    freezing->hopeless = true;
    for (int mains = 1; mains >= 0; mains--) {
        for (size_t i = 0; i < freezing->count && !*taken && tracee_clock() < freezing->deadline; i++) {
            const struct thread_state *thread = &freezing->threads[i];

            if (thread->main != mains || !freeze_is_candidate(freezing, thread))
                continue;
            struct error *error = freeze_at_thread(freezing, thread, taken);
            freezing->hopeless &= error && error_code(error) == ERROR_UNSUPPORTED;
            if (!error)
                continue;
            if (error_code(error) == ERROR_SYSTEM || error_code(error) == ERROR_PERMISSION || freeze_target_ended(freezing))
                return error;
            if (thread->main)
                snprintf(freeze->why, sizeof(freeze->why), "%s", error_message(error));
            error_destroy(error);
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------- the rounds */

static struct error *freeze_refresh(struct freezing *freezing)
{
    scoped_free struct interpreter *interpreters = NULL;
    struct maps fresh;
    size_t count;
    struct error *error = maps_read(&fresh, freezing->target.process->pid);

    if (error)
        return error;
    maps_deinit(&freezing->maps);
    freezing->maps = fresh;
    free(freezing->threads);
    freezing->threads = NULL;
    freezing->count = 0;
    if ((error = runtime_read_interpreters(freezing->target.runtime, &interpreters, &count)))
        return error;
    freezing->many_interpreters = count > 1;
    return runtime_read_threads(freezing->target.runtime, &freezing->threads, &freezing->count);
}

/* Why there was no safe point: what the thread that has the GIL is doing. */
static void freeze_explain(struct freezing *freezing)
{
    struct freeze *freeze = freezing->freeze;
    char doing[192] = "";
    bool forcible;

    struct error *torn = freeze_refresh(freezing);
    error_destroy(torn);
    for (size_t i = 0; i < freezing->count; i++) {
        const struct thread_state *thread = &freezing->threads[i];

        if (!thread->holds_gil || !thread->tid || freezing->hopeless)
            continue;
        struct error *error = inject_describe(&freezing->target, thread, doing, sizeof(doing), &forcible);
        if (!error)
            snprintf(freeze->why, sizeof(freeze->why), "no safe point within %d ms: thread %d is %s",
                     freezing->options->timeout_ms, thread->tid, doing);
        error_destroy(error);
    }
    if (!freeze->why[0])
        snprintf(freeze->why, sizeof(freeze->why), "no safe point within %d ms", freezing->options->timeout_ms);
}

/* As it is. Where the thread states can't be read, that is not asked for. */
static struct error *freeze_take_anyhow(struct freezing *freezing)
{
    struct error *error = NULL;
    bool taken = false;

    freezing->freeze->at_safe_point = false;
    for (int i = 0; i < 5 && !error && !taken; i++) {
        struct error *torn = freeze_refresh(freezing);
        error_destroy(torn);
        error = freeze_take_stopped(freezing, false, &taken);
    }
    if (!error && !taken)
        error = error_create(ERROR_BUSY, NULL, "the memory of process %d can't be kept", freezing->target.process->pid);
    freezing->freeze->at_safe_point = false;
    return error;
}

/* A passing state is tried again. */
static struct error *freeze_round(struct freezing *freezing, bool *taken)
{
    struct error *error = freeze_refresh(freezing);

    *taken = false;
    if (!error)
        error = freeze_try_idle(freezing, taken);
    if (!error && !*taken)
        error = freeze_try_threads(freezing, taken);
    if (!error || error_code(error) != ERROR_BUSY)
        return error;
    error_destroy(error);
    return NULL;
}

/* Is there a safe point to wait for? Else says why not. */
static bool freeze_has_safe_point(struct freezing *freezing)
{
    const struct runtime *runtime = freezing->target.runtime;
    const char *why = !runtime->initialized  ? "Python is starting or ending"
                      : runtime->finalizing    ? "Python is ending"
                      : runtime->free_threaded ? "it is a free-threaded build, whose threads were stopped where they were"
                                               : "";

    snprintf(freezing->freeze->why, sizeof(freezing->freeze->why), "%s", why);
    return !why[0];
}

static struct error *freeze_rounds(struct freezing *freezing)
{
    struct freeze *freeze = freezing->freeze;
    uint64_t hopeless_at = tracee_clock() + FREEZE_HOPELESS_MS * FREEZE_MILLISECOND;
    bool taken = false;

    if (!freeze_has_safe_point(freezing))
        return freeze_take_anyhow(freezing);
    for (; tracee_clock() < freezing->deadline; freezing->round++) {
        struct error *error = freeze_round(freezing, &taken);

        if (error)
            return error;
        if (taken && freeze->at_safe_point)
            freeze->why[0] = '\0';
        if (taken)
            return NULL;
        if (freeze_cancelled(freezing))
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing is left in the target");
        if (freezing->hopeless && tracee_clock() > hopeless_at)
            break;
        freeze_nap(freezing->round < 20 ? 500 : 5000);
    }
    freeze->tid = 0;
    freeze_explain(freezing);
    return freeze_take_anyhow(freezing);
}

/* Memory of the target's that a child shares with it, until one of them writes to it. */
static uint64_t freeze_read_anonymous(const struct process *process)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *gone = process_read_file(process->pid, "status", &text, &length);
    const char *value = gone ? NULL : process_status_field(text, "RssAnon");

    error_destroy(gone);
    return value ? strtoull(value, NULL, 10) * 1024 : 0;
}

/* Is it known beforehand that no child is to be had? */
static struct error *freeze_choose_way(struct freezing *freezing)
{
    const struct freeze_options *options = freezing->options;
    uint64_t shared = freeze_read_anonymous(freezing->target.process);

    if (options->no_fork)
        return freeze_turn_to_copy(freezing, error_create(ERROR_USAGE, NULL, "--no-fork"));
    if (options->memory_room >= shared)
        return NULL;
    return freeze_turn_to_copy(
        freezing, error_create(ERROR_SYSTEM, NULL, "%" PRIu64 " MiB are left to its memory limit, and what it writes to "
                               "while a child lives can take %" PRIu64 " MiB", options->memory_room >> 20, shared >> 20));
}

/* ------------------------------------------------------------------- public */

static void freeze_set_process(struct freeze *freeze)
{
    freeze->process = freeze->target->process;
    if (freeze->way == FREEZE_CHILD)
        freeze->process = &freeze->child.process;
    if (freeze->way != FREEZE_COPY)
        return;
    freeze->copied = *freeze->target->process;
    freeze->copied.memory = freeze->copy.memory;
    freeze->process = &freeze->copied;
}

struct error *freeze_open(struct freeze *freeze, const struct inject_target *target, const struct freeze_options *options)
{
    struct freezing freezing = {.freeze = freeze, .options = options, .target = *target};

    *freeze = (struct freeze){.target = target, .wake = options->wake, .way = FREEZE_LIVE};
    freezing.target.maps = &freezing.maps;
    struct error *error = NULL;
    if (options->no_pause) {
        snprintf(freeze->why, sizeof(freeze->why), "the process runs while it is read");
        snprintf(freeze->refused, sizeof(freeze->refused), "--no-pause");
    } else if (!(error = freeze_choose_way(&freezing))) {
        freezing.deadline = tracee_clock() + (uint64_t)options->timeout_ms * FREEZE_MILLISECOND;
        error = freeze_rounds(&freezing);
    }
    maps_deinit(&freezing.maps);
    free(freezing.threads);
    if (error) {
        struct error *left = freeze_close(freeze);
        error_destroy(left);
        return error;
    }
    freeze_set_process(freeze);
    return NULL;
}

/* ---------------------------------------------------------------- removing */

/* Makes this thread wait for it, if that does it no harm; `gentle`: in no call that would end by it. */
static struct error *freeze_remove_on(const struct freeze *freeze, const struct inject_target *target,
                                      const struct child_left *left, pid_t tid, bool gentle)
{
    struct inject_options options = {.wake = freeze->wake};
    struct inject_request request;
    struct tracee tracee;
    struct inject_stop stop = {.request = &request, .options = &options, .tracee = &tracee};

    inject_request_init(&request, target, &options);
    request.thread.tid = tid;
    struct error *error = borrow_read_limits(&request.limits, target->process, tid);
    if (error || (error = tracee_stop(&tracee, target->process, tid, FREEZE_STOP_MS)))
        return error;
    error = borrow_inspect(&stop.borrow, target->process, &tracee, target->maps, &target->code, &request.limits);
    if (!error && !(error = child_check(&stop.borrow))) {
        block_describe(&stop);
        if (stop.borrow.blocked == ARCH_RESTARTS_BLOCK && (gentle || block_hands_off(&stop)))
            error = error_create(ERROR_BUSY, NULL, "thread %d is %s", tid, request.doing);
    }
    if (!error) {
        const struct arch_step step = child_wait_step(left);
        error = borrow_chain(&stop.borrow, &step, 1, ARCH_RESUME_SAME);
    }
    tracee_release(&tracee);
    borrow_deinit(&stop.borrow);
    return error;
}

static bool freeze_is_gone(const struct child_left *left)
{
    for (int i = 0; i < 20 && child_is_left(left); i++)
        freeze_nap(50);
    return !child_is_left(left);
}

/* Any thread of the target will do. */
static bool freeze_remove_once(const struct freeze *freeze, const struct inject_target *target,
                               const struct child_left *left)
{
    scoped_free pid_t *tids = NULL;
    size_t count = 0;
    bool gone = false;
    struct error *error = process_list_threads(target->process->pid, &tids, &count);

    error_destroy(error);
    for (size_t i = 0; i < count * 2 && !gone; i++) {
        error = freeze_remove_on(freeze, target, left, tids[i % count], i < count);
        gone = !error && freeze_is_gone(left);
        error_destroy(error);
    }
    return gone;
}

static struct error *freeze_remove(const struct freeze *freeze, const struct child_left *left);

/* The process has ended, and its children are init's now; or it has become another program (execve), whose they are still. */
static struct error *freeze_remove_from_next(const struct freeze *freeze, const struct child_left *left)
{
    struct freeze next = {.wake = freeze->wake};
    struct inject_target target = *freeze->target;
    struct process process;
    struct maps maps;
    struct error *error = process_open(&process, freeze->target->process->pid);

    if (error) {
        error_destroy(error);
        return NULL;
    }
    target.process = &process;
    next.target = &target;
    if (process.start_time == freeze->target->process->start_time && !(error = maps_read(&maps, process.pid))) {
        error = borrow_find_code(&target.code, &process, &maps);
        maps_deinit(&maps);
        if (!error)
            error = freeze_remove(&next, left);
    }
    process_close(&process);
    return error;
}

static struct error *freeze_remove(const struct freeze *freeze, const struct child_left *left)
{
    uint64_t until = tracee_clock() + FREEZE_REMOVE_MS * FREEZE_MILLISECOND;
    const struct process *process = freeze->target->process;

    while (child_is_left(left)) {
        struct inject_target target = *freeze->target;
        struct maps maps;
        struct error *ended = process_check(process);

        if (ended) {
            error_destroy(ended);
            return freeze_remove_from_next(freeze, left);
        }
        if (tracee_clock() > until)
            return error_create(ERROR_BUSY, "it goes when safepoint is used again while a thread of it can be borrowed",
                                "a zombie of ours, %d, stays with process %d: none of its threads can be borrowed just now",
                                left->pid, process->pid);
        if (!child_is_dead(left)) { /* it has much memory to give back first */
            freeze_nap(1000);
            continue;
        }
        struct error *error = maps_read(&maps, process->pid);
        if (error)
            return error;
        target.maps = &maps;
        bool gone = freeze_remove_once(freeze, &target, left);
        maps_deinit(&maps);
        if (!gone)
            freeze_nap(2000);
    }
    return NULL;
}

struct error *freeze_close(struct freeze *freeze)
{
    struct child_left left;
    bool made = child_describe_left(&freeze->child, &left);

    copy_deinit(&freeze->copy);
    child_kill(&freeze->child);
    freeze->process = NULL;
    return made ? freeze_remove(freeze, &left) : NULL;
}

struct error *freeze_clear_leftovers(const struct inject_target *target, unsigned *cleared)
{
    const struct freeze none = {.target = target};
    struct child_left left[FREEZE_LEFT_MAX];
    struct error *error = NULL;

    *cleared = 0;
    leftovers_await_chain(target->process->pid); /* it may be about to make a child */
    size_t count = child_list_left(target->process, left, FREEZE_LEFT_MAX);
    for (size_t i = 0; i < count && !error; i++) {
        error = freeze_remove(&none, &left[i]);
        *cleared += !error;
    }
    return error;
}

const char *freeze_way_name(enum freeze_way way)
{
    static const char *const names[] = {"child", "copy", "live"};

    return names[way];
}
