/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way down of a request that is late, interrupted or failed: nothing stays armed or staged, and the answer says what it waited for. */
#include "cli/request.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"

#define REQUEST_INTERRUPT_MS 2000
#define REQUEST_IN_SCRIPT_MS 500 /* an interrupt is raised in the script's own code, if that comes by */

/* The thread state in which the script runs, where that isn't the one posted to: a fresh thread's; or the
 * one that the interpreter has which nobody else runs (up to 3.12 it is named after the
 * thread that made it). */
static struct error *request_find_runner(struct request *request, bool *found)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error;

    *found = !request->options->fresh && !request->guest;
    if (*found || (request->guest && !request->settled_in))
        return NULL;
    error = runtime_read_threads(&request->session->runtime, &threads, &count);
    for (size_t i = 0; !error && i < count && !*found; i++) {
        if (threads[i].interpreter_id != request->guest || (!request->guest && threads[i].pthread != request->pthread))
            continue;
        request->inject.thread = threads[i];
        request->inject.thread.tid = request->outcome->thread;
        *found = true;
    }
    return error;
}

/* Waits for the agent's end, or until then. */
static struct error *request_wait_for_end(struct request *request, uint64_t until, bool *ended)
{
    struct error *error = NULL;

    *ended = false;
    while (!error && !*ended && tracee_clock() < until) {
        if (request->deaf) {
            *ended = channel_await_hangup(&request->channel, 1);
            continue;
        }
        error = request_wait(request, until);
        *ended = request->outcome->done || request->channel.ended;
    }
    return error;
}

/* Interrupts a running script, once, and waits for its end. One that has said that it starts may not run yet. */
static struct error *request_interrupt(struct request *request, bool *ended)
{
    uint64_t start = tracee_clock(), until = start + REQUEST_INTERRUPT_MS * REQUEST_MILLISECOND, now;
    bool raised = false, found = false;
    struct error *error = NULL;

    request->interruption.file = request->script->name;
    while (!error && !*ended && (now = tracee_clock()) < until) {
        bool anywhere = now - start > REQUEST_IN_SCRIPT_MS * REQUEST_MILLISECOND;

        if (!found && (error = request_find_runner(request, &found)))
            break;
        if (found && !raised &&
            (error = inject_interrupt(&request->inject, &request->interruption, anywhere, &raised)))
            break;
        error = request_wait_for_end(request, raised ? until : now + REQUEST_MILLISECOND, ended);
    }
    return error;
}

/* The script may lie in the channel already: either the agent has started it, and said so, or it never will. */
static struct error *request_decide_start(struct request *request)
{
    struct error *error = NULL;

    if (request->started || request->channel.fd < 0)
        return NULL;
    channel_deafen(&request->channel);
    request->deaf = true;
    while (!error && !request->channel.ended)
        error = channel_pump(&request->channel, request_handle, request);
    return error;
}

/* What remains, said as the hint. */
static struct error *request_explain_rest(const struct request *request, struct error *error, bool settled,
                                          const struct error *failed)
{
    if (request->inject.left)
        return error_with_hint(error, "it finds the request withdrawn when it returns to Python, and clears it away");
    if (settled)
        return error;
    if (request->started)
        return error_with_hint(error, "it is in a call that can't be interrupted, and ends when that returns; its "
                                      "output is discarded");
    if (failed)
        return error_with_hint(error, "%s", error_message(failed));
    return error_with_hint(error, "it finds the request withdrawn when it gets the GIL, and clears it away");
}

/* Who kept the request's thread from its safe point: who holds the GIL, or itself. */
static struct error *request_find_blocker(const struct request *request, struct thread_state *blocker)
{
    const struct thread_state *wanted = &request->inject.thread;
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error = runtime_read_threads(&request->session->runtime, &threads, &count);

    *blocker = *wanted;
    for (size_t i = 0; !error && i < count; i++) {
        if (threads[i].holds_gil && threads[i].interpreter.value == wanted->interpreter.value)
            *blocker = threads[i];
    }
    return error;
}

/* "MainThread (4711) is in C code of libfoo.so holding the GIL, in work (app.py:88), for at least 10 s" */
static struct error *request_name_blocker(const struct request *request, struct error *late)
{
    struct session *session = request->session;
    struct thread_state blocker;
    struct python_frame frame;
    char doing[192], after[32], where[1400] = "", name[48];
    bool found, forcible = false;
    struct error *error = request_find_blocker(request, &blocker);

    if (!error)
        error = inject_describe(&session->target, &blocker, doing, sizeof(doing), &forcible);
    if (error) { /* then without */
        error_destroy(error);
        return late;
    }
    error = runtime_read_top_frame(&session->runtime, &blocker, &frame, &found);
    if (!error && found)
        snprintf(where, sizeof(where), ", in %s (%s:%d)", frame.function, frame.file, frame.line);
    error_destroy(error);
    cli_format_duration(after, sizeof(after), (double)(tracee_clock() - request->posted_at) / 1e9);
    snprintf(name, sizeof(name), blocker.main ? "MainThread (%d)" : "thread %d", blocker.tid);
    error = error_create(ERROR_NO_SAFE_POINT, error_hint(late), "%s: %s is %s%s, for at least %s", error_message(late),
                         name, doing, where, after);
    error_destroy(late);
    if (forcible && request->options->wake == INJECT_WAKE_AUTO)
        return error_with_hint(error, "the request was withdrawn; to have it run inside of that call, which may then end "
                                      "early: --wake=force");
    return error;
}

/* A fresh thread's end is waited for: it leaves nothing, not even itself. */
void request_await_thread_end(const struct request *request)
{
    uint64_t until = tracee_clock() + REQUEST_SETTLE_MS * REQUEST_MILLISECOND;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d", request->session->process.pid, request->outcome->thread);
    while (request->options->fresh && access(path, F_OK) == 0 && tracee_clock() < until)
        poll(NULL, 0, 1);
}

/* The way down after a failure: take the post back; a script that runs is
 * interrupted; then nobody is at our end of the channel. */
static struct error *request_abandon(struct request *request, struct error *error)
{
    struct error *failed = NULL, *unsettled = NULL;
    bool taken = true, settled = true, ended = false;

    if (error_code(error) == ERROR_TARGET_ENDED) {
        channel_close(&request->channel);
        return error;
    }
    if (!request->greeted)
        failed = inject_withdraw(&request->inject, &taken);
    if (!failed && taken)
        failed = request_decide_start(request);
    request->in_time = request->outcome->done;
    if (!failed && request->started && !request->in_time)
        failed = request_interrupt(request, &ended);
    if (!request->greeted && error_code(error) == ERROR_NO_SAFE_POINT)
        error = request_name_blocker(request, error);
    channel_close(&request->channel);
    if (taken)
        unsettled = inject_settle(&request->inject, REQUEST_SETTLE_MS, &settled);
    if (request->started && request->uses_directory) /* nothing is staged that would tell */
        settled = ended;
    if (ended)
        request_await_thread_end(request);
    error = request_explain_rest(request, error, settled && (!failed || taken), failed);
    error_destroy(failed);
    error_destroy(unsettled);
    return error;
}

/* One that was done just then is no failure. */
struct error *request_give_up(struct request *request, struct error *error)
{
    enum error_code code = error_code(error);

    error = request_abandon(request, error);
    if (!request->in_time || (code != ERROR_NO_SAFE_POINT && code != ERROR_INTERRUPTED))
        return error;
    error_destroy(error);
    return NULL;
}
