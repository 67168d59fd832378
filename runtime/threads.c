/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Interpreters, thread states and the GIL.
 *
 *   _PyRuntime.interpreters.head -> interpreter -> next ... (newest first, main last)
 *                                      threads.head -> thread state -> next ... -> NULL
 *                                                         interp -> back to its interpreter
 *
 * The target runs meanwhile: a list can be torn. What is read is checked (each
 * thread state points back), and a list that fails is read again a few times.
 */
#include "runtime/runtime.h"

#include <string.h>

#include "attach/core.h"
#include "attach/scope.h"
#include "runtime/threads.h"

/* No process has more; a list that goes on is a cycle, or made up. */
#define INTERPRETERS_MAX 4096
#define THREADS_MAX      65536
#define TRIES            5
/* struct _gil_runtime_state with its two mutexes and two conditions (internal/pycore_gil.h), or a little less. */
#define GIL_SIZE         208
/* The member tid of glibc's struct pthread (nptl/descr.h), from pthread_self() on. */
#define PTHREAD_TID_OFFSET 720

static const struct memory *runtime_memory(const struct runtime *runtime)
{
    return &runtime->process->memory;
}

/* A passing state becomes final when it doesn't pass. */
static bool is_torn(const struct error *error)
{
    return error && (error_code(error) == ERROR_BUSY || error_code(error) == ERROR_FAULT);
}

/* Is Python starting or ending at this moment? */
static struct error *read_passing(const struct runtime *runtime, bool *passing)
{
    const struct layout *layout = &runtime->layout;
    uint32_t initialized = 0;
    uint64_t finalizing = 0;
    struct error *error = memory_read_u32(runtime_memory(runtime),
                                          address_add(runtime->address, layout->runtime.initialized), &initialized);

    if (!error)
        error = memory_read_u64(runtime_memory(runtime), address_add(runtime->address, layout->runtime.finalizing),
                                &finalizing);
    *passing = !error && (!initialized || finalizing);
    return error;
}

/* Then its lists come and go. */
static bool is_passing(const struct runtime *runtime)
{
    bool passing;

    error_destroy(read_passing(runtime, &passing));
    return passing;
}

struct error *runtime_check_lives(const struct runtime *runtime)
{
    bool passing;
    struct error *error = read_passing(runtime, &passing);

    if (error || !passing)
        return error;
    return error_create(ERROR_TARGET_ENDED, NULL, "process %d is shutting down", runtime->process->pid);
}

static struct error *give_up(const struct runtime *runtime, struct error *error)
{
    struct error *final;

    if (!is_torn(error))
        return error;
    if (is_passing(runtime))
        final =
            error_create(ERROR_BUSY, "try again in a moment", "Python is starting or ending: %s", error_message(error));
    else
        final = error_create(ERROR_UNSUPPORTED, "stop the process and try again; if it stays, please report it",
                             "%s (by %s)", error_message(error), runtime->layout.origin);
    error_destroy(error);
    return final;
}

/* Final: reading so many again would only take as long again. */
static struct error *refuse_endless(const struct runtime *runtime, const char *what)
{
    return error_create(ERROR_UNSUPPORTED, "its memory is damaged, or not CPython's",
                        "the list of %s doesn't end (by %s)", what, runtime->layout.origin);
}

/* ------------------------------------------------------------ interpreters */

static struct error *read_interpreter(const struct runtime *runtime, struct address at, struct address main,
                                      struct interpreter *interpreter, struct address *next)
{
    const struct layout *layout = &runtime->layout;
    uint64_t id;
    struct error *error;

    if (at.value % 8)
        return error_create(ERROR_BUSY, NULL, "the list of interpreters has no address at %#llx",
                            (unsigned long long)at.value);
    if ((error = memory_read_u64(runtime_memory(runtime), address_add(at, layout->interpreter.id), &id)) ||
        (error = memory_read_address(runtime_memory(runtime), address_add(at, layout->interpreter.next), next)))
        return error_context(error, "the list of interpreters");
    if ((int64_t)id < 0)
        return error_create(ERROR_BUSY, NULL, "interpreter.id is %lld", (long long)id);
    *interpreter = (struct interpreter){at, (int64_t)id, at.value == main.value};
    return NULL;
}

static struct error *read_interpreters_once(const struct runtime *runtime, struct interpreter **list, size_t *count)
{
    const struct layout *layout = &runtime->layout;
    scoped_free struct interpreter *found = NULL;
    size_t used = 0;
    bool main_found = false;
    struct address at, main;
    struct error *error;

