/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * PEP 768, 3.14+: the debugger-support struct in the thread state. With the thread
 * stopped we write the path of a script and the flag, and make its eval
 * breaker fire.
 *
 * That is the one bit which other threads may change at the same moment (a signal
 * taken by another thread sets one beside it), and a write from outside isn't
 * atomic. So where the thread is borrowed anyway, it sets a bit itself,
 * atomically, by Py_AddPendingCall(abs, 0); only where nothing may be run on
 * it we write the bit.
 */
#include <string.h>

#include "attach/scope.h"
#include "inject/internal.h"

bool debugger_is_usable(const struct inject_stop *stop)
{
    const struct inject_options *options = stop->options;

    if (stop->request->target->runtime->layout.thread_state.remote_debugger_support == OFF_NONE)
        return false;
    return options->script_path || (!options->no_script_file && permit_script_staging(stop));
}

/* A thread that waits for a lock runs pending calls when woken, and never the
 * script: the next row of the table serves it. */
static bool debugger_serves(const struct inject_stop *stop)
{
    return debugger_is_usable(stop) &&
           (stop->block != BLOCK_LOCK || !stop->request->thread.main || !stop->options->pass_channel);
}

static struct address debugger_struct(const struct inject_request *request)
{
    return address_add(request->thread.address,
                       request->target->runtime->layout.thread_state.remote_debugger_support);
}

static struct error *debugger_read_pending(const struct inject_request *request, uint32_t *pending)
{
    const struct layout *layout = &request->target->runtime->layout;

    return memory_read_u32(&request->target->process->memory,
                           address_add(debugger_struct(request), layout->debugger_support.pending_call), pending);
}

static struct error *debugger_write(const struct inject_request *request, const char *path, uint32_t pending)
{
    const struct memory *memory = &request->target->process->memory;
    const struct layout *layout = &request->target->runtime->layout;
    struct address support = debugger_struct(request);

    if (strlen(path) >= layout->debugger_support.script_path_size)
        return error_create(ERROR_UNSUPPORTED, NULL, "the path of the script is too long for the target: %s", path);
    struct error *error =
        memory_write(memory, address_add(support, layout->debugger_support.script_path), path, strlen(path) + 1);
    return error ? error
                 : memory_write(memory, address_add(support, layout->debugger_support.pending_call), &pending,
                                sizeof(pending));
}

static struct error *debugger_set_eval_breaker(const struct inject_request *request)
{
    const struct memory *memory = &request->target->process->memory;
    struct address at =
        address_add(request->thread.address, request->target->runtime->layout.thread_state.eval_breaker);
    uint64_t bits;
    struct error *error = memory_read_u64(memory, at, &bits);

    if (error)
        return error;
    uint8_t low = (uint8_t)(bits | EVAL_BREAKER_PLEASE_STOP); /* as few bytes as will do */
    return memory_write(memory, at, &low, sizeof(low));
}

/* May the borrowed thread set its own eval breaker? */
static bool debugger_can_add_pending_call(const struct inject_request *request)
{
    bool held;

    if (!request->thread.main || !request->add_pending_call.value)
        return false;
    struct error *unknown = runtime_read_pending_lock(request->target->runtime, &held);
    error_destroy(unknown);
    return !unknown && !held;
}

/* The page of results isn't needed any more; then the eval breaker. A thread that was
 * not borrowed before is, where that wakes it. */
static struct error *debugger_fire(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    struct arch_step steps[2];
    size_t count = 0;
    enum arch_resume resume = stop->hands_off || !permit_chain(stop) ? ARCH_RESUME_SAME : block_resume(stop);
    bool adds = debugger_can_add_pending_call(request);

    if (stop->hands_off || (!request->borrowed && resume == ARCH_RESUME_SAME))
        return debugger_set_eval_breaker(request);
    if (request->borrowed)
        steps[count++] = (struct arch_step){.is_syscall = true,
                                            .target = (uint64_t)arch_native.nr.munmap,
                                            .arguments = {request->mapping.value, request->mapping_size}};
    if (adds)
        steps[count++] = (struct arch_step){.target = request->add_pending_call.value,
                                            .arguments = {request->target->code.abs.value, 0}};
    struct error *error = adds ? NULL : debugger_set_eval_breaker(request);
    if (error)
        return error;
    if (!count) /* only to be woken */
        steps[count++] = (struct arch_step){.target = request->target->code.abs.value, .arguments = {0}};
    return borrow_chain(&stop->borrow, steps, count, resume);
}

static struct error *debugger_post(struct inject_stop *stop)
{
    struct inject_request *request = stop->request;
    uint32_t pending;
    struct error *error = debugger_read_pending(request, &pending);

    if (error)
        return error;
    if (pending) /* ours would overwrite it */
        return error_create(ERROR_BUSY, "another tool's script waits for this thread's safe point; try again",
                            "another remote script is pending in the target");
    if ((error = debugger_write(request, request->script_path, 1)))
        return error;
    return debugger_fire(stop);
}

/* Is the request's thread armed with the request's script? */
static struct error *debugger_is_armed(const struct inject_request *request, bool *armed)
{
    const struct layout *layout = &request->target->runtime->layout;
    char path[sizeof(request->script_path)];
    size_t size = layout->debugger_support.script_path_size;
    uint32_t pending;
    struct error *error = debugger_read_pending(request, &pending);

    *armed = false;
    if (error || !pending)
        return error;
    error = memory_read_string(&request->target->process->memory,
                               address_add(debugger_struct(request), layout->debugger_support.script_path), path,
                               sizeof(path) < size ? sizeof(path) : size);
    *armed = !error && !strcmp(path, request->script_path);
    return error;
}

struct error *debugger_find_armed(struct inject_request *request, bool *armed)
{
    const struct runtime *runtime = request->target->runtime;
    scoped_free struct thread_state *threads = NULL;
    size_t count;

    *armed = false;
    request->method = &inject_debugger_support;
    if (runtime->layout.thread_state.remote_debugger_support == OFF_NONE)
        return NULL;
    struct error *error = runtime_read_threads(runtime, &threads, &count);
    for (size_t i = 0; !error && i < count && !*armed; i++) {
        request->thread = threads[i];
        error = debugger_is_armed(request, armed);
    }
    for (size_t i = 0; !error && i < count && !*armed; i++) {
        if (threads[i].main)
            request->thread = threads[i];
    }
    return error;
}

static struct error *debugger_withdraw(struct inject_stop *stop, bool *taken)
{
    struct inject_request *request = stop->request;
    bool armed;

    /* The thread state is gone: the request with it, or after the agent had come, who closes what is staged. */
    if (!runtime_is_listed(request->target->runtime, &request->thread)) {
        *taken = stop->request->borrowed && !stage_is_left(request);
        return NULL;
    }
    struct error *error = debugger_is_armed(request, &armed);
    if (error)
        return error;
    *taken = !armed;
    return *taken ? NULL : debugger_write(request, "", 0);
}

const struct inject_method inject_debugger_support = {"debugger-support", STAGING_SCRIPT, debugger_serves,
                                                      debugger_post, debugger_withdraw};
