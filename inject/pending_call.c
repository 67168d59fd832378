/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pending-call queue, and the borrowed call: both run a stub of ours
 * (inject/stub_*.S) that holds the agent.
 *
 * Pending call: the borrowed thread calls Py_AddPendingCall(stub_run, mapping), and
 * the main thread runs it where its eval loop looks at the eval breaker. A
 * thread that waits for a lock runs pending calls when its wait returns EINTR.
 *
 * Borrowed call: a thread that is blocked in another system call (sleep, accept,
 * poll) looks at its signals then, but not at the queue. It has released the
 * GIL, so the stub can take it right there (PyGILState_Ensure), as an
 * extension's callback would.
 */
#include <string.h>

#include "attach/syscalls.h"
#include "inject/internal.h"
#include "inject/stub.h"

/* ------------------------------------------------------------ pending call */

static bool pending_serves(const struct inject_stop *stop)
{
    const struct inject_request *request = stop->request;

    return request->thread.main && !request->target->runtime->free_threaded && permit_stub_staging(stop);
}

/* Where the queue of the main interpreter is; ADDRESS_NULL when not known. */
static struct address pending_queue(const struct inject_request *request)
{
    const struct runtime *runtime = request->target->runtime;
    const struct layout *layout = &runtime->layout;

    if (layout->runtime.pending != OFF_NONE)
        return address_add(runtime->address, layout->runtime.pending);
    if (layout->interpreter.pending != OFF_NONE)
        return address_add(request->thread.interpreter, layout->interpreter.pending);
    return ADDRESS_NULL;
}

/* Entries that wait: their number up to 3.12 from the indices. A full queue
 * refuses another, which the chain can't tell us. */
static struct error *pending_check_room(const struct inject_request *request)
{
    const struct memory *memory = &request->target->process->memory;
    const struct layout *layout = &request->target->runtime->layout;
    struct address queue = pending_queue(request);
    uint32_t first, last, waiting, room;
    struct error *error;

    if (!queue.value)
        return NULL;
    if (layout->pending.max != OFF_NONE) {
        if ((error = memory_read_u32(memory, address_add(queue, layout->pending.calls_to_do), &waiting)) ||
            (error = memory_read_u32(memory, address_add(queue, layout->pending.max), &room)))
            return error;
    } else {
        if ((error = memory_read_u32(memory, address_add(queue, layout->pending.first), &first)) ||
            (error = memory_read_u32(memory, address_add(queue, layout->pending.last), &last)))
            return error;
        room = layout->pending.capacity - 1; /* one stays free */
        waiting = (last + layout->pending.capacity - first) % layout->pending.capacity;
    }
    if (waiting >= room)
        return error_create(ERROR_BUSY, "the target adds pending calls faster than it runs them",
                            "the target's queue of pending calls is full");
    return NULL;
}

struct error *pending_check(const struct inject_request *request)
{
    const struct runtime *runtime = request->target->runtime;
    bool held, finishing;
    struct error *error = runtime_read_pending_lock(runtime, &held);

    if (error || (error = runtime_read_pending_finishing(runtime, &finishing)))
        return error;
    if (finishing)
        return error_create(ERROR_NO_SAFE_POINT, NULL, "process %d is shutting down, and CPython %s takes no pending calls then",
                            request->target->process->pid, runtime->version);
    if (held) /* perhaps by this very thread */
        return error_create(ERROR_BUSY, NULL, "the pending-call queue is being changed");
    if ((error = pending_check_room(request)))
        return error;
    if (!request->add_pending_call.value)
        return stage_no_symbol(request->target, "Py_AddPendingCall");
    return NULL;
}

static struct error *pending_post(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    struct error *error = pending_check(request);

    if (error)
        return error;
    const struct arch_step steps[] = {
        stage_posted_step(request),
        {.target = request->add_pending_call.value,
         .arguments = {stage_stub_entry(request, stub_run).value, request->mapping.value}}};
    return borrow_chain(&stop->borrow, steps, 2, block_resume(stop));
}

/* Looks among the entries that wait: from `first` to `last` (up to 3.11 a taken entry keeps its words).
 * Found: replaces it by {abs, 0}, which does nothing and returns 0. */
