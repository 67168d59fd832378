/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which tasks there are is told by the registries (task_registry.c), the stack of each by a walk (task_walk.c), what it
 * waits for and who for it by task_wait.c; here it is put together, and checked for what changed meanwhile.
 */
#include "runtime/tasks.h"

#include <stdio.h>
#include <string.h>

#include "attach/activity.h"
#include "attach/scope.h"
#include "runtime/task_read.h"
#include "runtime/withs.h"

/* Reads of a process that runs meanwhile. */
#define TRIES          4
#define ACTIVITIES_MAX 64 /* threads that are looked at for whether they ran meanwhile */

/* ------------------------------------------------------------------- stacks */

static bool describe_frame(struct tasks_read *read, const struct task_walk_frame *walked, struct task_frame *frame)
{
    struct python_frame text;
    char name[sizeof(text.function)];

    if (!reader_describe_frame(&read->reader, &walked->frame, &text))
        return false;
    /* Before 3.11 only the generator knows its qualified name. */
    if (walked->generator && reader_generator_name(&read->reader, walked->generator, name, sizeof(name)))
        memcpy(text.function, name, sizeof(name));
    *frame = (struct task_frame){strdup(text.function), strdup(text.file), text.line};
    read->out_of_memory |= !frame->function || !frame->file;
    return true;
}

static void describe_stack(struct tasks_read *read, size_t count, struct task *task)
{
    task->cut = count == TASK_FRAMES_MAX;
    task->frames = calloc(count ? count : 1, sizeof(*task->frames));
    read->out_of_memory |= !task->frames;
    for (size_t i = 0; task->frames && i < count; i++) {
        if (describe_frame(read, &read->walk[i], &task->frames[task->frame_count]))
            task->frame_count++;
        else
            read->torn = task->changing = true;
    }
}

/* ----------------------------------------------------------------- one task */

static char *copy_text(struct tasks_read *read, const char *text)
{
    char *copy = strdup(text);

    read->out_of_memory |= !copy;
    return copy;
}

/* A task's name is a str; in 3.12 and later that of "Task-17" may be the number alone, until it is asked for. */
static void read_name(struct tasks_read *read, uint64_t name, struct task *task)
{
    char text[256];
    int64_t number;

    if (reader_int(&read->reader, name, &number))
        snprintf(text, sizeof(text), "Task-%lld", (long long)number);
    else if (!reader_text(&read->reader, name, text, sizeof(text)))
        snprintf(text, sizeof(text), "?");
    task->name = copy_text(read, text);
}

static void read_coroutine(struct tasks_read *read, uint64_t coroutine, struct task *task)
{
    char text[256];

    if (!reader_is_generator(&read->reader, coroutine) ||
        !reader_generator_name(&read->reader, coroutine, text, sizeof(text)))
        reader_full_type_name(&read->reader, coroutine, text, sizeof(text));
    task->coroutine = copy_text(read, coroutine ? text : "");
}

/* FNV-1a, over words. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

/* Of all that its stack and state are told by, `count` frames of read->walk among it. */
static uint64_t sign_task(const struct tasks_read *read, const struct task *task, uint64_t coroutine, uint64_t waiter,
                          size_t count)
{
    uint64_t hash = mix(mix(mix(UINT64_C(0xcbf29ce484222325), coroutine), waiter), task->state);

    for (size_t i = 0; i < count; i++) {
        const struct task_walk_frame *walked = &read->walk[i];
        hash = mix(mix(hash, walked->frame.at.value), walked->generator);
        hash = mix(mix(hash, walked->frame.code.value), (uint64_t)walked->frame.instruction);
    }
    return hash;
}

