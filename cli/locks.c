/* SPDX-License-Identifier: GPL-3.0-or-later */
/* locks: which thread waits for which lock, since when, and who has it. All of it is read; nothing is stopped or run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/session.h"
#include "cli/threads.h"
#include "runtime/locks.h"

/* Reads of threads that take locks all the time, before they are shown as changing. */
#define LOCKS_TRIES     3
#define HOLD_TIMEOUT_MS 1000

struct locks_view {
    const struct cli_options *options;
    struct thread_rows rows;
    struct locks locks;
};

/* How a kind is said, and what is said where nobody can be named. */
static const struct lock_kind {
    const char *kind, *text, *nobody;
} lock_kinds[] = {
    {"lock", "a Lock", "a Lock has no owner: which thread took it isn't noted anywhere"},
    {"rlock", "an RLock", "nobody has it any more: the thread is about to take it"},
    {"semlock", "a lock of multiprocessing", "it is shared with other processes, and notes no owner"},
    {"semaphore", "a semaphore", "a semaphore has no owner: some thread has to release it"},
    {"condition", "a condition to be notified", "a condition has no owner: some thread has to notify it"},
    {"event", "an event to be set", "an event has no owner: some thread has to set it"},
    {"barrier", "a barrier", "the other parties of it have to come"},
    {"queue", "a queue", "a queue has no owner: some thread has to put, or take, an item"},
    {"future", "a future", "whoever works on it has to end it"},
    {"worker", "work, as a thread of a pool does that is idle", NULL},
    {"join", "a thread to end", "the thread isn't known any more"},
    {"shutdown", "the threads that are left to end: Python is ending", "which isn't known"},
    {"start", "a thread to start", NULL},
    {"import", "the import of a module", "the module's lock is free: the thread is about to take it"},
    {"gil", "the GIL", "it is changing hands"},
    {"futex", "something that is no lock of Python's", "it is in C code: safepoint stack --native shows where"},
};

static const struct lock_kind *find_kind(const char *kind)
{
    size_t count = sizeof(lock_kinds) / sizeof(lock_kinds[0]);

    for (size_t i = 0; i < count; i++) {
        if (!strcmp(lock_kinds[i].kind, kind))
            return &lock_kinds[i];
    }
    return &lock_kinds[count - 1];
}

