/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info: one process and what its threads are doing. All of it is read; nothing is stopped or run. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/core_info.h"
#include "cli/host.h"
#include "cli/session.h"
#include "cli/snapshot.h"
#include "cli/table.h"
#include "cli/threads.h"
#include "runtime/gc.h"

struct info {
    struct session *session;
    struct thread_rows rows;
    const struct thread_row **threads; /* each thread once, by the row that tells most; owned */
    size_t count;
    struct gc_state *collectors; /* NULL: can't be read */
    size_t collector_count;
    bool gil_known, gil_held;
    bool remote_known, remote_enabled; /* known: this version has the switch */
    uint64_t rss, peak;
    long descriptors;
    char *container, *executable, *command;
    struct error *refusal;
};

/* ---------------------------------------------------------------- threads */

/* Rows of a thread follow each other, the inner interpreter's first: the first that runs a frame tells most. */
static struct error *info_choose_rows(struct info *info)
{
    info->threads = calloc(info->rows.count + 1, sizeof(*info->threads));
    if (!info->threads)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads");
    for (size_t i = 0; i < info->rows.count; i++) {
        const struct thread_row *row = &info->rows.items[i];
        const struct thread_row **last = info->count ? &info->threads[info->count - 1] : NULL;

        if (!last || (*last)->activity != row->activity)
            info->threads[info->count++] = row;
        else if (!(*last)->stack->count && row->stack->count)
            *last = row;
    }
    return NULL;
}

static const struct stack_frame *info_frame(const struct thread_row *row)
{
    return row->stack && row->stack->count ? &row->stack->frames[0] : NULL;
}

/* Of any interpreter of its. */
static bool info_holds_gil(const struct info *info, const struct thread_row *thread)
{
    for (size_t i = 0; i < info->rows.count; i++) {
        const struct thread_row *row = &info->rows.items[i];

        if (row->activity == thread->activity && row->state && row->state->holds_gil)
            return true;
    }
    return false;
}

/* ------------------------------------------------------------- the process */

static void info_read_gil(struct info *info)
{
    struct address holder;
    struct error *error = runtime_read_gil(&info->session->runtime, &info->gil_held, &holder);

    info->gil_known = !error;
    error_destroy(error);
}

static void info_read_collectors(struct info *info)
{
    const struct runtime *runtime = &info->session->runtime;

    if (runtime->initialized && !runtime->finalizing)
        error_destroy(gc_read(runtime, &info->collectors, &info->collector_count));
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
    info_read_collectors(info);
    info_read_remote_debug(info);
    const struct thread_request request = {0};
    if ((error = thread_rows_read(&info->rows, session, &request)) || (error = info_choose_rows(info)))
        return error;
    return process_check(&session->process);
}

static void info_deinit(struct info *info)
{
    thread_rows_deinit(&info->rows);
    free(info->threads);
    free(info->collectors);
    free(info->container);
    free(info->executable);
    free(info->command);
    error_destroy(info->refusal);
}

static const struct thread_row *info_gil_holder(const struct info *info)
{
    for (size_t i = 0; i < info->count; i++) {
        if (info_holds_gil(info, info->threads[i]))
            return info->threads[i];
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
    const struct thread_row *holder = info_gil_holder(info);
    char text[128] = "free";

    if (!info->gil_known)
        strcpy(text, "unknown");
    else if (holder)
        snprintf(text, sizeof(text), "held by thread %d (%s)", holder->activity->tid, holder->activity->name);
    else if (info->gil_held)
        strcpy(text, "held, and changing hands");
    else if (info->session->runtime.free_threaded)
        strcpy(text, "off (free-threaded)");
    info_print_field("GIL", text);
}

/* How many threads wait for this (THREAD_RUNS: how many run). */
static size_t info_count_waiting(const struct info *info, enum thread_wait wait)
{
    size_t count = 0;

    for (size_t i = 0; i < info->count; i++) {
        const struct thread_row *row = info->threads[i];
        count += row->state && row->wait == wait && (wait != THREAD_RUNS || row->activity->state == 'R');
    }
    return count;
}

static const struct {
    enum thread_wait wait;
    const char *word, *words;
    const char *name; /* in JSON */
} info_doings[] = {
    {THREAD_RUNS, "runs", "run", "running"},
    {THREAD_WAITS_GIL, "waits for the GIL", "wait for the GIL", "gil"},
    {THREAD_WAITS_LOCK, "waits for a lock", "wait for a lock", "lock"},
    {THREAD_WAITS_CALL, "is blocked in a call", "are blocked in a call", "call"},
    {THREAD_WAITS_WORK, "is idle", "are idle", "work"},
};

/* The first line to look at: "1 thread runs, 2 wait for a lock, 8 are idle". */
static void info_print_doing(const struct info *info)
{
    char text[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < sizeof(info_doings) / sizeof(info_doings[0]); i++) {
        size_t count = info_count_waiting(info, info_doings[i].wait);

        if (count)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%zu %s%s", used ? ", " : "", count,
                                     used ? "" : count == 1 ? "thread " : "threads ",
                                     count == 1 ? info_doings[i].word : info_doings[i].words);
    }
    info_print_field("doing", used ? text : "nothing");
}