/* Reads what changes, and walks its stack into read->walk: how many frames. */
static size_t look_at_task(struct tasks_read *read, struct task *task, uint64_t *coroutine, uint64_t *waiter)
{
    const struct futures *futures = &read->futures;
    enum future_kind kind = future_task_kind(futures, task->address);

    *coroutine = task_coroutine(futures, task->address, kind);
    *waiter = task_waiter(futures, task->address, kind);
    task->state = future_state(futures, task->address, kind);
    if (task->state == TASK_PENDING && *coroutine && reader_is_generator(&read->reader, *coroutine) &&
        reader_generator_runs(&read->reader, *coroutine))
        task->state = TASK_RUNNING;
    return task_walk_stack(read, *coroutine, task->state == TASK_RUNNING);
}

static void read_task(struct tasks_read *read, uint64_t address, int64_t interpreter, struct task *task)
{
    const struct futures *futures = &read->futures;
    enum future_kind kind = future_task_kind(futures, address);
    uint64_t coroutine, waiter;

    *task = (struct task){.address = address, .interpreter = interpreter, .python = kind == FUTURE_PYTHON};
    task->loop = future_loop(futures, address, kind);
    task->must_cancel = task_must_cancel(futures, address, kind);
    task->cancels = task_cancels(futures, address, kind);
    size_t count = look_at_task(read, task, &coroutine, &waiter);
    bool pending = task->state == TASK_PENDING;
    task->signature = sign_task(read, task, coroutine, waiter, count);
    read_name(read, task_name(futures, address, kind), task);
    read_coroutine(read, coroutine, task);
    describe_stack(read, count, task);
    task_wait_find(futures, read->walk, pending ? count : 0, pending ? waiter : 0, &task->wait);
    read->out_of_memory |= !task_awaiters_find(futures, address, &task->awaited_by, &task->awaiter_count);
}

static void task_deinit(struct task *task)
{
    for (size_t i = 0; i < task->frame_count; i++) {
        free(task->frames[i].function);
        free(task->frames[i].file);
    }
    free(task->frames);
    free(task->name);
    free(task->coroutine);
    free(task->awaited_by);
}

/* ------------------------------------------------------------- interpreters */

/* Is the C task of the size that we know? Looked at once, on the first there is. */
static struct error *check_layout(struct tasks_read *read, uint64_t task)
{
    struct object_reader *reader = &read->reader;
    uint64_t type = reader_type(reader, task);
    char name[64];

    for (unsigned i = 0; type && i < 64; i++) {
        struct error *error =
            memory_read_string(&reader->view.pages.memory,
                               address_of(reader_u64(reader, type + reader->layout.type.name)), name, sizeof(name));
        if (!error && !strcmp(name, "_asyncio.Task")) {
            uint64_t size = reader_u64(reader, type + reader->layout.type.basicsize);
            if (size == read->futures.layout.size)
                return NULL;
            return error_create(ERROR_UNSUPPORTED, "a build whose tasks we don't know; please report it",
                                "a task of its _asyncio has %llu bytes, not the %u of CPython 3.%u",
                                (unsigned long long)size, read->futures.layout.size, read->futures.layout.minor);
        }
        error_destroy(error);
        type = reader_u64(reader, type + reader->layout.type.base);
    }
    return NULL;
}

static struct error *read_listed(struct tasks_read *read, const struct address_list *list, int64_t interpreter)
{
    struct tasks *tasks = read->tasks;
    struct task *larger = reallocarray(tasks->items, tasks->count + list->count + 1, sizeof(*larger));
    struct error *error = NULL;

    if (!larger)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    tasks->items = larger;
    for (size_t i = 0; i < list->count && !error; i++) {
        enum future_kind kind = future_task_kind(&read->futures, list->items[i]);
        if (kind == FUTURE_NONE) {
            read->torn = true;
            continue;
        }
        if (kind == FUTURE_C && (error = check_layout(read, list->items[i])))
            break;
        enum task_state state = future_state(&read->futures, list->items[i], kind);
        bool done = state == TASK_CANCELLED || state == TASK_FINISHED;
        tasks->done += done;
        if (!done || read->with_done)
            read_task(read, list->items[i], interpreter, &tasks->items[tasks->count++]);
    }
    return error;
}

/* ------------------------------------------------------------------ holders */

/* What asyncio's locks don't note: which task is inside an `async with` of one that others wait for. */