    if ((error = memory_read_address(runtime_memory(runtime),
                                     address_add(runtime->address, layout->runtime.interpreters_head), &at)) ||
        (error = memory_read_address(runtime_memory(runtime),
                                     address_add(runtime->address, layout->runtime.interpreters_main), &main)))
        return error;
    while (at.value) {
        if (used == INTERPRETERS_MAX)
            return refuse_endless(runtime, "interpreters");
        struct interpreter *larger = reallocarray(found, used + 1, sizeof(*found));
        if (!larger)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the interpreters");
        found = larger;
        if ((error = read_interpreter(runtime, at, main, &found[used], &at)))
            return error;
        main_found |= found[used++].main;
    }
    if (!main_found)
        return error_create(ERROR_BUSY, NULL, "the main interpreter isn't in the list of interpreters");
    *list = scope_take_pointer(&found);
    *count = used;
    return NULL;
}

struct error *runtime_read_interpreters(const struct runtime *runtime, struct interpreter **list, size_t *count)
{
    struct error *error = NULL;

    *list = NULL;
    *count = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        error = read_interpreters_once(runtime, list, count);
        if (!is_torn(error))
            return error;
    }
    return give_up(runtime, error);
}

static struct error *read_main_interpreter(const struct runtime *runtime, struct address *interpreter)
{
    struct error *error = memory_read_address(
        runtime_memory(runtime), address_add(runtime->address, runtime->layout.runtime.interpreters_main), interpreter);

    if (!error && !interpreter->value)
        error = error_create(ERROR_BUSY, "it is starting or ending; try again", "Python has no main interpreter now");
    return error;
}

/* --------------------------------------------------------------------- GIL */

/* The GIL's struct; ADDRESS_NULL where it isn't made yet. */
static struct error *find_gil(const struct runtime *runtime, struct address interpreter, struct address *gil)
{
    const struct layout *layout = &runtime->layout;

    *gil = address_add(runtime->address, layout->runtime.gil);
    if (layout->runtime.gil != OFF_NONE)
        return NULL;
    return memory_read_address(runtime_memory(runtime), address_add(interpreter, layout->interpreter.ceval_gil), gil);
}

static struct error *read_gil_of(const struct runtime *runtime, struct address interpreter, bool *locked,
                                 struct address *holder)
{
    const struct layout *layout = &runtime->layout;
    struct address gil;
    uint32_t value;
    struct error *error;

    *locked = false;
    *holder = ADDRESS_NULL;
    if ((error = find_gil(runtime, interpreter, &gil)) || !gil.value)
        return error;
    if ((error = memory_read_u32(runtime_memory(runtime), address_add(gil, layout->gil.locked), &value)) ||
        (error = memory_read_address(runtime_memory(runtime), address_add(gil, layout->gil.last_holder), holder)))
        return error;
    /* -1: not made yet. */
    *locked = (int32_t)value > 0;
    return NULL;
}

struct error *runtime_read_gil(const struct runtime *runtime, bool *locked, struct address *holder)
{
    struct address interpreter;
    struct error *error = read_main_interpreter(runtime, &interpreter);

    *locked = false;
    *holder = ADDRESS_NULL;
    return error ? error : read_gil_of(runtime, interpreter, locked, holder);
}

struct error *runtime_holds_gil(const struct runtime *runtime, const struct thread_state *thread, bool *holds)
{
    struct address holder;
    bool locked;
    struct error *error = read_gil_of(runtime, thread->interpreter, &locked, &holder);

    *holds = !error && locked && holder.value == thread->address.value;
    return error;
}

bool runtime_is_gil_wait(const struct runtime *runtime, const struct thread_state *thread, struct address word)
{
    struct address gil;
    struct error *error = find_gil(runtime, thread->interpreter, &gil);
    bool found = !error && gil.value && word.value >= gil.value && word.value < gil.value + GIL_SIZE;

    error_destroy(error);
    return found;
}

/* ------------------------------------------------- thread ids and namespaces */

/* A thread by its pthread_self(). */
struct thread_pointer {
    uint64_t pthread;
    pid_t tid;
};

/* A thread of the process by the id that it has in its own innermost pid namespace,
 * which is how the target names it. */
struct thread_id {
    pid_t inner;
    pid_t outer; /* as we name it */
};

struct thread_ids {
    pid_t process;
    struct thread_id *items; /* by rising inner id: the target decides how often one is looked for */
    struct thread_pointer *pointers; /* of a core, by rising pthread; NULL: not known */
    size_t count;
};

static int compare_inner_ids(const void *a, const void *b)
{
    pid_t left = ((const struct thread_id *)a)->inner, right = ((const struct thread_id *)b)->inner;

    return (left > right) - (left < right);
}

