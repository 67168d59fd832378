/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/threads.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "attach/syscalls.h"

#define HOLD_TIMEOUT_MS 1000
#define NAMES_MAX       100000

/* ---------------------------------------------------------------- the kernel */

static int by_rising_tid(const void *a, const void *b)
{
    return ((const struct activity *)a)->tid - ((const struct activity *)b)->tid;
}

/* A core lists the one that ended it first. */
static void look_at_core(struct thread_rows *rows, const struct core_thread *threads)
{
    for (size_t i = 0; i < rows->activity_count; i++)
        activity_look_core(&rows->activities[i], &threads[i]);
    qsort(rows->activities, rows->activity_count, sizeof(*rows->activities), by_rising_tid);
}

static struct error *read_activities(struct thread_rows *rows, const struct session *session)
{
    const struct core *core = session->process.core;
    const struct core_thread *threads = core ? core_threads(core, &rows->activity_count) : NULL;
    scoped_free pid_t *tids = NULL;
    struct error *error = core ? NULL : process_list_threads(session->process.pid, &tids, &rows->activity_count);

    if (error)
        return error;
    rows->activities = calloc(rows->activity_count + 1, sizeof(*rows->activities));
    rows->blocked = calloc(rows->activity_count + 1, sizeof(*rows->blocked));
    if (!rows->activities || !rows->blocked)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    if (core)
        look_at_core(rows, threads);
    for (size_t i = 0; i < rows->activity_count && !core; i++)
        activity_look(&rows->activities[i], session->process.pid, tids[i]);
    return NULL;
}