static bool is_held(const struct task_wait *wait)
{
    return wait->kind && wait->object && (!strcmp(wait->kind, "lock") || !strcmp(wait->kind, "semaphore"));
}

static struct address_list list_wanted(struct tasks_read *read)
{
    struct address_list list = {0};

    for (size_t i = 0; i < read->tasks->count; i++) {
        if (is_held(&read->tasks->items[i].wait))
            task_list_add(read, &list, read->tasks->items[i].wait.object);
    }
    task_list_sort(&list);
    return list;
}

/* The wanted objects that a task's frames are inside of. */
static void find_held(struct tasks_read *read, const struct task *task, const struct address_list *wanted,
                      uint64_t *holders)
{
    enum future_kind kind = future_task_kind(&read->futures, task->address);
    size_t count =
        task_walk_stack(read, task_coroutine(&read->futures, task->address, kind), task->state == TASK_RUNNING);
    struct with_walk walk = {.count = 0};

    for (size_t i = 0; i < count; i++) {
        bool awaits = read->walk[i].generator && reader_generator_awaits(&read->reader, read->walk[i].generator);
        with_walk_frame(&walk, &read->reader, &read->walk[i].frame, awaits);
        for (size_t j = 0; j < walk.count; j++) {
            const uint64_t *found =
                bsearch(&walk.objects[j], wanted->items, wanted->count, sizeof(*wanted->items), task_compare_addresses);
            if (found && !holders[found - wanted->items])
                holders[found - wanted->items] = task->address;
        }
    }
}

static void find_holders(struct tasks_read *read)
{
    struct address_list wanted = list_wanted(read);
    scoped_free uint64_t *holders = calloc(wanted.count + 1, sizeof(*holders));

    read->out_of_memory |= !holders;
    for (size_t i = 0; holders && wanted.count && i < read->tasks->count; i++) {
        if (read->tasks->items[i].state == TASK_PENDING || read->tasks->items[i].state == TASK_RUNNING)
            find_held(read, &read->tasks->items[i], &wanted, holders);
    }
    for (size_t i = 0; holders && wanted.count && i < read->tasks->count; i++) {
        struct task_wait *wait = &read->tasks->items[i].wait;
        const uint64_t *found = is_held(wait) ? bsearch(&wait->object, wanted.items, wanted.count,
                                                        sizeof(*wanted.items), task_compare_addresses)
                                              : NULL;
        if (found)
            wait->holder = holders[found - wanted.items];
    }
    free(wanted.items);
}

/* -------------------------------------------------------------------- loops */

static void find_loop_thread(struct tasks_read *read, struct task_loop *loop)
{
    const struct future_layout *layout = &read->futures.layout;
    int64_t ident = 0;

    reader_int(&read->reader, reader_attribute(&read->reader, loop->address, "_thread_id"), &ident);
    for (size_t i = 0; i < read->thread_count; i++) {
        const struct thread_state *thread = &read->threads[i];
        bool runs = ident && thread->pthread == (uint64_t)ident;
        if (!runs && read->futures.c_known && layout->node != OFF_NONE)
            runs = reader_u64(&read->reader, thread->address.value + layout->thread_loop) == loop->address;
        if (!runs)
            continue;
        loop->pthread = thread->pthread;
        loop->tid = thread->tid;
    }
}

/* Is one of the thread's frames asyncio.run() of this loop? For loops of another make, which don't say who runs them. */
static bool runs_loop(struct tasks_read *read, const struct thread_state *thread, uint64_t loop)
{
    struct frame frame;
    struct python_frame text;
    bool found = reader_first_frame(&read->reader, thread, &frame);

    for (unsigned i = 0; found && i < READER_DEPTH_MAX; found = reader_next_frame(&read->reader, &frame), i++) {
        if (!reader_describe_frame(&read->reader, &frame, &text) || !strstr(text.file, "asyncio/runners.py"))
            continue;
        uint64_t runner = reader_local(&read->reader, &frame, "self");
        if (reader_local(&read->reader, &frame, "loop") == loop ||
            (runner && reader_attribute(&read->reader, runner, "_loop") == loop))
            return true;
    }
    return false;
}