/* One that has just ended has no id any more: 0. */
static pid_t read_inner_id(pid_t process, pid_t tid)
{
    struct process_status status;
    struct error *error = process_read_status(process, tid, &status);

    error_destroy(error);
    return error ? 0 : status.namespace_pid;
}

static int compare_pointers(const void *a, const void *b)
{
    uint64_t left = ((const struct thread_pointer *)a)->pthread, right = ((const struct thread_pointer *)b)->pthread;

    return (left > right) - (left < right);
}

/* A core's ids can be those of another namespace than its memory has; its registers tell whose they are. */
static struct error *thread_ids_init_core(struct thread_ids *ids, const struct core *core)
{
    const struct core_thread *threads = core_threads(core, &ids->count);

    ids->items = calloc(ids->count + 1, sizeof(*ids->items));
    ids->pointers = calloc(ids->count + 1, sizeof(*ids->pointers));
    if (!ids->items || !ids->pointers)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of a core");
    for (size_t i = 0; i < ids->count; i++) {
        ids->items[i] = (struct thread_id){threads[i].tid, threads[i].tid};
        ids->pointers[i] = (struct thread_pointer){threads[i].pthread, threads[i].tid};
    }
    qsort(ids->items, ids->count, sizeof(*ids->items), compare_inner_ids);
    qsort(ids->pointers, ids->count, sizeof(*ids->pointers), compare_pointers);
    return NULL;
}

static void thread_ids_deinit(struct thread_ids *ids)
{
    free(ids->items);
    free(ids->pointers);
}

static struct error *thread_ids_init(struct thread_ids *ids, const struct process *held)
{
    scoped_free pid_t *tids = NULL;
    struct process_status status;
    pid_t process = held->pid;
    struct error *error;

    *ids = (struct thread_ids){.process = process};
    if (held->core)
        return thread_ids_init_core(ids, held->core);
    if ((error = process_read_status(process, 0, &status)) ||
        (error = process_list_threads(process, &tids, &ids->count)))
        return error;
    if (!(ids->items = calloc(ids->count + 1, sizeof(*ids->items))))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of %d", process);
    for (size_t i = 0; i < ids->count; i++) {
        pid_t inner = status.namespace_depth == 1 ? tids[i] : read_inner_id(process, tids[i]);
        ids->items[i] = (struct thread_id){inner, tids[i]};
    }
    qsort(ids->items, ids->count, sizeof(*ids->items), compare_inner_ids);
    return NULL;
}

static pid_t thread_ids_find(const struct thread_ids *ids, uint64_t inner)
{
    const struct thread_id wanted = {.inner = (pid_t)inner};

    if (!inner || inner > INT32_MAX)
        return 0;
    const struct thread_id *found =
        bsearch(&wanted, ids->items, ids->count, sizeof(*ids->items), compare_inner_ids);
    return found ? found->outer : 0;
}

/* 0: not known. */
static pid_t thread_ids_find_pointer(const struct thread_ids *ids, uint64_t pthread)
{
    const struct thread_pointer wanted = {.pthread = pthread};

    if (!ids->pointers || !pthread)
        return 0;
    const struct thread_pointer *found =
        bsearch(&wanted, ids->pointers, ids->count, sizeof(*ids->pointers), compare_pointers);
    return found ? found->tid : 0;
}

/* glibc's note of a thread's id; 0 where it can't be read, twice: without it a thread isn't known as Python's. */
static uint32_t read_noted_id(const struct runtime *runtime, uint64_t pthread)
{
    uint32_t noted = 0;
    struct error *error = memory_read_u32(runtime_memory(runtime), address_of(pthread + PTHREAD_TID_OFFSET), &noted);

    if (!error)
        return noted;
    error_destroy(error);
    error = memory_read_u32(runtime_memory(runtime), address_of(pthread + PTHREAD_TID_OFFSET), &noted);
    error_destroy(error);
    return error ? 0 : noted;
}

/* A core's registers say it. What the thread state says first otherwise (3.11+; after a fork it can be the parent's,
 * then no thread of ours has it), then glibc's own note, then the one thing that
 * is sure: Python's main thread is nearly always the process's first. */