static void info_print_collector(const struct info *info)
{
    /* The main interpreter's: the last. */
    const struct gc_state *state = info->collector_count ? &info->collectors[info->collector_count - 1] : NULL;
    char text[160] = "unknown";

    if (state)
        snprintf(text, sizeof(text), "%s, %s; collections %lld, %lld, %lld by generation", state->enabled ? "on" : "off",
                 state->collecting ? "collecting now" : "not collecting now", (long long)state->generations[0].collections,
                 (long long)state->generations[1].collections, (long long)state->generations[2].collections);
    info_print_field("collector", text);
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
    info_print_doing(info);
    info_print_gil(info);
    info_print_collector(info);
    info_print_field("remote debugging", runtime->layout.interpreter.config_remote_debug == OFF_NONE
                                             ? "not in this version (3.14 and later have the switch)"
                                         : !info->remote_known ? "unknown" : info->remote_enabled ? "on" : "off");
    info_print_attach(info);
}

static void info_print_row(struct table *table, const struct info *info, const struct thread_row *thread)
{
    const struct stack_frame *frame = info_frame(thread);
    char doing[96], since[32];

    table_begin_row(table);
    table_format(table, "%d", thread->activity->tid);
    table_cell(table, thread->name ? thread->name : thread->activity->name);
    table_cell(table, !thread->state ? "native" : thread->main ? "main" : "worker");
    table_cell(table, thread_row_describe(thread, doing, sizeof(doing)));
    table_cell(table, thread_row_since(thread, since, sizeof(since)));
    table_cell(table, info_holds_gil(info, thread) ? "holds" : thread->wait == THREAD_WAITS_GIL ? "wants" : "");
    if (frame)
        table_format(table, "%s%s  %s:%d", thread->stack->changing ? "below " : "", frame->code->function,
                     frame->code->file, frame->line);
    else
        table_cell(table, "-");
}

static struct error *info_print_threads(const struct info *info, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"TID", TABLE_RIGHT}, {"NAME", 0}, {"THREAD", 0}, {"STATE", 0}, {"FOR", TABLE_RIGHT}, {"GIL", 0}, {"IN", TABLE_CUT}, {NULL, 0},
    };
    size_t natives = info->count - info->rows.python_count;
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\nthreads: %zu of Python, %zu native%s\n", info->rows.python_count, natives,
            natives && !options->verbose && info->rows.python_count ? " (-v lists them)" : "");
    for (size_t i = 0; i < info->count; i++) {
        if (info->threads[i]->state || options->verbose || !info->rows.python_count)
            info_print_row(table, info, info->threads[i]);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

/* -------------------------------------------------------------------- JSON */

static void info_json_thread(struct json *json, const struct thread_row *thread)
{
    const struct stack_frame *frame = info_frame(thread);

    json_begin_object(json, NULL);
    thread_row_json(json, thread);
    if (frame) {
        json_begin_object(json, "frame");
        json_string(json, "function", frame->code->function);
        json_string(json, "file", frame->code->file);
        json_integer(json, "line", frame->line);
        json_end_object(json);
    } else {
        json_null(json, "frame");
    }
    json_end_object(json);
}

static void info_json_gil(struct json *json, const struct info *info)
{
    const struct thread_row *holder = info_gil_holder(info);

    json_begin_object(json, "gil");
    if (info->gil_known)
        json_boolean(json, "held", info->gil_held || holder);
    else
        json_null(json, "held");
    if (holder)
        json_integer(json, "holder", holder->activity->tid);
    else
        json_null(json, "holder");
    json_end_object(json);
}

static void info_json_doing(struct json *json, const struct info *info)
{
    json_begin_object(json, "doing");
    for (size_t i = 0; i < sizeof(info_doings) / sizeof(info_doings[0]); i++)
        json_unsigned(json, info_doings[i].name, info_count_waiting(info, info_doings[i].wait));
    json_end_object(json);
}

static void info_json_collector(struct json *json, const struct info *info)
{
    if (!info->collector_count) {
        json_null(json, "collector");
        return;
    }
    const struct gc_state *state = &info->collectors[info->collector_count - 1];
    json_begin_object(json, "collector");
    json_boolean(json, "enabled", state->enabled);
    json_boolean(json, "collecting", state->collecting);
    json_begin_array(json, "collections");
    for (size_t i = 0; i < GC_GENERATIONS; i++)
        json_integer(json, NULL, state->generations[i].collections);
    json_end_array(json);
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
    info_json_doing(json, info);
    info_json_gil(json, info);
    info_json_collector(json, info);
    if (info->remote_known)
        json_boolean(json, "remote_debug", info->remote_enabled);
    else
        json_null(json, "remote_debug");
    json_boolean(json, "can_attach", !info->refusal);
    json_string(json, "why_not", info->refusal ? error_message(info->refusal) : NULL);
    json_begin_array(json, "threads");
    for (size_t i = 0; i < info->count; i++)
        info_json_thread(json, info->threads[i]);
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
        "Everything is read from outside: nothing is stopped. IN is the innermost Python frame; of a thread\n"
        "whose frames change all the time, the innermost that stayed (\"below\"). Threads without Python are\n"
        "listed with -v; all frames by safepoint stack.",
    .example = "safepoint info 4711",
    .takes = CLI_TAKES_CORE,
    .words_min = 1,
    .words_max = 1,
    .run = info_run,
};
