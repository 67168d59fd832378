/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Interrupting a script that runs too long: an asynchronous exception in its thread
 * state, as PyThreadState_SetAsyncExc() would set it, but from outside, with the
 * thread stopped.
 *
 * The agent keeps a list whose first item is a mark as long as the user's script runs,
 * and runs a few bytecodes of its own after that: an exception that is set while
 * the mark is there is raised in the script or in the agent, never in the target. But
 * a signal handler of the target's may run on top of the script: so it is raised where the
 * script's own code runs, as long as there is hope to find it there.
 */
#include <string.h>

#include "inject/internal.h"

#define INTERRUPT_LIST_ITEMS 24 /* PyListObject.ob_item, with the GIL, 3.8 to 3.15 */
#define INTERRUPT_IMMORTAL_MINOR 12

struct interrupt_context {
    const struct inject_interruption *at;
    bool anywhere, raised;
};

static struct error *interrupt_script_runs(const struct memory *memory, const struct inject_interruption *at,
                                           bool *runs)
{
    struct address items, item;
    struct error *error = memory_read_address(memory, address_add(at->running, INTERRUPT_LIST_ITEMS), &items);

    *runs = false;
    if (error || (error = memory_read_address(memory, items, &item)))
        return error;
    *runs = item.value == at->mark.value;
    return NULL;
}

/* The exception's class is released when it is raised: it needs a reference. Only who
 * holds the GIL changes one, so nobody may but the thread that we hold; from 3.12 on
 * a builtin class is immortal. */
static struct error *interrupt_add_reference(struct inject_request *request, struct address exception)
{
    const struct inject_target *target = request->target;
    struct address holder;
    bool locked;
    uint64_t references;

    if (target->runtime->layout.minor >= INTERRUPT_IMMORTAL_MINOR)
        return NULL;
    struct error *error = runtime_read_gil(target->runtime, &locked, &holder);
    if (error)
        return error;
    if (locked && holder.value != request->thread.address.value)
        return error_create(ERROR_BUSY, NULL, "another thread holds the GIL just now");
    if ((error = memory_read_u64(&target->process->memory, exception, &references)))
        return error;
    references++;
    return memory_write(&target->process->memory, exception, &references, sizeof(references));
}

/* What makes the eval loop look: bits of the thread (3.13+), or a flag of all. */
static struct error *interrupt_find_breaker(const struct inject_request *request, struct address *at, bool *bits)
{
    const struct runtime *runtime = request->target->runtime;
    const struct layout *layout = &runtime->layout;

    *bits = layout->thread_state.eval_breaker != OFF_NONE;
    if (*bits)
        *at = address_add(request->thread.address, layout->thread_state.eval_breaker);
    else if (layout->runtime.eval_breaker != OFF_NONE)
        *at = address_add(runtime->address, layout->runtime.eval_breaker);
    else if (layout->interpreter.eval_breaker != OFF_NONE)
        *at = address_add(request->thread.interpreter, layout->interpreter.eval_breaker);
    else
        return error_create(ERROR_UNSUPPORTED, NULL, "the eval breaker of this build wasn't found");
    return NULL;
}

static struct error *interrupt_fire(struct inject_request *request)
{
    const struct memory *memory = &request->target->process->memory;
    struct address at;
    uint8_t value;
    bool bits;
    struct error *error = interrupt_find_breaker(request, &at, &bits);

    if (error || (error = memory_read_u8(memory, at, &value)))
        return error;
    value = bits ? (uint8_t)(value | EVAL_BREAKER_ASYNC_EXCEPTION) : 1;
    return memory_write(memory, at, &value, sizeof(value));
}

/* A signal's handler would run before the exception is raised, and get it. */
static bool interrupt_awaits_handler(const struct inject_stop *stop)
{
    struct address at;
    uint8_t value = 0;
    bool bits;
    struct error *error = interrupt_find_breaker(stop->request, &at, &bits);

    if (!error)
        error = memory_read_u8(&stop->request->target->process->memory, at, &value);
    error_destroy(error);
    return (bits ? value & EVAL_BREAKER_SIGNALS_PENDING : value) || tracee_awaits_signal(stop->tracee);
}

static bool interrupt_is_in_script(const struct inject_request *request, const struct inject_interruption *at)
{
    struct python_frame frame;
    bool found;
    struct error *error = runtime_read_top_frame(request->target->runtime, &request->thread, &frame, &found);

    error_destroy(error);
    return !error && found && !strcmp(frame.file, at->file);
}

static struct error *interrupt_stopped(struct inject_stop *stop, void *context)
{
    struct inject_request *request = stop->request;
    struct interrupt_context *interrupt = context;
    const struct memory *memory = &request->target->process->memory;
    const struct layout *layout = &request->target->runtime->layout;
    struct address slot = address_add(request->thread.address, layout->thread_state.async_exc);
    struct address pending;
    bool runs;
    struct error *error = interrupt_script_runs(memory, interrupt->at, &runs);

    if (error || !runs)
        return error;
    if (!interrupt->anywhere && (interrupt_awaits_handler(stop) || !interrupt_is_in_script(request, interrupt->at)))
        return NULL;
    if ((error = memory_read_address(memory, slot, &pending)) || pending.value)
        return error;
    if ((error = interrupt_add_reference(request, interrupt->at->exception)) ||
        (error = memory_write(memory, slot, &interrupt->at->exception, sizeof(interrupt->at->exception))))
        return error;
    interrupt->raised = true;
    return interrupt_fire(request);
}

struct error *inject_interrupt(struct inject_request *request, const struct inject_interruption *at, bool anywhere,
                               bool *raised)
{
    struct interrupt_context context = {.at = at, .anywhere = anywhere};
    struct error *error = NULL;

    *raised = false;
    if (request->target->runtime->free_threaded ||
        request->target->runtime->layout.thread_state.async_exc == OFF_NONE)
        return NULL;
    error = inject_with_stop(request, interrupt_stopped, &context);
    *raised = context.raised;
    return error;
}