static pid_t find_tid(const struct runtime *runtime, const struct thread_ids *ids, struct address at, uint64_t pthread,
                      bool is_main)
{
    uint32_t offset = runtime->layout.thread_state.native_thread_id;
    uint64_t native = 0;
    struct error *error = NULL;
    pid_t tid = thread_ids_find_pointer(ids, pthread);

    if (tid)
        return tid;
    if (offset != OFF_NONE)
        error = memory_read_u64(runtime_memory(runtime), address_add(at, offset), &native);
    error_destroy(error);
    tid = thread_ids_find(ids, native);
    if (tid)
        return tid;
    tid = thread_ids_find(ids, read_noted_id(runtime, pthread));
    if (!tid && is_main)
        tid = ids->process;
    return tid;
}

/* ------------------------------------------------------------- thread states */

struct thread_list {
    struct thread_state *items;
    size_t count, room;
};

static struct thread_state *thread_list_add(struct thread_list *list)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 16;
        struct thread_state *larger = reallocarray(list->items, room, sizeof(*larger));

        if (!larger)
            return NULL;
        list->items = larger;
        list->room = room;
    }
    return &list->items[list->count++];
}

/* Reads one thread state and checks that it is one of this interpreter's. */
static struct error *read_thread(const struct runtime *runtime, const struct interpreter *interpreter,
                                 struct address at, struct thread_state *thread, struct address *next)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = runtime_memory(runtime);
    struct address interp;
    struct error *error;

    if (at.value % 8)
        return error_create(ERROR_BUSY, NULL, "the list of threads has no address at %#llx",
                            (unsigned long long)at.value);
    if ((error = memory_read_address(memory, address_add(at, layout->thread_state.interp), &interp)) ||
        (error = memory_read_address(memory, address_add(at, layout->thread_state.next), next)) ||
        (error = memory_read_u64(memory, address_add(at, layout->thread_state.thread_id), &thread->pthread)))
        return error_context(error, "the list of threads");
    if (interp.value != interpreter->address.value)
        return error_create(ERROR_BUSY, NULL, "thread_state.interp of %#llx doesn't point back to its interpreter",
                            (unsigned long long)at.value);
    thread->address = at;
    thread->interpreter = interp;
    thread->interpreter_id = interpreter->id;
    return NULL;
}

static struct error *read_threads_of(const struct runtime *runtime, const struct interpreter *interpreter,
                                     uint64_t main_thread, const struct thread_ids *ids, struct thread_list *list)
{
    struct address at, holder;
    bool locked;
    struct error *error;

    if ((error = read_gil_of(runtime, interpreter->address, &locked, &holder)) ||
        (error = memory_read_address(runtime_memory(runtime),
                                     address_add(interpreter->address, runtime->layout.interpreter.threads_head), &at)))
        return error;
    while (at.value) {
        struct thread_state thread;
        struct address next;

        if (list->count == THREADS_MAX)
            return refuse_endless(runtime, "threads");
        if ((error = read_thread(runtime, interpreter, at, &thread, &next)))
            return error;
        thread.main = interpreter->main && thread.pthread == main_thread;
        thread.holds_gil = locked && holder.value == at.value;
        thread.tid = find_tid(runtime, ids, at, thread.pthread, thread.main);
        struct thread_state *slot = thread_list_add(list);
        if (!slot)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
        *slot = thread;
        at = next;
    }
    return NULL;
}

static struct error *read_threads_once(const struct runtime *runtime, struct thread_list *list)
{
    scoped_free struct interpreter *interpreters = NULL;
    struct thread_ids ids;
    size_t count;
    uint64_t main_thread;
    struct error *error;

    if ((error = runtime_read_interpreters(runtime, &interpreters, &count)) ||
        (error = memory_read_u64(runtime_memory(runtime),
                                 address_add(runtime->address, runtime->layout.runtime.main_thread), &main_thread)))
        return error;
    error = thread_ids_init(&ids, runtime->process);
    for (size_t i = 0; !error && i < count; i++)
        error = read_threads_of(runtime, &interpreters[i], main_thread, &ids, list);
    thread_ids_deinit(&ids);
    return error;
}

struct error *runtime_read_threads(const struct runtime *runtime, struct thread_state **list, size_t *count)
{
    struct thread_list found = {0};
    struct error *error = NULL;

    *list = NULL;
    *count = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        found.count = 0;
        error = read_threads_once(runtime, &found);
        if (!is_torn(error))
            break;
    }
    if (error) {
        free(found.items);
        return give_up(runtime, error);
    }
    *list = found.items;
    *count = found.count;
    return NULL;
}

/* Is `wanted` linked from `at`, by the pointers at `next`? At most `bound` of them. */
static struct error *find_link(const struct memory *memory, struct address at, int32_t next, struct address wanted,
                               size_t bound, bool *found)
{
    struct error *error = NULL;

    *found = false;
    for (size_t i = 0; !error && at.value && !*found && i < bound; i++) {
        *found = at.value == wanted.value;
        if (at.value % 8)
            return error_create(ERROR_BUSY, NULL, "a list has no address at %#llx", (unsigned long long)at.value);
        error = memory_read_address(memory, address_add(at, next), &at);
    }
    return error;
}