struct error *pending_neutralize(const struct inject_request *request, struct address function, uint64_t argument,
                                 bool *found)
{
    const struct memory *memory = &request->target->process->memory;
    const struct layout *layout = &request->target->runtime->layout;
    struct address queue = pending_queue(request);
    const uint64_t ours[2] = {function.value, argument};
    const uint64_t nothing[2] = {request->target->code.abs.value, 0};
    uint32_t first, last;
    struct error *error;

    *found = false;
    if (!queue.value)
        return error_create(ERROR_UNSUPPORTED, NULL, "the pending-call queue of this build wasn't found");
    if ((error = memory_read_u32(memory, address_add(queue, layout->pending.first), &first)) ||
        (error = memory_read_u32(memory, address_add(queue, layout->pending.last), &last)))
        return error;
    for (uint32_t n = 0; n < layout->pending.capacity && !*found; n++) {
        uint32_t index = (first + n) % layout->pending.capacity;
        struct address entry = address_add(queue, layout->pending.calls + (uint64_t)index * layout->pending.entry_size);
        uint64_t words[2];

        if (layout->pending.max == OFF_NONE && index == last)
            break;
        if ((error = memory_read(memory, entry, words, sizeof(words))))
            return error;
        if (memcmp(words, ours, sizeof(ours)) != 0)
            continue;
        *found = true;
        return memory_write(memory, entry, nothing, sizeof(nothing));
    }
    return NULL;
}

/* The main thread, the only one that takes entries, is stopped: an entry that
 * waits now was not taken. One that neither waits nor runs was refused by a full queue. */
static struct error *pending_withdraw(struct inject_stop *stop, bool *taken)
{
    struct inject_request *request = stop->request;
    bool found = false, held = false;
    struct error *error = runtime_read_pending_lock(request->target->runtime, &held);

    if (!error && held)
        return error_create(ERROR_BUSY, NULL, "the pending-call queue is being changed");
    if (!error)
        error = pending_neutralize(request, stage_stub_entry(request, stub_run), request->mapping.value, &found);
    *taken = !found && (request->spoke || !stage_mapping_is_left(request) || stage_is_referenced(stop));
    return error;
}

const struct inject_method inject_pending_call = {"pending-call", STAGING_STUB, pending_serves, pending_post,
                                                  pending_withdraw};

/* ----------------------------------------------------------- borrowed call */

/* Guards: in a system call that isn't a futex, with the GIL not held by this thread. */
static bool borrowed_is_safe(const struct inject_stop *stop)
{
    const struct runtime *runtime = stop->request->target->runtime;

    /* PyGILState_Ensure() takes the thread's state of the main interpreter. */
    if (stop->request->thread.interpreter_id != 0)
        return false;
    return !stop->holds_gil && !runtime->finalizing && !runtime->free_threaded && permit_stub_staging(stop) &&
           !syscall_is_futex(stop->borrow.blocked_number);
}

bool borrowed_is_forcible(const struct inject_stop *stop)
{
    return stop->block == BLOCK_FOREIGN && borrowed_is_safe(stop);
}

/* In a call of Python's own code. Where a call is repeated and the debugger-support struct is
 * there, a wake will do. */
static bool borrowed_serves(const struct inject_stop *stop)
{
    enum inject_wake_mode wake = stop->options->wake;

    if (wake == INJECT_WAKE_NEVER || !borrowed_is_safe(stop))
        return false;
    switch (stop->block) {
    case BLOCK_REPEATED:
        return !debugger_is_usable(stop);
    case BLOCK_RESTARTED:
        return true;
    case BLOCK_FOREIGN:
        return wake == INJECT_WAKE_FORCE;
    default:
        return false;
    }
}

static struct error *borrowed_post(struct inject_stop *stop)
{
    /* A signal that a pause() waits for must not be handled before it. */
    const struct arch_step steps[] = {stage_posted_step(stop->request),
                                      {.target = stage_stub_entry(stop->request, stub_borrowed).value,
                                       .own_signal_mask = !borrow_pauses(&stop->borrow)}};

    enum arch_resume resume = block_resume(stop);

    stop->request->wake = INJECT_WAKE_BORROWED;
    return borrow_chain(&stop->borrow, steps, 2, resume);
}

/* It waits for the GIL, or runs. */
static struct error *borrowed_withdraw(struct inject_stop *stop, bool *taken)
{
    (void)stop;
    *taken = true;
    return NULL;
}

const struct inject_method inject_borrowed_call = {"borrowed-call", STAGING_STUB, borrowed_serves,
                                                   borrowed_post, borrowed_withdraw};
