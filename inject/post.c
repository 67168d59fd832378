/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The life of a request: stop a thread, let the first method that serves it post,
 * let it go. Passing states (a lock held, a restartable sequence) are tried
 * again; what failed half-way is undone before the error is returned.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "attach/scope.h"
#include "inject/internal.h"

#define POST_ATTEMPTS 400
#define POST_ATTEMPTS_ANY 10 /* of a thread in whose place another will do */
#define POST_STOP_TIMEOUT_MS 2000

static const struct inject_method *const post_methods[] = {
    &inject_borrowed_call,
    &inject_debugger_support,
    &inject_pending_call,
};

static void post_nap(long microseconds)
{
    struct timespec nap = {microseconds / 1000000, microseconds % 1000000 * 1000};

    nanosleep(&nap, NULL);
}

/* ----------------------------------------------------------------- a stop */

/* Has the thread still to leave the chain that we laid before, or just left it, and
 * not yet begun its system call again? It is about to be blocked then, and not
 * yet to be woken. The chain is known by its mask. */
static struct error *post_check_chain(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    uint64_t at = arch_native.instruction_pointer(&stop->borrow.state);
    bool suspended = stop->borrow.blocked_number == arch_native.nr.rt_sigsuspend; /* with its caller's mask */
    bool in_chain = process_blocks_all_signals(stop->borrow.state.signal_mask) && !suspended &&
                    !process_blocks_all_signals(request->signal_mask);

    if (request->borrowed && (in_chain ||
                              (stop->borrow.blocked == ARCH_NOT_BLOCKED && at == request->restart_at)))
        return error_create(ERROR_BUSY, NULL, "thread %d is not done with its last steps", request->thread.tid);
    if (!request->borrowed)
        request->signal_mask = stop->borrow.state.signal_mask;
    return NULL;
}

static struct error *post_inspect(struct inject_stop *stop)
{
    const struct inject_target *target = stop->request->target;
    struct error *error =
        borrow_inspect(&stop->borrow, target->process, stop->tracee, target->maps, &target->code,
                       &stop->request->limits);

    if (!error)
        error = post_check_chain(stop);
    if (error)
        return error;
    block_describe(stop);
    stop->hands_off = block_hands_off(stop);
    return NULL;
}

/* Stopped, it can't end between our look and our post. */
static struct error *post_inspect_to_post(struct inject_stop *stop)
{
    struct error *error = runtime_check_lives(stop->request->target->runtime);

    if (error || (error = post_inspect(stop)))
        return error;
    if (!runtime_is_listed(stop->request->target->runtime, &stop->request->thread))
        return error_create(ERROR_NO_SAFE_POINT, NULL, "thread %d runs no Python any more", stop->request->thread.tid);
    return permit_check(stop);
}

/* One stop of the thread: as short as `work` is. */
static struct error *post_stop(struct inject_request *request, const struct inject_options *options,
                               struct error *(*work)(struct inject_stop *stop, void *context), void *context)
{
    struct tracee tracee;
    struct inject_stop stop = {.request = request, .options = options, .tracee = &tracee};
    struct error *error = borrow_read_limits(&request->limits, request->target->process, request->thread.tid);

    if (!error)
        error = tracee_stop(&tracee, request->target->process, request->thread.tid, POST_STOP_TIMEOUT_MS);
    if (error)
        return error;
    error = work(&stop, context);
    uint64_t held = tracee_release(&tracee);
    borrow_deinit(&stop.borrow);
    if (held > request->pause_ns)
        request->pause_ns = held;
    return error;
}

struct error *inject_with_stop(struct inject_request *request,
                               struct error *(*work)(struct inject_stop *stop, void *context), void *context)
{
    struct error *error = NULL;

    for (int attempt = 0; attempt < POST_ATTEMPTS; attempt++) {
        error_destroy(error);
        error = post_stop(request, NULL, work, context);
        if (!error || error_code(error) != ERROR_BUSY)
            return error;
        post_nap(500);
    }
    return error;
}

static struct error *post_describe_stopped(struct inject_stop *stop, void *context)
{
    bool *forcible = context;
    struct error *error = post_inspect(stop);

    *forcible = !error && borrowed_is_forcible(stop);
    return error;
}

struct error *inject_describe(const struct inject_target *target, const struct thread_state *thread, char *text,
                              size_t room, bool *forcible)
{
    const struct inject_options options = {0};
    struct inject_request look;

    inject_request_init(&look, target, &options);
    look.thread = *thread;
    struct error *error = post_stop(&look, NULL, post_describe_stopped, forcible);
    snprintf(text, room, "%s", look.doing);
    return error;
}