static void search_loop_thread(struct tasks_read *read, struct task_loop *loop)
{
    for (size_t i = 0; i < read->thread_count && !loop->pthread; i++) {
        if (!runs_loop(read, &read->threads[i], loop->address))
            continue;
        loop->pthread = read->threads[i].pthread;
        loop->tid = read->threads[i].tid;
    }
}

static struct error *add_loop(struct tasks_read *read, uint64_t address, int64_t interpreter)
{
    struct tasks *tasks = read->tasks;

    for (size_t i = 0; i < tasks->loop_count; i++) {
        if (tasks->loops[i].address == address)
            return NULL;
    }
    struct task_loop *larger = reallocarray(tasks->loops, tasks->loop_count + 1, sizeof(*larger));
    if (!larger)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the loops");
    tasks->loops = larger;
    struct task_loop *loop = &tasks->loops[tasks->loop_count++];
    *loop = (struct task_loop){.address = address, .interpreter = interpreter};
    reader_full_type_name(&read->reader, address, loop->type, sizeof(loop->type));
    find_loop_thread(read, loop);
    if (!loop->pthread && strncmp(loop->type, "asyncio.", 8) != 0)
        search_loop_thread(read, loop);
    return NULL;
}

static struct error *read_loops(struct tasks_read *read)
{
    struct tasks *tasks = read->tasks;
    struct error *error = NULL;

    for (size_t i = 0; i < tasks->count && !error; i++)
        error = add_loop(read, tasks->items[i].loop, tasks->items[i].interpreter);
    return error;
}

/* --------------------------------------------------------------------- once */

static int compare_tasks(const void *a, const void *b)
{
    const struct task *left = a, *right = b;

    if (left->interpreter != right->interpreter)
        return left->interpreter < right->interpreter ? -1 : 1;
    if (left->loop != right->loop)
        return left->loop < right->loop ? -1 : 1;
    int order = left->name && right->name ? strverscmp(left->name, right->name) : 0;
    if (order)
        return order;
    return (left->address > right->address) - (left->address < right->address);
}

static int compare_numbers(const void *a, const void *b, void *context)
{
    const struct task *items = context;
    uint64_t left = items[*(const size_t *)a].address, right = items[*(const size_t *)b].address;

    return (left > right) - (left < right);
}

/* In the order to show, and an index by address. */
static struct error *sort_tasks(struct tasks *tasks)
{
    if (tasks->count)
        qsort(tasks->items, tasks->count, sizeof(*tasks->items), compare_tasks);
    tasks->by_address = calloc(tasks->count + 1, sizeof(*tasks->by_address));
    if (!tasks->by_address)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    for (size_t i = 0; i < tasks->count; i++)
        tasks->by_address[i] = i;
    qsort_r(tasks->by_address, tasks->count, sizeof(*tasks->by_address), compare_numbers, tasks->items);
    return NULL;
}

/* From 3.14 on nothing of a task can be read without what _asyncio says of itself. */
static struct error *check_known(struct tasks_read *read, uint64_t interpreter)
{
    if (read->futures.c_known || !reader_module_dict(&read->reader, interpreter, "_asyncio"))
        return NULL;
    return error_create(ERROR_UNSUPPORTED, "its file may have been replaced since the process started",
                        "where the fields of CPython %s's tasks are isn't known: no section .AsyncioDebug was found",
                        read->reader.view.runtime.version);
}

static struct error *read_once(struct tasks_read *read)
{
    scoped_free struct interpreter *interpreters = NULL;
    size_t count;
    struct error *error = runtime_read_interpreters(&read->reader.view.runtime, &interpreters, &count);

