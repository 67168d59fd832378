/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a task waits for is told by the innermost frame that is asyncio's own: `await lock.acquire()` is in
 * Lock.acquire(), whose `self` is the lock. Where no such frame is there, the future that it waits for tells.
 *
 * Who waits for a future is noted by 3.14+. Before, and for what isn't noted, it is found by its done callbacks:
 *
 *   task -> callback: gather's _done_callback -> cell `outer`: a future -> callback: wakeup of a task
 */
#include "runtime/task_wait.h"

#include <string.h>
#include <time.h>

#include "attach/scope.h"

#define AWAITERS_DEPTH 8
#define VISITED_MAX    256 /* futures on the way from one to its awaiters */

/* ------------------------------------------------------- by frames of asyncio */

/* A function of asyncio in which tasks wait. */
struct wait_place {
    const char *file, *function; /* the end of the path; co_name or the last part of the qualified name */
    const char *kind;            /* NULL: by the type of `object` */
    const char *object;          /* the local variable that says for what; NULL: none */
};

static const struct wait_place wait_places[] = {
    {"asyncio/tasks.py", "sleep", "sleep", "future"},
    {"asyncio/tasks.py", "__sleep0", "turn", NULL},
    {"asyncio/tasks.py", "_wait", "wait", NULL},
    {"asyncio/tasks.py", "wait_for", "wait_for", "fut"},
    {"asyncio/tasks.py", "_wait_for_one", "as_completed", NULL},
    {"asyncio/locks.py", "acquire", NULL, "self"},
    {"asyncio/locks.py", "wait", NULL, "self"},
    {"asyncio/locks.py", "_block", NULL, "self"},
    {"asyncio/locks.py", "_wait", NULL, "self"},
    {"asyncio/queues.py", "get", "queue", "self"},
    {"asyncio/queues.py", "put", "queue", "self"},
    {"asyncio/queues.py", "join", "queue", "self"},
    {"asyncio/taskgroups.py", "__aexit__", "taskgroup", "self"},
    {"asyncio/taskgroups.py", "_aexit", "taskgroup", "self"},
    {"asyncio/streams.py", "_wait_for_data", "stream", "self"},
    {"asyncio/streams.py", "_drain_helper", "stream", "self"},
    {"asyncio/selector_events.py", "sock_recv", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_recv_into", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_recvfrom", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_recvfrom_into", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_sendall", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_sendto", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_connect", "socket", "sock"},
    {"asyncio/selector_events.py", "sock_accept", "socket", "sock"},
    {"asyncio/base_events.py", "getaddrinfo", "executor", NULL},
    {"asyncio/base_events.py", "getnameinfo", "executor", NULL},
    {"asyncio/base_subprocess.py", "_wait", "process", "self"},
    {"asyncio/threads.py", "to_thread", "executor", NULL},
};

/* The kinds of asyncio/locks.py, by class. */
static const struct {
    const char *type, *kind;
} lock_kinds[] = {
    {"Lock", "lock"},           {"Condition", "condition"}, {"Event", "event"},
    {"Semaphore", "semaphore"}, {"Barrier", "barrier"},
};

static const struct wait_place *find_place(const struct python_frame *text)
{
    for (size_t i = 0; i < sizeof(wait_places) / sizeof(wait_places[0]); i++) {
        if (reader_frame_is(text, wait_places[i].file, wait_places[i].function))
            return &wait_places[i];
    }
    return NULL;
}

static const char *find_lock_kind(struct object_reader *reader, uint64_t object)
{
    for (size_t i = 0; i < sizeof(lock_kinds) / sizeof(lock_kinds[0]); i++) {
        if (reader_is_derived(reader, object, lock_kinds[i].type))
            return lock_kinds[i].kind;
    }
    return "lock";
}

/* asyncio.sleep(): its `delay`, and the loop's timer `h`, which knows when it ends. */
static void read_sleep(struct object_reader *reader, const struct frame *frame, struct task_wait *wait)
{
    uint64_t timer = reader_local(reader, frame, "h");
    struct timespec now;
    double when;

    if (!reader_float(reader, reader_local(reader, frame, "delay"), &wait->delay) || !timer ||
        !reader_float(reader, reader_attribute(reader, timer, "_when"), &when))
        return;
    if (reader->view.process.core) /* what that clock said then isn't in it */
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    wait->left = when - ((double)now.tv_sec + (double)now.tv_nsec / 1e9);
    wait->timed = true;
}