/* ------------------------------------------------------------- one attempt */

/* A call with a time-out can't be begun again once a frame was used: unless
 * Python repeats it, or nothing needs to be run on the thread, hands off. */
static struct error *post_check_block(const struct inject_stop *stop)
{
    if (!stop->hands_off)
        return NULL;
    return error_create(ERROR_NO_SAFE_POINT,
                        block_is_repeated(stop) ? "leave out --no-wake"
                                                : "use another thread, or have the call end early: --wake=force",
                        "thread %d is %s, a call that would end before its time", stop->request->thread.tid,
                        stop->request->doing);
}

static struct error *post_refuse_thread(const struct inject_stop *stop)
{
    const struct inject_request *request = stop->request;
    struct error *error = permit_check_staging(stop);

    if (error)
        return error;
    return error_create(ERROR_NO_SAFE_POINT, "use the main thread, or any: --thread any",
                        "thread %d is %s; CPython %s runs a request on another thread than the main one only while "
                        "that is blocked in a call of Python's own", request->thread.tid, request->doing,
                        request->target->runtime->version);
}

/* One that waits for a lock doesn't come by; another may. */
static bool post_passes_by(const struct inject_stop *stop)
{
    return stop->options->choice.kind == INJECT_THREAD_ANY && stop->block == BLOCK_LOCK &&
           !stop->request->thread.main;
}

static struct error *post_choose(struct inject_stop *stop)
{
    for (size_t i = 0; i < sizeof(post_methods) / sizeof(post_methods[0]) && !post_passes_by(stop); i++) {
        if (!post_methods[i]->serves(stop))
            continue;
        stop->request->method = post_methods[i];
        return NULL;
    }
    return post_refuse_thread(stop);
}

/* The agent's source is a file already and nothing is passed: nothing to be staged. */
static bool post_needs_staging(const struct inject_stop *stop)
{
    return stop->request->method->staging == STAGING_STUB || !stop->options->script_path;
}

/* The first stop: which method, and what it needs. */
static struct error *post_stage(struct inject_stop *stop, void *context)
{
    bool *staged = context;
    struct error *error = post_inspect_to_post(stop);

    if (error || (error = post_choose(stop)))
        return error;
    *staged = false;
    if (!post_needs_staging(stop))
        return stop->request->method->post(stop);
    if ((error = post_check_block(stop)))
        return error;
    error = stage_begin(stop, stop->request->method->staging);
    *staged = stop->request->borrowed = !error;
    if (stop->borrow.blocked == ARCH_RESTARTS || stop->borrow.blocked == ARCH_RESTARTS_HIDDEN)
        stop->request->restart_at =
            arch_native.instruction_pointer(&stop->borrow.state) - arch_native.syscall_length;
    return error;
}

/* Somebody else's call, in which alone it was to run, was ended by our first stop: its thread soon calls again. */
static bool post_is_on_its_way(const struct inject_stop *stop, const struct inject_method *first)
{
    return stop->request->forced && first == &inject_borrowed_call && stop->block == BLOCK_NONE;
}

/* The second: the thread's state may be another; what is staged must do. */
static struct error *post_post(struct inject_stop *stop, void *context)
{
    const struct inject_method *first = stop->request->method;
    enum inject_staging staging = first->staging;
    struct error *error = post_inspect_to_post(stop);

    (void)context;
    if (error)
        return error;
    if (post_is_on_its_way(stop, first))
        return error_create(ERROR_BUSY, NULL, "thread %d is between two calls", stop->request->thread.tid);
    if ((error = post_choose(stop)))
        return error;
    if (stop->request->method->staging == STAGING_STUB && (error = post_check_block(stop)))
        return error;
    if (stop->request->method->staging != staging)
        return error_create(ERROR_BUSY, NULL, "thread %d changes its state", stop->request->thread.tid);
    return stop->request->method->post(stop);
}

static struct error *post_attempt(struct inject_request *request, const struct inject_options *options)
{
    bool staged = false;
    struct error *error = post_stop(request, options, post_stage, &staged);

    if (error || !staged)
        return error;
    if ((error = stage_finish(request, options, request->method->staging)))
        return error;
    for (int attempt = 0; attempt < POST_ATTEMPTS; attempt++) {
        const struct inject_method *method = request->method;
        error = post_stop(request, options, post_post, NULL);
        /* Another kind of staging is needed now: from the beginning. */
        if (!error || error_code(error) != ERROR_BUSY || request->method->staging != method->staging)
            return error;
        error_destroy(error);
        post_nap(attempt < 20 ? 20 : 500);
    }
    return error_create(ERROR_BUSY, NULL, "thread %d can't be used just now", request->thread.tid);
}