/* The row of a thread state; NULL: it ended meanwhile. */
static const struct thread_row *row_of(const struct locks_view *view, size_t thread)
{
    for (size_t i = 0; thread < view->rows.state_count && i < view->rows.count; i++) {
        if (view->rows.items[i].state == &view->rows.states[thread])
            return &view->rows.items[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------------- text */

static void print_escaped(const char *text)
{
    scoped_free char *escaped = cli_escape_line(text);

    fputs(escaped ? escaped : "?", cli_output);
}

static void print_thread(const struct locks_view *view, size_t thread)
{
    const struct thread_row *row = row_of(view, thread);

    fprintf(cli_output, "thread %d", thread < view->rows.state_count ? view->rows.states[thread].tid : 0);
    if (row && row->name) {
        fputs(" (", cli_output);
        print_escaped(row->name);
        fputc(')', cli_output);
    }
}

static void print_frame(const struct python_frame *frame)
{
    print_escaped(frame->function);
    fputs("  ", cli_output);
    print_escaped(frame->file);
    fprintf(cli_output, ":%d", frame->line);
}

static void print_object(const char *before, const char *type, const char *name, uint64_t address)
{
    fputs(before, cli_output);
    print_escaped(type);
    if (name[0]) {
        fputs(" '", cli_output);
        print_escaped(name);
        fputc('\'', cli_output);
    }
    fprintf(cli_output, " at %#" PRIx64, address);
}

static void print_what(const struct locks_view *view, const struct lock_wait *wait)
{
    const struct thread_row *row = row_of(view, wait->thread);
    char text[32];

    print_thread(view, wait->thread);
    fprintf(cli_output, " waits for %s", find_kind(wait->kind)->text);
    bool is_lock = wait->object && (!strcmp(wait->kind, "lock") || !strcmp(wait->kind, "rlock") || !wait->subject);
    if (is_lock)
        print_object(": ", wait->type, "", wait->object);
    if (wait->subject)
        print_object(is_lock ? " of " : ": ", wait->subject_type, wait->subject_name, wait->subject);
    if (row && row->blocked_ns >= 0)
        fprintf(cli_output, ", for %s", cli_format_duration(text, sizeof(text), (double)row->blocked_ns / 1e9));
    if (wait->timed && strcmp(wait->kind, "gil") != 0)
        fputs(" (with a time limit)", cli_output);
    fputs(wait->changing ? " (it ran meanwhile: this may be over)\n" : "\n", cli_output);
}

static void print_owner(const struct locks_view *view, const struct lock_wait *wait)
{
    static const char *const verbs[] = {
        [LOCK_BY_FIELD] = "held by ", [LOCK_BY_FRAME] = "held by ", [LOCK_BY_TARGET] = "that is "};

    if (!wait->owner_pthread) {
        if (find_kind(wait->kind)->nobody)
            fprintf(cli_output, "    %s\n", find_kind(wait->kind)->nobody);
        return;
    }
    fprintf(cli_output, "    %s", verbs[wait->witness]);
    if (wait->owner == SIZE_MAX)
        fprintf(cli_output, "a thread that is gone (its ident was %#" PRIx64 "): it will never be released",
                wait->owner_pthread);
    else
        print_thread(view, wait->owner);
    if (wait->count > 1)
        fprintf(cli_output, ", %" PRId64 " times", wait->count);
    if (wait->witness == LOCK_BY_FRAME) {
        fputs(", by a `with` of it in ", cli_output);
        print_frame(&wait->owner_frame);
    }
    fputc('\n', cli_output);
}

static void print_wait(const struct locks_view *view, const struct lock_wait *wait)
{
    print_what(view, wait);
    if (wait->has_frame) {
        fputs("    in ", cli_output);
        print_frame(&wait->frame);
        fputc('\n', cli_output);
    }
    print_owner(view, wait);
}

static bool is_circle_timed(const struct locks *locks, size_t circle)
{
    for (size_t i = locks->circle_first[circle]; i < locks->circle_first[circle + 1]; i++) {
        if (locks->waits[locks->circles[i]].timed)
            return true;
    }
    return false;
}

static void print_circle(const struct locks_view *view, size_t circle)
{
    const struct locks *locks = &view->locks;

    fputs(is_circle_timed(locks, circle) ? "deadlock, until a time limit ends it:\n" : "deadlock:\n", cli_output);
    for (size_t i = locks->circle_first[circle]; i < locks->circle_first[circle + 1]; i++) {
        const struct lock_wait *wait = &locks->waits[locks->circles[i]];
        fputs("    ", cli_output);
        print_thread(view, wait->thread);
        fprintf(cli_output, " waits for %s at %#" PRIx64 ", ", find_kind(wait->kind)->text,
                wait->subject ? wait->subject : wait->object);
        fputs(wait->witness == LOCK_BY_TARGET ? "which is " : "held by ", cli_output);
        print_thread(view, wait->owner);
        fputc('\n', cli_output);
    }
}

static void print_text(const struct locks_view *view)
{
    for (size_t i = 0; i < view->locks.count; i++)
        print_wait(view, &view->locks.waits[i]);
    for (size_t i = 0; i < view->locks.circle_count; i++)
        print_circle(view, i);
    if (!view->locks.count)
        fprintf(cli_output, "none of %zu threads of Python waits for a lock\n", view->rows.state_count);
}

/* ---------------------------------------------------------------------- JSON */

static void json_address(struct json *json, const char *name, uint64_t address)
{
    char text[24];

    snprintf(text, sizeof(text), "%#" PRIx64, address);
    json_string(json, name, address ? text : NULL);
}

static void json_tid(struct json *json, const struct locks_view *view, const char *name, size_t thread)
{
    if (thread < view->rows.state_count && view->rows.states[thread].tid)
        json_integer(json, name, view->rows.states[thread].tid);
    else
        json_null(json, name);
}

static void json_frame(struct json *json, const char *name, const struct python_frame *frame, bool known)
{
    if (!known) {
        json_null(json, name);
        return;
    }
    json_begin_object(json, name);
    json_string(json, "function", frame->function);
    json_string(json, "file", frame->file);
    json_integer(json, "line", frame->line);
    json_end_object(json);
}

static void json_owner(struct json *json, const struct locks_view *view, const struct lock_wait *wait)
{
    static const char *const witnesses[] = {
        [LOCK_BY_FIELD] = "lock", [LOCK_BY_FRAME] = "with", [LOCK_BY_TARGET] = "thread"};
    const struct thread_row *row = row_of(view, wait->owner);

    if (!wait->owner_pthread) {
        json_null(json, "owner");
        return;
    }
    json_begin_object(json, "owner");
    json_tid(json, view, "tid", wait->owner);
    json_string(json, "name", row ? row->name : NULL);
    json_boolean(json, "gone", wait->owner == SIZE_MAX);
    json_string(json, "known_by", witnesses[wait->witness]);
    if (wait->count)
        json_integer(json, "count", wait->count);
    json_frame(json, "frame", &wait->owner_frame, wait->witness == LOCK_BY_FRAME);
    json_end_object(json);
}

static void json_object(struct json *json, const char *name, uint64_t address, const char *type, const char *text)
{
    if (!address) {
        json_null(json, name);
        return;
    }
    json_begin_object(json, name);
    json_address(json, "address", address);
    json_string(json, "type", type);
    json_string(json, "name", text[0] ? text : NULL);
    json_end_object(json);
}

static void json_wait(struct json *json, const struct locks_view *view, const struct lock_wait *wait)
{
    const struct thread_row *row = row_of(view, wait->thread);

    json_begin_object(json, NULL);
    json_tid(json, view, "tid", wait->thread);
    json_string(json, "name", row ? row->name : NULL);
    json_string(json, "kind", wait->kind);
    json_object(json, "lock", wait->object, wait->type, "");
    json_object(json, "of", wait->subject, wait->subject_type, wait->subject_name);
    json_address(json, "blocked_on", wait->address);
    json_boolean(json, "checked", wait->checked);
    json_boolean(json, "timed", wait->timed);
    if (row && row->blocked_ns >= 0)
        json_decimal(json, "for_s", (double)row->blocked_ns / 1e9);
    else
        json_null(json, "for_s");
    json_boolean(json, "changing", wait->changing);
    json_owner(json, view, wait);
    json_frame(json, "frame", &wait->frame, wait->has_frame);
    json_end_object(json);
}

static void print_json(struct json *json, const struct locks_view *view)
{
    const struct locks *locks = &view->locks;

    json_begin_object(json, "result");
    json_unsigned(json, "threads", view->rows.state_count);
    json_begin_array(json, "waits");
    for (size_t i = 0; i < locks->count; i++)
        json_wait(json, view, &locks->waits[i]);
    json_end_array(json);
    json_begin_array(json, "deadlocks");
    for (size_t i = 0; i < locks->circle_count; i++) {
        json_begin_array(json, NULL);
        for (size_t j = locks->circle_first[i]; j < locks->circle_first[i + 1]; j++)
            json_tid(json, view, NULL, locks->waits[locks->circles[j]].thread);
        json_end_array(json);
    }
    json_end_array(json);
    json_end_object(json);
}

/* ----------------------------------------------------------------------- run */

/* With every thread stopped for as long as it takes, where that was asked for: what each is in is then looked at anew. */
static struct error *read_seen(struct locks_view *view, const struct session *session, const struct activity **seen)
{
    const struct thread_rows *rows = &view->rows;
    bool hold = view->options->stack.hold, still = hold || session->process.core;
    struct thread_group group;
    struct error *error = NULL;

    if (hold && (error = thread_group_stop(&group, &session->process, 0, HOLD_TIMEOUT_MS)))
        return error;
    for (size_t i = 0; i < rows->activity_count && hold; i++)
        activity_look(&rows->activities[i], session->process.pid, rows->activities[i].tid);
    error = locks_read(&view->locks, &session->runtime, rows->states, seen, rows->state_count, still);
    if (hold)
        cli_note(view->options, "all threads were stopped for %llu us",
                 (unsigned long long)(thread_group_release(&group) / 1000));
    return session_explain_error(&session->process, error);
}

static struct error *read_once(struct locks_view *view, const struct session *session)
{
    const struct thread_request request = {.hold = false};
    struct error *error = thread_rows_read(&view->rows, session, &request);
    scoped_free const struct activity **seen = NULL;

    if (error)
        return error;
    if (!(seen = calloc(view->rows.state_count + 1, sizeof(const struct activity *))))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    for (size_t i = 0; i < view->rows.state_count; i++) {
        const struct thread_row *row = row_of(view, i);
        seen[i] = row ? row->activity : NULL;
    }
    return read_seen(view, session, seen);
}

static bool is_changing(const struct locks *locks)
{
    for (size_t i = 0; i < locks->count; i++) {
        if (locks->waits[i].changing && strcmp(locks->waits[i].kind, "gil") != 0)
            return true;
    }
    return false;
}

static void view_deinit_locks(struct locks_view *view)
{
    locks_deinit(&view->locks);
    thread_rows_deinit(&view->rows);
}

static struct error *read_locks(struct locks_view *view, const struct session *session)
{
    struct error *error = read_once(view, session);

    for (unsigned i = 1; i < LOCKS_TRIES && !error && is_changing(&view->locks); i++) {
        view_deinit_locks(view);
        error = read_once(view, session);
    }
    return error;
}

static struct error *locks_run(const struct cli_options *options, struct json *json)
{
    struct locks_view view = {.options = options};
    struct session session;
    struct error *error = session_open_target(&session, options);

    if (error)
        return error;
    if (options->json)
        session_json_target(json, &session);
    error = read_locks(&view, &session);
    if (!error)
        error = process_check(&session.process);
    if (!error && options->json)
        print_json(json, &view);
    else if (!error)
        print_text(&view);
    view_deinit_locks(&view);
    session_close(&session);
    return error;
}

const struct cli_command cli_command_locks = {
    .name = "locks",
    .synopsis = "PID or CORE [--stop]",
    .summary = "which thread waits for which lock, since when, and who has it",
    .description =
        "Everything is read from outside: nothing is stopped, no code runs in the process. A lock is named when the\n"
        "address that its thread is blocked on is that lock's own. Threads that wait for each other are shown as a\n"
        "deadlock. A Lock notes no owner; a thread that is inside a `with` of it is found all the same.",
    .example = "safepoint locks 4711",
    .takes = CLI_TAKES_CORE | CLI_TAKES_STOP,
    .words_min = 1,
    .words_max = 1,
    .run = locks_run,
};