static void fill_object(struct object_reader *reader, uint64_t object, struct task_wait *wait)
{
    wait->object = object;
    if (object)
        reader_full_type_name(reader, object, wait->type, sizeof(wait->type));
    else
        wait->type[0] = '\0';
}

static void fill_place(struct object_reader *reader, const struct frame *frame, const struct wait_place *place,
                       struct task_wait *wait)
{
    uint64_t object = place->object ? reader_local(reader, frame, place->object) : 0;

    wait->kind = place->kind ? place->kind : find_lock_kind(reader, object);
    if (!strcmp(wait->kind, "sleep"))
        read_sleep(reader, frame, wait);
    /* PySocketSockObject.sock_fd, an int right behind its head. */
    if (!strcmp(wait->kind, "socket") && reader_is_derived(reader, object, "_socket.socket"))
        wait->descriptor = (int)reader_u32(reader, object + reader->head);
    fill_object(reader, object, wait);
}

/* --------------------------------------------------------------- by the future */

/* A future of run_in_executor() is chained to one of concurrent.futures, by a callback of asyncio/futures.py. */
static bool is_chained(const struct futures *futures, uint64_t future, enum future_kind kind)
{
    scoped_free uint64_t *callbacks = NULL;
    size_t count;
    bool found = false;

    if (!future_callbacks(futures, future, kind, &callbacks, &count))
        return false;
    for (size_t i = 0; i < count && !found; i++) {
        char name[128];
        uint64_t qualified = reader_function_name(futures->reader, callbacks[i]);
        found = reader_text(futures->reader, qualified, name, sizeof(name)) &&
                !strcmp(name, "_chain_future.<locals>._call_check_cancel");
    }
    return found;
}

static void fill_waiter(const struct futures *futures, uint64_t waiter, struct task_wait *wait)
{
    enum future_kind kind = future_kind(futures, waiter);

    fill_object(futures->reader, waiter, wait);
    if (future_task_kind(futures, waiter) != FUTURE_NONE)
        wait->kind = "task";
    else if (reader_is(futures->reader, waiter, "_GatheringFuture"))
        wait->kind = "gather";
    else if (kind != FUTURE_NONE && is_chained(futures, waiter, kind))
        wait->kind = "executor";
    else
        wait->kind = "future";
}

void task_wait_find(const struct futures *futures, const struct task_walk_frame *frames, size_t count, uint64_t waiter,
                    struct task_wait *wait)
{
    enum future_kind kind = future_kind(futures, waiter);
    struct python_frame text;

    *wait = (struct task_wait){.descriptor = -1};
    wait->ready = kind != FUTURE_NONE && future_state(futures, waiter, kind) != TASK_PENDING;
    if (waiter)
        fill_waiter(futures, waiter, wait);
    /* A task, or a gather of some: its own name says more than the frame that awaits it. */
    if (wait->kind && (!strcmp(wait->kind, "task") || !strcmp(wait->kind, "gather")))
        return;
    for (size_t i = 0; i < count; i++) {
        const struct wait_place *place =
            reader_describe_frame(futures->reader, &frames[i].frame, &text) ? find_place(&text) : NULL;
        if (place) {
            fill_place(futures->reader, &frames[i].frame, place, wait);
            return;
        }
    }
}

/* ---------------------------------------------------------------- its awaiters */

/* A walk from a future to the tasks that await it. */
struct awaiters {
    const struct futures *futures;
    uint64_t visited[VISITED_MAX];
    size_t visited_count;
    uint64_t *tasks;
    size_t count, room;
    bool out_of_memory;
};

static bool was_visited(struct awaiters *awaiters, uint64_t future)
{
    for (size_t i = 0; i < awaiters->visited_count; i++) {
        if (awaiters->visited[i] == future)
            return true;
    }
    if (awaiters->visited_count == VISITED_MAX)
        return true;
    awaiters->visited[awaiters->visited_count++] = future;
    return false;
}