/* Any thread can remove what is staged. */
static bool post_remove_on_thread(const struct inject_request *request, pid_t tid)
{
    const struct inject_target *target = request->target;
    struct inject_request helper = *request;
    struct tracee tracee;
    struct inject_stop stop = {.request = &helper, .tracee = &tracee};
    struct error *error = borrow_read_limits(&helper.limits, target->process, tid);

    helper.thread.tid = tid;
    helper.borrowed = tid == request->thread.tid && request->borrowed;
    if (!error && !(error = tracee_stop(&tracee, target->process, tid, POST_STOP_TIMEOUT_MS))) {
        error = post_inspect(&stop);
        if (!error && stop.hands_off)
            error = error_create(ERROR_BUSY, NULL, "thread %d can't be borrowed", tid);
        if (!error)
            error = stage_remove(&stop);
        tracee_release(&tracee);
        borrow_deinit(&stop.borrow);
    }
    error_destroy(error);
    return !error;
}

static bool post_remove_once(const struct inject_request *request)
{
    pid_t *tids;
    size_t count;
    bool removed = post_remove_on_thread(request, request->thread.tid);
    struct error *error = removed ? NULL : process_list_threads(request->target->process->pid, &tids, &count);

    if (removed || error) {
        error_destroy(error);
        return removed;
    }
    for (size_t i = 0; i < count && !removed; i++)
        removed = tids[i] != request->thread.tid && post_remove_on_thread(request, tids[i]);
    free(tids);
    return removed;
}

static struct error *post_removed(struct inject_request *request, bool removing)
{
    /* An agent may have closed it all: steps of ours that were still to come would close what has its numbers then. */
    if (removing && !leftovers_await_chain(request->target->process->pid))
        return error_create(ERROR_BUSY, NULL, "a thread of process %d hasn't ended our calls", request->target->process->pid);
    request->mapping = ADDRESS_NULL;
    return NULL;
}

/* Removes what is left, and waits until it is gone. */
struct error *inject_remove(struct inject_request *request)
{
    uint64_t until = tracee_clock() + POST_STOP_TIMEOUT_MS * 1000000ULL;
    bool removing = false;
    struct error *error;

    while (stage_is_left(request)) {
        if ((error = process_check(request->target->process)))
            return error;
        if (tracee_clock() > until)
            return error_create(ERROR_BUSY, NULL, "a page and descriptors of ours stay in process %d: none of its "
                                "threads can be borrowed just now", request->target->process->pid);
        if (!removing)
            removing = post_remove_once(request);
        post_nap(removing ? 20 : 2000);
    }
    return post_removed(request, removing);
}

/* ----------------------------------------------------------------- public */

static struct error *post_check_target(const struct inject_target *target)
{
    bool enabled;
    struct error *error = runtime_read_remote_debug(target->runtime, &enabled);

    if (error)
        return error;
    if (!enabled)
        return error_create(ERROR_DISABLED,
                            "it was started with PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug, or built "
                            "without it; safepoint respects that",
                            "remote debugging is disabled in process %d", target->process->pid);
    return runtime_check_lives(target->runtime);
}

uint64_t inject_new_id(void)
{
    uint64_t id;

    return getrandom(&id, sizeof(id), 0) == sizeof(id) ? id : tracee_clock();
}

void inject_request_init(struct inject_request *request, const struct inject_target *target,
                         const struct inject_options *options)
{
    *request = (struct inject_request){
        .target = target, .channel_fd = -1, .theirs = {-1, 0}, .ours = {-1, 0}, .script = {-1, 0}};
    request->id = options->id;
    request->forced = options->wake == INJECT_WAKE_FORCE;
    struct image_range range;
    if (image_find_symbol(target->runtime->image, "Py_AddPendingCall", &range))
        request->add_pending_call = range.start;
    if (options->script_path)
        snprintf(request->script_path, sizeof(request->script_path), "%s", options->script_path);
}

static void post_forget_staged(struct inject_request *request)
{
    request->theirs = request->ours = request->script = (struct inject_descriptor){-1, 0};
    request->mapping = ADDRESS_NULL;
    request->stub_written = false;
}

static void post_close_channel(struct inject_request *request)
{
    if (request->channel_fd >= 0)
        close(request->channel_fd);
    request->channel_fd = -1;
}

/* On failure everything is undone. `again`: the thread may do another time. */
static struct error *post_once(struct inject_request *request, const struct inject_options *options, bool *again)
{
    struct error *error = post_attempt(request, options);

