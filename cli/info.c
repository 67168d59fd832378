/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info: one process and what its threads are doing. All of it is read; nothing is stopped or run. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "cli/core_info.h"
#include "cli/host.h"
#include "cli/session.h"
#include "cli/snapshot.h"
#include "cli/table.h"

#define INFO_FRAME_TRIES 8

struct info_thread {
    pid_t tid;
    char name[64];
    char state;       /* as in status */
    long syscall;     /* -1: none, or unknown */
    bool python, main, holds_gil;
    int64_t interpreter;
    bool has_frame;
    struct python_frame frame;
};

struct info {
    struct session *session;
    struct info_thread *threads;
    size_t count, python_count;
    bool gil_known, gil_held;
    bool remote_known, remote_enabled; /* known: this version has the switch */
    uint64_t rss, peak;
    long descriptors;
    char *container, *executable, *command;
    struct error *refusal;
};

/* ---------------------------------------------------------------- threads */

static const char *info_state(const struct info_thread *thread)
{
    switch (thread->state) {
    case 'R':
        return "running";
    case 'T':
        return "stopped";
    case 't':
        return "traced";
    case 'Z':
    case 'X':
        return "ended";
    default:
        return "blocked";
    }
}

/* A running thread tears what we read: again, until it holds still for a moment. */
static void info_read_frame(struct info_thread *thread, const struct runtime *runtime,
                            const struct thread_state *state)
{
    struct error *error = NULL;

    for (int i = 0; i < INFO_FRAME_TRIES; i++) {
        thread->has_frame = false;
        error = runtime_read_top_frame(runtime, state, &thread->frame, &thread->has_frame);
        if (!error)
            return;
        error_destroy(error);
        thread->has_frame = false;
    }
}

static void info_read_thread(struct info_thread *thread, const struct session *session,
                             const struct thread_state *states, size_t count)
{
    struct process_status status;
    struct error *error = process_read_status(session->process.pid, thread->tid, &status);

    thread->state = error ? 'X' : status.state;
    snprintf(thread->name, sizeof(thread->name), "%s", error ? "?" : status.name);
    error_destroy(error);
    thread->syscall = thread->state == 'R' ? -1 : process_read_syscall(session->process.pid, thread->tid, NULL);
    thread->main = thread->tid == session->process.pid;
    for (size_t i = 0; i < count; i++) {
        /* A thread can have a state in each interpreter: the one that runs a frame tells most. */
        if (states[i].tid != thread->tid || thread->has_frame)
            continue;
        thread->python = true;
        thread->interpreter = states[i].interpreter_id;
        thread->holds_gil |= states[i].holds_gil;
        info_read_frame(thread, &session->runtime, &states[i]);
    }
}

static struct error *info_read_threads(struct info *info)
{
    scoped_free struct thread_state *states = NULL;
    scoped_free pid_t *tids = NULL;
    size_t state_count = 0;
    struct error *error = process_list_threads(info->session->process.pid, &tids, &info->count);

    if (error)
        return error;
    info->threads = calloc(info->count ? info->count : 1, sizeof(*info->threads));
    if (!info->threads)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    if (info->session->runtime.initialized && !info->session->runtime.finalizing)
        error = runtime_read_threads(&info->session->runtime, &states, &state_count);
    for (size_t i = 0; !error && i < info->count; i++) {
        info->threads[i].tid = tids[i];
        info_read_thread(&info->threads[i], info->session, states, state_count);
        info->python_count += info->threads[i].python;
    }
    return error;
}

/* ------------------------------------------------------------- the process */

static void info_read_gil(struct info *info)
{
    struct address holder;
    struct error *error = runtime_read_gil(&info->session->runtime, &info->gil_held, &holder);

    info->gil_known = !error;
    error_destroy(error);
}

static void info_read_remote_debug(struct info *info)
{
    const struct runtime *runtime = &info->session->runtime;

    if (runtime->layout.interpreter.config_remote_debug == OFF_NONE)
        return;
    struct error *error = runtime_read_remote_debug(runtime, &info->remote_enabled);
    info->remote_known = !error;
    error_destroy(error);
}

static struct error *info_read(struct info *info, struct session *session)
{
    struct process_status status;
    pid_t pid = session->process.pid;
    struct error *error = process_read_status(pid, 0, &status);