static void add_awaiter(struct awaiters *awaiters, uint64_t task)
{
    for (size_t i = 0; i < awaiters->count; i++) {
        if (awaiters->tasks[i] == task)
            return;
    }
    if (awaiters->count == awaiters->room) {
        size_t room = awaiters->room ? awaiters->room * 2 : 4;
        uint64_t *larger = reallocarray(awaiters->tasks, room, sizeof(*larger));

        awaiters->out_of_memory |= !larger;
        if (!larger)
            return;
        awaiters->tasks = larger;
        awaiters->room = room;
    }
    awaiters->tasks[awaiters->count++] = task;
}

static void visit_future(struct awaiters *awaiters, uint64_t future, unsigned depth);

/* What a callback belongs to: a task that it wakes, a group, a future that it goes on with. */
static void visit_owner(struct awaiters *awaiters, uint64_t owner, unsigned depth)
{
    struct object_reader *reader = awaiters->futures->reader;

    if (!owner)
        return;
    if (future_task_kind(awaiters->futures, owner) != FUTURE_NONE)
        add_awaiter(awaiters, owner);
    else if (future_kind(awaiters->futures, owner) != FUTURE_NONE)
        visit_future(awaiters, owner, depth + 1);
    else if (reader_is_derived(reader, owner, "TaskGroup"))
        visit_owner(awaiters, reader_attribute(reader, owner, "_parent_task"), depth);
}

/* The futures of a tuple: a partial's arguments; of a closure the cells' contents. */
static void visit_tuple(struct awaiters *awaiters, uint64_t tuple, bool cells, unsigned depth)
{
    struct object_reader *reader = awaiters->futures->reader;
    scoped_free uint64_t *items = NULL;
    size_t count;

    if (!tuple || !reader_items(reader, tuple, &items, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        uint64_t item = cells ? reader_field(reader, items[i], 0) : items[i];
        if (future_kind(awaiters->futures, item) != FUTURE_NONE &&
            future_task_kind(awaiters->futures, item) == FUTURE_NONE)
            visit_future(awaiters, item, depth + 1);
    }
}

static void visit_callback(struct awaiters *awaiters, uint64_t callback, unsigned depth)
{
    struct object_reader *reader = awaiters->futures->reader;

    if (reader_is(reader, callback, "builtin_function_or_method") || reader_is(reader, callback, "method"))
        visit_owner(awaiters, reader_field(reader, callback, 1), depth);
    else if (reader_is(reader, callback, "TaskWakeupMethWrapper")) /* 3.8 */
        visit_owner(awaiters, reader_field(reader, callback, 0), depth);
    else if (reader_is(reader, callback, "functools.partial"))
        visit_tuple(awaiters, reader_field(reader, callback, 1), false, depth);
    else if (reader_is(reader, callback, "function"))
        visit_tuple(awaiters, reader_function_closure(reader, callback), true, depth);
}

/* By what is noted. */
static bool visit_noted(struct awaiters *awaiters, uint64_t future, enum future_kind kind, unsigned depth)
{
    scoped_free uint64_t *items = NULL;
    size_t count;

    if (!future_awaiters(awaiters->futures, future, kind, &items, &count)) {
        awaiters->out_of_memory = true;
        return true;
    }
    for (size_t i = 0; i < count; i++)
        visit_owner(awaiters, items[i], depth);
    return count > 0;
}

static void visit_future(struct awaiters *awaiters, uint64_t future, unsigned depth)
{
    enum future_kind kind = future_kind(awaiters->futures, future);
    scoped_free uint64_t *callbacks = NULL;
    size_t count;

    if (kind == FUTURE_NONE || depth > AWAITERS_DEPTH || was_visited(awaiters, future) ||
        visit_noted(awaiters, future, kind, depth))
        return;
    if (!future_callbacks(awaiters->futures, future, kind, &callbacks, &count)) {
        awaiters->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        visit_callback(awaiters, callbacks[i], depth);
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

bool task_awaiters_find(const struct futures *futures, uint64_t future, uint64_t **tasks, size_t *count)
{
    struct awaiters awaiters = {.futures = futures};

    visit_future(&awaiters, future, 0);
    if (awaiters.count)
        qsort(awaiters.tasks, awaiters.count, sizeof(*awaiters.tasks), compare_addresses);
    *tasks = awaiters.tasks;
    *count = awaiters.count;
    return !awaiters.out_of_memory;
}