    for (size_t i = 0; i < count && !error; i++) {
        struct address_list list = {0};
        if ((error = check_known(read, interpreters[i].address.value)))
            break;
        task_read_registries(read, interpreters[i].address.value, &list);
        error = read_listed(read, &list, interpreters[i].id);
        free(list.items);
    }
    if (!error && !(error = sort_tasks(read->tasks)) && !(error = read_loops(read)))
        find_holders(read);
    if (read->out_of_memory) {
        error_destroy(error);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    }
    return error;
}

static bool stayed(const struct activity *activities, size_t count, size_t threads)
{
    bool all = count == threads;

    for (size_t i = 0; i < count && all; i++)
        all = activity_stayed(&activities[i]);
    return all;
}

/* The process ran meanwhile: which tasks are, in memory that is read anew, what they were? */
static void check_tasks(struct tasks_read *read)
{
    struct error *error = pages_refresh(&read->reader.view.pages);

    for (size_t i = 0; i < read->tasks->count; i++) {
        struct task again = {.address = read->tasks->items[i].address};
        uint64_t coroutine, waiter;
        size_t count = error ? 0 : look_at_task(read, &again, &coroutine, &waiter);

        if (error || sign_task(read, &again, coroutine, waiter, count) != read->tasks->items[i].signature)
            read->tasks->items[i].changing = true;
    }
    error_destroy(error);
}

/* Was something not there to be read? Pointers that lead nowhere are as often met the second time. */
static bool is_missing_something(const struct tasks_read *read, uint64_t *missed)
{
    bool more = read->reader.misses && read->reader.misses != *missed;

    *missed = read->reader.misses;
    return more;
}

/* Again, until nothing ran meanwhile and all could be read, or as often as is sensible. */
static struct error *read_until_steady(struct tasks_read *read)
{
    struct activity activities[ACTIVITIES_MAX];
    size_t looked = read->thread_count < ACTIVITIES_MAX ? read->thread_count : ACTIVITIES_MAX;
    struct error *error = NULL;
    uint64_t missed = 0;

    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        tasks_deinit(read->tasks);
        reader_forget(&read->reader);
        read->torn = false;
        for (size_t j = 0; j < looked && !read->held; j++)
            activity_look(&activities[j], read->reader.view.process.pid, read->threads[j].tid);
        error = read_once(read);
        read->tasks->changing = !read->held && !stayed(activities, looked, read->thread_count);
        read->tasks->incomplete = read->torn || !read->reader.left;
        if (!is_missing_something(read, &missed) && !read->tasks->changing && !error)
            break;
    }
    if (!error && read->tasks->changing)
        check_tasks(read);
    return error;
}

struct error *tasks_read(struct tasks *tasks, const struct runtime *runtime, const struct maps *maps,
                         const struct tasks_wish *wish)
{
    scoped_free struct thread_state *threads = NULL;
    scoped_free struct task_walk_frame *walk = calloc(TASK_FRAMES_MAX, sizeof(*walk));
    struct tasks_read read = {.tasks = tasks, .with_done = wish->with_done, .held = wish->held, .walk = walk};
    struct error *error = runtime_read_threads(runtime, &threads, &read.thread_count);

    *tasks = (struct tasks){0};
    if (error)
        return error;
    if ((error = reader_init(&read.reader, runtime))) {
        reader_deinit(&read.reader);
        return error;
    }
    read.threads = threads;
    read.futures.reader = &read.reader;
    read.futures.c_known = future_layout_find(&read.futures.layout, runtime, maps);
    error = walk ? read_until_steady(&read) : error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    reader_deinit(&read.reader);
    return error;
}

void tasks_deinit(struct tasks *tasks)
{
    for (size_t i = 0; i < tasks->count; i++)
        task_deinit(&tasks->items[i]);
    free(tasks->items);
    free(tasks->by_address);
    free(tasks->loops);
    *tasks = (struct tasks){0};
}

size_t tasks_find(const struct tasks *tasks, uint64_t address)
{
    size_t low = 0, high = tasks->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint64_t at = tasks->items[tasks->by_address[middle]].address;
        if (at == address)
            return tasks->by_address[middle];
        if (at < address)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}