    *info = (struct info){.session = session};
    if (error)
        return error;
    runtime_read_build(&session->runtime, &session->maps);
    info->rss = status.rss_bytes;
    info->peak = host_peak_rss(pid);
    info->descriptors = host_count_descriptors(pid);
    info->container = host_container(pid);
    info->executable = host_executable(pid);
    info->command = host_command(pid);
    info->refusal = host_check_attach(pid, &session->runtime);
    info_read_gil(info);
    info_read_remote_debug(info);
    if ((error = info_read_threads(info)))
        return error;
    return process_check(&session->process);
}

static void info_deinit(struct info *info)
{
    free(info->threads);
    free(info->container);
    free(info->executable);
    free(info->command);
    error_destroy(info->refusal);
}

static const struct info_thread *info_gil_holder(const struct info *info)
{
    for (size_t i = 0; i < info->count; i++) {
        if (info->threads[i].holds_gil)
            return &info->threads[i];
    }
    return NULL;
}

/* -------------------------------------------------------------------- text */

static void info_print_field(const char *name, const char *text)
{
    scoped_free char *escaped = cli_escape_line(text);

    fprintf(cli_output, "%-17s%s\n", name, escaped ? escaped : "?");
}

static void info_print_gil(const struct info *info)
{
    const struct info_thread *holder = info_gil_holder(info);
    char text[128] = "free";

    if (!info->gil_known)
        strcpy(text, "unknown");
    else if (holder)
        snprintf(text, sizeof(text), "held by thread %d (%s)", holder->tid, holder->name);
    else if (info->gil_held)
        strcpy(text, "held, and changing hands");
    else if (info->session->runtime.free_threaded)
        strcpy(text, "off (free-threaded)");
    info_print_field("GIL", text);
}

static void info_print_attach(const struct info *info)
{
    scoped_free char *text = NULL;

    if (!info->refusal)
        info_print_field("can attach", "yes");
    else if (asprintf(&text, "no: %s", error_message(info->refusal)) >= 0)
        info_print_field("can attach", text);
    if (info->refusal && error_hint(info->refusal))
        info_print_field("", error_hint(info->refusal));
}

static void info_print_summary(const struct info *info)
{
    const struct runtime *runtime = &info->session->runtime;
    char text[512], rss[32], peak[32], build[64];

    host_format_build(build, sizeof(build), runtime);
    fprintf(cli_output, "process %d: CPython %s%s%s%s\n", info->session->process.pid, runtime->version,
            build[0] ? " (" : "", build, build[0] ? ")" : "");
    info_print_field("build", runtime->build[0] ? runtime->build : "unknown");
    info_print_field("executable", info->executable ? info->executable : "unknown");
    info_print_field("command", info->command ? info->command : "unknown");
    info_print_field("container", info->container ? info->container : "none");
    info_print_field("uptime", cli_format_duration(text, sizeof(text), host_uptime(info->session->process.start_time)));
    snprintf(text, sizeof(text), "%s, at its peak %s", cli_format_size(rss, sizeof(rss), info->rss),
             cli_format_size(peak, sizeof(peak), info->peak));
    info_print_field("RSS", text);
    snprintf(text, sizeof(text), "%ld open", info->descriptors);
    info_print_field("descriptors", info->descriptors < 0 ? "unknown" : text);
    info_print_gil(info);
    info_print_field("remote debugging", runtime->layout.interpreter.config_remote_debug == OFF_NONE
                                             ? "not in this version (3.14 and later have the switch)"
                                         : !info->remote_known ? "unknown" : info->remote_enabled ? "on" : "off");
    info_print_attach(info);
}

static void info_print_row(struct table *table, const struct info_thread *thread)
{
    const char *state = info_state(thread);

    table_begin_row(table);
    table_format(table, "%d", thread->tid);
    table_cell(table, thread->name);
    table_cell(table, !thread->python ? "native" : thread->main ? "main" : "worker");
    if (thread->syscall >= 0 && thread->state != 'R')
        table_format(table, "%s in %s", state, syscall_name(thread->syscall));
    else
        table_cell(table, state);
    table_cell(table, thread->holds_gil ? "holds" : "");
    if (thread->has_frame)
        table_format(table, "%s  %s:%d", thread->frame.function, thread->frame.file, thread->frame.line);
    else
        table_cell(table, "-");
}