static struct activity *find_activity(const struct thread_rows *rows, pid_t tid)
{
    for (size_t i = 0; i < rows->activity_count; i++) {
        if (rows->activities[i].tid == tid)
            return &rows->activities[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------- the stacks */

static struct error *read_stacks(struct thread_rows *rows, bool held)
{
    scoped_free struct activity **seen = calloc(rows->state_count + 1, sizeof(struct activity *));

    if (!seen)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    for (size_t i = 0; i < rows->state_count; i++) {
        /* Up to 3.12 the state of another interpreter names the thread that made it, not the one that is in it. */
        bool sure = !rows->states[i].interpreter_id || rows->stacks.view.runtime.layout.minor > 12;
        seen[i] = sure ? find_activity(rows, rows->states[i].tid) : NULL;
    }
    return stacks_read(&rows->stacks, rows->states, held ? NULL : seen, rows->state_count);
}

static struct error *read_states(struct thread_rows *rows, const struct session *session)
{
    if (!session->runtime.initialized || session->runtime.finalizing)
        return NULL;
    return runtime_read_threads(&rows->stacks.view.runtime, &rows->states, &rows->state_count);
}

static struct error *read_python(struct thread_rows *rows, const struct session *session, bool held)
{
    struct error *error = read_states(rows, session);

    if (!error)
        error = read_stacks(rows, held);
    return error ? error : greenlets_read(&rows->greenlets, &session->maps, rows->states, rows->state_count, held);
}

/* Before anything is stopped, as it takes its time. */
static struct error *find_greenlets(struct thread_rows *rows, const struct session *session)
{
    uint64_t began = tracee_clock();
    struct error *error = greenlets_find(&rows->greenlets, &session->maps);

    rows->search_ns = tracee_clock() - began;
    return error;
}

/* ---------------------------------------------------------------- C's stacks */

static bool is_native_wanted(const struct thread_rows *rows, const struct thread_request *request, pid_t tid)
{
    bool python = false, main = false;

    for (size_t i = 0; i < rows->state_count; i++) {
        python |= rows->states[i].tid == tid;
        main |= rows->states[i].tid == tid && rows->states[i].main;
    }
    if (request->only || request->only_main)
        return request->only_main ? main : tid == request->only;
    return python || request->outsiders;
}

static void copy_held(struct thread_rows *rows, const struct unwinder *unwinder, size_t index)
{
    struct thread_native *native = &rows->natives[index];

    native->asked = true;
    native->error = unwinder_copy(unwinder, rows->activities[index].tid, &native->copy);
}

/* A thread state goes away by its own thread alone: one that is listed while that is held can be read. */
static void read_states_of(struct thread_rows *rows, const struct session *session, pid_t tid)
{
    for (size_t i = 0; i < rows->state_count; i++) {
        if (rows->states[i].tid == tid && runtime_is_listed(&session->runtime, &rows->states[i]))
            stacks_read_held(&rows->stacks, i, &rows->states[i]);
    }
}

/* Stops one thread for as long as its stacks, Python's and C's, take to be copied. */
static void read_one(struct thread_rows *rows, const struct session *session, const struct unwinder *unwinder,
                     size_t index)
{
    struct tracee tracee;
    pid_t tid = rows->activities[index].tid;
    struct error *error = tracee_stop(&tracee, &session->process, tid, HOLD_TIMEOUT_MS);

    if (error) {
        rows->natives[index].asked = true;
        rows->natives[index].error = error;
        return;
    }
    read_states_of(rows, session, tid);
    copy_held(rows, unwinder, index);
    uint64_t held = tracee_release(&tracee);
    rows->pause_ns = held > rows->pause_ns ? held : rows->pause_ns;
}

static void walk_natives(struct thread_rows *rows, struct unwinder *unwinder)
{
    for (size_t i = 0; i < rows->activity_count; i++) {
        struct thread_native *native = &rows->natives[i];

        if (native->asked && !native->error)
            native->error = unwinder_walk(unwinder, &native->copy, &native->frames, &native->count);
        unwind_copy_deinit(&native->copy);
    }
}

/* ---------------------------------------------------------------- each way to read */

/* What they wait for is what they waited for before they were stopped. */
static struct error *read_held(struct thread_rows *rows, const struct session *session,
                               const struct thread_request *request, const struct unwinder *unwinder)
{
    struct thread_group group;
    struct error *error = thread_group_stop(&group, &session->process, 0, HOLD_TIMEOUT_MS);

    if (error)
        return error;
    error = read_python(rows, session, true);
    for (size_t i = 0; !error && unwinder && i < rows->activity_count; i++) {
        if (is_native_wanted(rows, request, rows->activities[i].tid))
            copy_held(rows, unwinder, i);
    }
    rows->pause_ns = thread_group_release(&group);
    return error;
}

/* Those that aren't wanted are read as they run. */
static struct error *read_each(struct thread_rows *rows, const struct session *session,
                               const struct thread_request *request, const struct unwinder *unwinder)
{
    struct error *error = read_python(rows, session, false);

    for (size_t i = 0; !error && i < rows->activity_count; i++) {
        if (is_native_wanted(rows, request, rows->activities[i].tid))
            read_one(rows, session, unwinder, i);
    }
    return error;
}

/* All of a core is of one instant. */
static struct error *read_core(struct thread_rows *rows, const struct session *session, const struct thread_request *request,
                               const struct unwinder *unwinder)
{
    struct error *error = read_python(rows, session, true);

    for (size_t i = 0; !error && unwinder && i < rows->activity_count; i++) {
        if (is_native_wanted(rows, request, rows->activities[i].tid))
            copy_held(rows, unwinder, i);
    }
    return session_explain_error(&session->process, error);
}

static struct error *read_with_natives(struct thread_rows *rows, const struct session *session,
                                       const struct thread_request *request)
{
    struct unwinder *unwinder;
    struct error *error = unwinder_create(&unwinder, &session->process, &session->maps);

    if (error)
        return error;
    rows->natives = calloc(rows->activity_count + 1, sizeof(*rows->natives));
    if (!rows->natives)
        error = error_create(ERROR_SYSTEM, NULL, "out of memory for the C stacks");
    else if (session->process.core)
        error = read_core(rows, session, request, unwinder);
    else
        error = request->hold ? read_held(rows, session, request, unwinder) : read_each(rows, session, request, unwinder);
    if (!error)
        walk_natives(rows, unwinder);
    unwinder_destroy(unwinder);
    return error;
}

static struct error *read_all(struct thread_rows *rows, const struct session *session,
                              const struct thread_request *request)
{
    struct error *error = request->greenlets ? find_greenlets(rows, session) : NULL;

    if (error || (error = read_activities(rows, session)))
        return error;
    activity_read_blocked(rows->activities, rows->activity_count, rows->blocked);
    uint64_t began = tracee_clock();
    if (request->native)
        error = read_with_natives(rows, session, request);
    else if (session->process.core)
        error = read_core(rows, session, request, NULL);
    else
        error = request->hold ? read_held(rows, session, request, NULL) : read_python(rows, session, false);
    rows->reading_ns = tracee_clock() - began;
    return error;
}

/* ------------------------------------------------------------------ the names */

/* Of one interpreter: threading._active, {ident: Thread}. */
struct naming {
    struct thread_rows *rows;
    int64_t interpreter;
};

static void take_name(const struct naming *naming, uint64_t key, uint64_t thread)
{
    struct object_reader *reader = &naming->rows->reader;
    char text[256];
    int64_t ident;

    if (!reader_int(reader, key, &ident) ||
        !reader_text(reader, reader_attribute(reader, thread, "_name"), text, sizeof(text)))
        return;
    for (size_t i = 0; i < naming->rows->count; i++) {
        struct thread_row *row = &naming->rows->items[i];
        if (row->state && row->state->pthread == (uint64_t)ident && row->state->interpreter_id == naming->interpreter &&
            !row->name)
            row->name = strdup(text);
    }
}

static void read_names_of(const struct naming *naming, struct address interpreter)
{
    struct object_reader *reader = &naming->rows->reader;
    uint64_t module = reader_module_dict(reader, interpreter.value, "threading"), key, value;
    struct dict_entries entries;

    if (!reader_find_entries(reader, reader_dict_get(reader, module, "_active"), &entries))
        return;
    for (uint64_t i = 0; i < entries.count && i < NAMES_MAX; i++) {
        if (reader_entry(reader, &entries, i, &key, &value))
            take_name(naming, key, value);
    }
}

static void read_names(struct thread_rows *rows)
{
    for (size_t i = 0; rows->objects_known && i < rows->state_count; i++) {
        const struct thread_state *state = &rows->states[i];
        struct naming naming = {rows, state->interpreter_id};

        /* States are listed interpreter by interpreter. */
        if (!i || rows->states[i - 1].interpreter.value != state->interpreter.value)
            read_names_of(&naming, state->interpreter);
    }
}

/* ------------------------------------------------------------------- the rows */

static enum thread_wait find_wait(const struct thread_row *row, const struct runtime *runtime)
{
    const struct activity *activity = row->activity;

    if (activity->syscall < 0 || activity->state == 'R')
        return THREAD_RUNS;
    if (syscall_is_futex(activity->syscall)) {
        bool gil = row->state && runtime_is_gil_wait(runtime, row->state, address_of(activity->arguments[0]));
        return gil ? THREAD_WAITS_GIL : THREAD_WAITS_LOCK;
    }
    return syscall_is_idle(activity->syscall) ? THREAD_WAITS_WORK : THREAD_WAITS_CALL;
}

static void add_row(struct thread_rows *rows, const struct session *session, size_t activity, size_t state, bool first)
{
    struct thread_row *row = &rows->items[rows->count++];

    row->activity = &rows->activities[activity];
    row->blocked_ns = rows->blocked[activity];
    row->main = row->activity->tid == session->process.pid;
    if (first && rows->natives && rows->natives[activity].asked)
        row->native = &rows->natives[activity];
    if (state < rows->state_count) {
        row->state = &rows->states[state];
        row->stack = &rows->stacks.items[state];
    }
    row->wait = find_wait(row, &rows->stacks.view.runtime);
}

bool thread_native_is_loop(const struct unwind_frame *frame)
{
    static const char name[] = "_PyEval_EvalFrameDefault";

    /* A compiler's part of it is called _PyEval_EvalFrameDefault.cold, and so on. */
    return frame->function && !strncmp(frame->function, name, sizeof(name) - 1) &&
           (!frame->function[sizeof(name) - 1] || frame->function[sizeof(name) - 1] == '.');
}

static struct error *make_rows(struct thread_rows *rows, const struct session *session)
{
    rows->items = calloc(rows->activity_count + rows->state_count + 1, sizeof(*rows->items));
    if (!rows->items)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    for (size_t i = 0; i < rows->activity_count; i++) {
        size_t before = rows->count;

        for (size_t j = 0; j < rows->state_count; j++) {
            if (rows->states[j].tid == rows->activities[i].tid)
                add_row(rows, session, i, j, rows->count == before);
        }
        rows->python_count += rows->count > before;
        if (rows->count == before)
            add_row(rows, session, i, SIZE_MAX, true);
    }
    return NULL;
}

struct error *thread_rows_read(struct thread_rows *rows, const struct session *session,
                               const struct thread_request *request)
{
    *rows = (struct thread_rows){0};
    stacks_init(&rows->stacks, &session->runtime);
    greenlets_init(&rows->greenlets, &session->runtime);
    struct error *unknown = reader_init(&rows->reader, &rows->stacks.view.runtime);
    rows->objects_known = !unknown;
    error_destroy(unknown);
    struct error *error = read_all(rows, session, request);
    if (!error)
        error = make_rows(rows, session);
    if (!error)
        read_names(rows);
    return error;
}

void thread_rows_deinit(struct thread_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        free(rows->items[i].name);
    for (size_t i = 0; rows->natives && i < rows->activity_count; i++) {
        unwind_copy_deinit(&rows->natives[i].copy);
        unwind_frames_destroy(rows->natives[i].frames, rows->natives[i].count);
        error_destroy(rows->natives[i].error);
    }
    free(rows->natives);
    free(rows->items);
    free(rows->states);
    free(rows->activities);
    free(rows->blocked);
    reader_deinit(&rows->reader);
    greenlets_deinit(&rows->greenlets);
    stacks_deinit(&rows->stacks);
    *rows = (struct thread_rows){0};
}

/* -------------------------------------------------------------------- words */

const char *thread_row_state(const struct thread_row *row)
{
    switch (row->activity->state) {
    case 'R':
        return "running";
    case 'T':
        return "stopped";
    case 't':
        return "traced";
    case 'Z':
    case 'X':
        return "ended";
    case '?':
        return "unknown";
    default:
        return "blocked";
    }
}

const char *thread_row_wait(const struct thread_row *row)
{
    static const char *const words[] = {NULL, "gil", "lock", "work", "call"};

    return words[row->wait];
}

const char *thread_row_describe(const struct thread_row *row, char *text, size_t room)
{
    const char *state = thread_row_state(row);
    bool blocked = !strcmp(state, "blocked");

    switch (row->wait) {
    case THREAD_RUNS:
        snprintf(text, room, "%s", state);
        break;
    case THREAD_WAITS_GIL:
        snprintf(text, room, "%swaits for the GIL", blocked ? "" : "stopped, ");
        break;
    case THREAD_WAITS_LOCK:
        snprintf(text, room, "%swaits for a lock", blocked ? "" : "stopped, ");
        break;
    case THREAD_WAITS_WORK:
    case THREAD_WAITS_CALL:
        snprintf(text, room, "%s in %s", blocked && row->wait == THREAD_WAITS_WORK ? "idle" : state,
                 syscall_name(row->activity->syscall));
        break;
    }
    return text;
}

const char *thread_row_since(const struct thread_row *row, char *text, size_t room)
{
    text[0] = '\0';
    if (row->wait == THREAD_RUNS || row->blocked_ns < 0)
        return text;
    if (row->blocked_ns >= 1000000000)
        return cli_format_duration(text, room, (double)row->blocked_ns / 1e9);
    snprintf(text, room, "%lld ms", (long long)(row->blocked_ns / 1000000));
    return text;
}

void thread_row_json(struct json *json, const struct thread_row *row)
{
    bool blocked = row->wait != THREAD_RUNS;

    json_integer(json, "tid", row->activity->tid);
    json_string(json, "name", row->activity->name);
    json_string(json, "python_name", row->name);
    json_boolean(json, "python", row->state != NULL);
    json_boolean(json, "main", row->main);
    if (row->state)
        json_integer(json, "interpreter", row->state->interpreter_id);
    else
        json_null(json, "interpreter");
    json_string(json, "state", thread_row_state(row));
    json_string(json, "syscall", blocked ? syscall_name(row->activity->syscall) : NULL);
    json_string(json, "waits_for", thread_row_wait(row));
    if (blocked && row->blocked_ns >= 0)
        json_integer(json, "blocked_us", row->blocked_ns / 1000);
    else
        json_null(json, "blocked_us");
    json_boolean(json, "holds_gil", row->state && row->state->holds_gil);
}