static struct error *is_listed_once(const struct runtime *runtime, const struct thread_state *thread, bool *listed)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = runtime_memory(runtime);
    struct address at;
    uint64_t pthread;
    struct error *error;

    *listed = false;
    if ((error = memory_read_address(memory, address_add(runtime->address, layout->runtime.interpreters_head), &at)) ||
        (error = find_link(memory, at, layout->interpreter.next, thread->interpreter, INTERPRETERS_MAX, listed)) ||
        !*listed)
        return error;
    if ((error = memory_read_address(memory, address_add(thread->interpreter, layout->interpreter.threads_head), &at)) ||
        (error = find_link(memory, at, layout->thread_state.next, thread->address, THREADS_MAX, listed)) || !*listed)
        return error;
    error = memory_read_u64(memory, address_add(thread->address, layout->thread_state.thread_id), &pthread);
    *listed = !error && pthread == thread->pthread;
    return error;
}

bool runtime_is_listed(const struct runtime *runtime, const struct thread_state *thread)
{
    bool listed = false;
    struct error *torn = NULL;

    for (unsigned i = 0; i < TRIES && !listed; i++) {
        error_destroy(torn);
        if (!(torn = is_listed_once(runtime, thread, &listed)))
            break;
    }
    error_destroy(torn);
    return listed && !torn;
}

/* ------------------------------------------------------------ configuration */

struct error *runtime_read_remote_debug(const struct runtime *runtime, bool *enabled)
{
    struct address interpreter;
    uint32_t value;
    struct error *error;

    *enabled = true;
    if (runtime->layout.interpreter.config_remote_debug == OFF_NONE)
        return NULL;
    if ((error = read_main_interpreter(runtime, &interpreter)) ||
        (error = memory_read_u32(runtime_memory(runtime),
                                 address_add(interpreter, runtime->layout.interpreter.config_remote_debug), &value)))
        return error;
    *enabled = value == 1;
    /* One that has become another program says so by chance: it hasn't read its configuration yet. */
    return *enabled ? NULL : process_check(runtime->process);
}

/* ------------------------------------------------------------ pending calls */

struct error *runtime_find_pending(const struct runtime *runtime, struct address *queue)
{
    const struct layout *layout = &runtime->layout;
    struct address interpreter;

    if (layout->runtime.pending != OFF_NONE) {
        *queue = address_add(runtime->address, layout->runtime.pending);
        return NULL;
    }
    if (layout->interpreter.pending == OFF_NONE)
        return error_create(ERROR_UNSUPPORTED, "please report this build",
                            "the queue of pending calls was not found in this CPython %s", runtime->version);
    struct error *error = read_main_interpreter(runtime, &interpreter);
    if (!error)
        *queue = address_add(interpreter, layout->interpreter.pending);
    return error;
}

struct error *runtime_read_pending_finishing(const struct runtime *runtime, bool *finishing)
{
    struct address queue;
    uint32_t value = 0;
    struct error *error = NULL;

    if (runtime->layout.pending.finishing != OFF_NONE && !(error = runtime_find_pending(runtime, &queue)))
        error = memory_read_u32(runtime_memory(runtime), address_add(queue, runtime->layout.pending.finishing), &value);
    *finishing = value != 0;
    return error;
}

struct error *runtime_read_pending_lock(const struct runtime *runtime, bool *held)
{
    const struct layout *layout = &runtime->layout;
    struct address queue, lock;
    uint8_t mutex;
    uint32_t value;
    struct error *error = runtime_find_pending(runtime, &queue);

    *held = false;
    if (error)
        return error;
    if (layout->pending.mutex != OFF_NONE) {
        error = memory_read_u8(runtime_memory(runtime), address_add(queue, layout->pending.mutex), &mutex);
        *held = !error && (mutex & 1);
        return error;
    }
    error = memory_read_address(runtime_memory(runtime), address_add(queue, layout->pending.lock), &lock);
    if (error || !lock.value)
        return error;
    /* A sem_t, whose first 32 bits are its value. */
    if ((error = memory_read_u32(runtime_memory(runtime), lock, &value)))
        return error;
    if (value > 1)
        return error_create(ERROR_UNSUPPORTED, "please report this build",
                            "pending.lock is no semaphore of value 0 or 1, but %u", value);
    *held = value == 0;
    return NULL;
}