static struct error *info_print_threads(const struct info *info, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"TID", TABLE_RIGHT}, {"NAME", 0}, {"THREAD", 0}, {"STATE", 0}, {"GIL", 0}, {"IN", TABLE_CUT}, {NULL, 0},
    };
    size_t natives = info->count - info->python_count;
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\nthreads: %zu of Python, %zu native%s\n", info->python_count, natives,
            natives && !options->verbose && info->python_count ? " (-v lists them)" : "");
    for (size_t i = 0; i < info->count; i++) {
        if (info->threads[i].python || options->verbose || !info->python_count)
            info_print_row(table, &info->threads[i]);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

/* -------------------------------------------------------------------- JSON */

static void info_json_thread(struct json *json, const struct info_thread *thread)
{
    json_begin_object(json, NULL);
    json_integer(json, "tid", thread->tid);
    json_string(json, "name", thread->name);
    json_boolean(json, "python", thread->python);
    json_boolean(json, "main", thread->main);
    if (thread->python)
        json_integer(json, "interpreter", thread->interpreter);
    else
        json_null(json, "interpreter");
    json_string(json, "state", info_state(thread));
    json_string(json, "syscall", thread->syscall >= 0 && thread->state != 'R' ? syscall_name(thread->syscall) : NULL);
    json_boolean(json, "holds_gil", thread->holds_gil);
    if (thread->has_frame) {
        json_begin_object(json, "frame");
        json_string(json, "function", thread->frame.function);
        json_string(json, "file", thread->frame.file);
        json_integer(json, "line", thread->frame.line);
        json_end_object(json);
    } else {
        json_null(json, "frame");
    }
    json_end_object(json);
}

static void info_json_gil(struct json *json, const struct info *info)
{
    const struct info_thread *holder = info_gil_holder(info);

    json_begin_object(json, "gil");
    if (info->gil_known)
        json_boolean(json, "held", info->gil_held || holder);
    else
        json_null(json, "held");
    if (holder)
        json_integer(json, "holder", holder->tid);
    else
        json_null(json, "holder");
    json_end_object(json);
}

static void info_print_json(struct json *json, const struct info *info)
{
    const struct runtime *runtime = &info->session->runtime;

    json_begin_object(json, "result");
    json_string(json, "python", runtime->version);
    json_string(json, "build", runtime->build);
    json_boolean(json, "static", runtime->is_static);
    json_string(json, "executable", info->executable);
    json_string(json, "command", info->command);
    json_string(json, "container", info->container);
    json_decimal(json, "uptime_s", host_uptime(info->session->process.start_time));
    json_unsigned(json, "rss_bytes", info->rss);
    json_unsigned(json, "peak_rss_bytes", info->peak);
    if (info->descriptors < 0)
        json_null(json, "descriptors");
    else
        json_integer(json, "descriptors", info->descriptors);
    info_json_gil(json, info);
    if (info->remote_known)
        json_boolean(json, "remote_debug", info->remote_enabled);
    else
        json_null(json, "remote_debug");
    json_boolean(json, "can_attach", !info->refusal);
    json_string(json, "why_not", info->refusal ? error_message(info->refusal) : NULL);
    json_begin_array(json, "threads");
    for (size_t i = 0; i < info->count; i++)
        info_json_thread(json, &info->threads[i]);
    json_end_array(json);
    json_end_object(json);
}

/* --------------------------------------------------------------------- run */

static struct error *info_run(const struct cli_options *options, struct json *json)
{
    struct session session;
    struct info info;
    pid_t pid;
    if (core_is_core(options->words[0]))
        return core_info_run(options, json);
    if (heap_view_is_file(options))
        return snapshot_info(options, json);
    struct error *error = cli_parse_pid(options->words[0], &pid);

    if (error || (error = session_open(&session, pid)))
        return error;
    error = info_read(&info, &session);
    if (options->json) {
        session_json_target(json, &session);
        if (!error)
            info_print_json(json, &info);
    } else if (!error) {
        info_print_summary(&info);
        error = info_print_threads(&info, options);
    }
    info_deinit(&info);
    session_close(&session);
    return error;
}

const struct cli_command cli_command_info = {
    .name = "info",
    .synopsis = "PID or FILE",
    .summary = "one process: version, memory, GIL, and what each thread is doing; or what a snapshot or core is of",
    .description =
        "Everything is read from outside: nothing is stopped. The innermost Python frame of a thread\n"
        "that runs can be one that it has just left. Threads without Python are listed with -v.",
    .example = "safepoint info 4711",
    .takes = CLI_TAKES_CORE,
    .words_min = 1,
    .words_max = 1,
    .run = info_run,
};