    *again = false;
    request->posted = !error;
    if (!error || error_code(error) == ERROR_TARGET_ENDED)
        return error;
    struct error *undo = inject_remove(request);
    post_close_channel(request);
    post_forget_staged(request);
    if (undo) {
        error = error_with_hint(error, "%s", error_message(undo));
        error_destroy(undo);
        return error;
    }
    *again = error_code(error) == ERROR_BUSY;
    return error;
}

static struct error *post_to_thread(struct inject_request *request, const struct inject_options *options)
{
    int attempts = options->choice.kind == INJECT_THREAD_ANY ? POST_ATTEMPTS_ANY : POST_ATTEMPTS;
    struct error *error = NULL;
    bool again = true;

    for (int attempt = 0; attempt < attempts && again; attempt++) {
        if (attempt)
            post_nap(500);
        error_destroy(error);
        error = post_once(request, options, &again);
    }
    return error;
}

/* Would another thread do where this one failed? One that has ended is no end of the process. */
static bool post_may_turn(const struct inject_target *target, const struct error *error)
{
    enum error_code code = error_code(error);

    if (code != ERROR_TARGET_ENDED && code != ERROR_NO_PROCESS)
        return code == ERROR_NO_SAFE_POINT || code == ERROR_BUSY;
    struct error *ended = process_check(target->process);
    error_destroy(ended);
    return !ended;
}

/* What is said when no thread will do: of the main one, which there are most ways to serve. */
static struct error *post_keep(struct error *kept, struct error *error, const struct thread_state *thread)
{
    struct error *other = kept && !thread->main ? error : kept;

    error_destroy(other);
    return other == kept ? error : kept;
}

struct error *inject_post(struct inject_request *request, const struct inject_target *target,
                          const struct inject_options *options)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error, *kept = NULL;

    inject_request_init(request, target, options);
    if ((error = post_check_target(target)) || (error = choose_threads(target, &options->choice, &threads, &count)))
        return error;
    for (size_t i = 0; i < count; i++) {
        inject_request_init(request, target, options);
        request->thread = threads[i];
        error = post_to_thread(request, options);
        if (!error || !post_may_turn(target, error)) {
            error_destroy(kept);
            return error;
        }
        kept = post_keep(kept, error, &threads[i]);
    }
    return kept;
}

/* Where the thread can't be borrowed without harm, nothing is taken back: once the
 * caller has closed its end of the channel, the agent that comes to run finds
 * nobody there, and removes itself and all that is staged. */
static struct error *post_withdraw_stopped(struct inject_stop *stop, void *context)
{
    bool *taken = context;
    struct inject_request *request = stop->request;
    struct error *error = post_inspect(stop);

    if (error && error_code(error) == ERROR_BUSY && !stop->tracee->group_stopped)
        return error;
    if (error || stop->hands_off) {
        error_destroy(error);
        request->left = true;
        return NULL;
    }
    error = request->method->withdraw(stop, taken);
    if (!error && !*taken)
        request->posted = false;
    return error;
}

struct error *inject_withdraw(struct inject_request *request, bool *taken)
{
    struct error *error;

    *taken = request->left = false; /* what an earlier try found may have passed */
    if (!request->posted)
        return NULL;
    error = inject_with_stop(request, post_withdraw_stopped, taken);
    if (!error && !*taken && !request->left)
        error = inject_remove(request);
    return error_context(error, "withdrawing the request");
}

/* Of a script, whatever no agent came for; and the page of results, which none knows of. */
static bool post_is_ours_to_remove(const struct inject_request *request)
{
    return request->method->staging == STAGING_SCRIPT && (!request->spoke || stage_mapping_is_left(request));
}

struct error *inject_settle(struct inject_request *request, int timeout_ms, bool *settled)
{
    uint64_t start = tracee_clock();
    long nap = 20;

    /* The agent closes its descriptors and the stub its mapping. */
    while (!(*settled = !stage_is_left(request))) {
        struct error *ended = process_check(request->target->process);
        error_destroy(ended);
        if (ended) {
            *settled = true;
            break;
        }
        if (tracee_clock() - start > (uint64_t)timeout_ms * 1000000ULL)
            return post_is_ours_to_remove(request) ? inject_remove(request) : NULL;
        post_nap(nap);
        nap = nap < 5000 ? nap * 2 : nap;
    }
    request->posted = false;
    return NULL;
}

const char *inject_wake_name(enum inject_wake wake)
{
    static const char *const names[] = {"none", "eintr", "borrowed"};

    return names[wake];
}

const char *inject_method_name(const struct inject_request *request)
{
    return request->method ? request->method->name : "none";
}
