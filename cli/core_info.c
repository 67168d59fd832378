/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info of a core: what info of a process says, as far as a core tells it, and what the core itself is. */
#include "cli/core_info.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attach/scope.h"
#include "cli/host.h"
#include "cli/session.h"
#include "cli/table.h"

struct core_view {
    struct session session;
    struct core_info core;
    const struct core_thread *threads;
    size_t thread_count;
    struct thread_state *states;
    size_t state_count;
    bool gil_known, gil_held;
    char written[32];
};

/* ------------------------------------------------------------------- reading */

static void core_info_read(struct core_view *view)
{
    struct runtime *runtime = &view->session.runtime;
    struct address holder;
    time_t written;
    struct tm parts;

    view->core = core_get_info(view->session.process.core);
    view->threads = core_threads(view->session.process.core, &view->thread_count);
    written = (time_t)view->core.written;
    if (gmtime_r(&written, &parts))
        strftime(view->written, sizeof(view->written), "%Y-%m-%dT%H:%M:%SZ", &parts);
    runtime_read_build(runtime, &view->session.maps);
    struct error *error = runtime_read_gil(runtime, &view->gil_held, &holder);
    view->gil_known = !error;
    error_destroy(error);
}

/* Those of Python, with what each thread's Python was doing; while it started or ended there may be none. */
static struct error *core_info_read_threads(struct core_view *view)
{
    const struct runtime *runtime = &view->session.runtime;

    if (!runtime->initialized || runtime->finalizing)
        return NULL;
    return session_explain_error(&view->session.process, runtime_read_threads(runtime, &view->states, &view->state_count));
}

/* The state of a thread that tells most: the one that runs a frame. NULL: none of Python's. */
static const struct thread_state *core_info_state(const struct core_view *view, pid_t tid, struct python_frame *frame,
                                                  bool *has_frame)
{
    const struct thread_state *found = NULL;

    *has_frame = false;
    for (size_t i = 0; i < view->state_count && !*has_frame; i++) {
        if (view->states[i].tid != tid)
            continue;
        found = &view->states[i];
        struct error *error = runtime_read_top_frame(&view->session.runtime, found, frame, has_frame);
        *has_frame &= !error;
        error_destroy(error);
    }
    return found;
}

/* 0: nobody, or not told. */
static pid_t core_info_holder(const struct core_view *view)
{
    for (size_t i = 0; i < view->state_count; i++)
        if (view->states[i].holds_gil)
            return view->states[i].tid;
    return 0;
}

static const char *core_info_signal(int number, char *text, size_t room)
{
    const char *name = number ? sigabbrev_np(number) : NULL;

    if (!number)
        snprintf(text, room, "none");
    else
        snprintf(text, room, name ? "SIG%s" : "%.0s%d", name ? name : "", number);
    return text;
}

/* ---------------------------------------------------------------------- text */

static void core_info_field(const char *name, const char *text)
{
    scoped_free char *escaped = cli_escape_line(text);

    fprintf(cli_output, "%-17s%s\n", name, escaped ? escaped : "?");
}

static void core_info_print_gil(const struct core_view *view)
{
    char text[64] = "free";

    if (!view->gil_known)
        strcpy(text, "unknown");
    else if (view->session.runtime.free_threaded)
        strcpy(text, "off (free-threaded)");
    else if (core_info_holder(view))
        snprintf(text, sizeof(text), "held by thread %d", core_info_holder(view));
    else if (view->gil_held)
        strcpy(text, "held");
    core_info_field("GIL", text);
}

static void core_info_print_summary(const struct core_view *view)
{
    const struct runtime *runtime = &view->session.runtime;
    char text[128], size[24], missing[24], build[64];

    host_format_build(build, sizeof(build), runtime);
    fprintf(cli_output, "core of process %d: CPython %s%s%s%s\n", view->session.process.pid, runtime->version,
            build[0] ? " (" : "", build, build[0] ? ")" : "");
    core_info_field("core", view->core.path);
    core_info_field("written", view->written);
    snprintf(text, sizeof(text), "%s%s%s%s", cli_format_size(size, sizeof(size), view->core.size),
             view->core.missing_bytes ? ", CUT SHORT: " : "",
             view->core.missing_bytes ? cli_format_size(missing, sizeof(missing), view->core.missing_bytes) : "",
             view->core.missing_bytes ? " are missing" : "");
    core_info_field("size", text);
    core_info_field("build", runtime->build[0] ? runtime->build : "unknown");
    core_info_field("command", view->core.arguments[0] ? view->core.arguments : view->core.name);
    core_info_field("signal", core_info_signal(view->core.signal, text, sizeof(text)));
    core_info_print_gil(view);
}

static void core_info_print_row(struct table *table, const struct core_view *view, const struct core_thread *thread)
{
    struct python_frame frame;
    bool has_frame;
    const struct thread_state *state = core_info_state(view, thread->tid, &frame, &has_frame);

    table_begin_row(table);
    table_format(table, "%d", thread->tid);
    table_cell(table, !state ? "native" : state->main ? "main" : "worker");
    table_cell(table, state && state->holds_gil ? "holds" : "");
    if (has_frame)
        table_format(table, "%s  %s:%d", frame.function, frame.file, frame.line);
    else
        table_cell(table, "-");
}

static struct error *core_info_print_threads(const struct core_view *view, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"TID", TABLE_RIGHT}, {"THREAD", 0}, {"GIL", 0}, {"IN", TABLE_CUT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\nthreads: %zu\n", view->thread_count);
    for (size_t i = 0; i < view->thread_count; i++)
        core_info_print_row(table, view, &view->threads[i]);
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

/* Those that were asked for; with -v all that the core names. */
static void core_info_print_files(const struct core_view *view, const struct cli_options *options)
{
    struct core_file_info file;

    if (options->verbose)
        fprintf(cli_output, "\nfiles:\n");
    for (size_t i = 0; core_get_file(view->session.process.core, i, &file); i++) {
        scoped_free char *path = cli_escape_line(file.path), *found = cli_escape_line(file.found ? file.found : "not read");
        if (options->verbose)
            fprintf(cli_output, "  %s%s%s%s%s\n", path ? path : "?", file.build_id[0] ? "  build-id " : "", file.build_id,
                    file.found && !strcmp(file.found, file.path) ? "" : "  ",
                    file.found && !strcmp(file.found, file.path) ? "" : found ? found : "?");
        if (file.refused)
            cli_note(options, "%s", file.refused);
    }
}

/* ---------------------------------------------------------------------- JSON */

static void core_info_json_frame(struct json *json, const struct python_frame *frame)
{
    json_begin_object(json, "frame");
    json_string(json, "function", frame->function);
    json_string(json, "file", frame->file);
    json_integer(json, "line", frame->line);
    json_end_object(json);
}

static void core_info_json_thread(struct json *json, const struct core_view *view, const struct core_thread *thread)
{
    struct python_frame frame;
    bool has_frame;
    const struct thread_state *state = core_info_state(view, thread->tid, &frame, &has_frame);

    json_begin_object(json, NULL);
    json_integer(json, "tid", thread->tid);
    json_boolean(json, "python", state != NULL);
    json_boolean(json, "main", state && state->main);
    if (state)
        json_integer(json, "interpreter", state->interpreter_id);
    else
        json_null(json, "interpreter");
    json_boolean(json, "holds_gil", state && state->holds_gil);
    if (has_frame)
        core_info_json_frame(json, &frame);
    else
        json_null(json, "frame");
    json_end_object(json);
}

static void core_info_json_gil(struct json *json, const struct core_view *view)
{
    pid_t holder = core_info_holder(view);

    json_begin_object(json, "gil");
    if (view->gil_known)
        json_boolean(json, "held", view->gil_held);
    else
        json_null(json, "held");
    if (holder)
        json_integer(json, "holder", holder);
    else
        json_null(json, "holder");
    json_end_object(json);
}

static void core_info_json_files(struct json *json, const struct core_view *view)
{
    struct core_file_info file;

    json_begin_array(json, "files");
    for (size_t i = 0; core_get_file(view->session.process.core, i, &file); i++) {
        json_begin_object(json, NULL);
        json_string(json, "path", file.path);
        json_string(json, "found", file.found);
        json_string(json, "refused", file.refused);
        json_string(json, "build_id", file.build_id[0] ? file.build_id : NULL);
        json_end_object(json);
    }
    json_end_array(json);
}

static void core_info_print_json(struct json *json, const struct core_view *view)
{
    const struct runtime *runtime = &view->session.runtime;

    json_begin_object(json, "result");
    json_string(json, "kind", "core");
    json_string(json, "python", runtime->version);
    json_string(json, "build", runtime->build);
    json_boolean(json, "static", runtime->is_static);
    json_string(json, "command", view->core.arguments[0] ? view->core.arguments : view->core.name);
    json_string(json, "written", view->written);
    json_unsigned(json, "file_bytes", view->core.size);
    json_unsigned(json, "missing_bytes", view->core.missing_bytes);
    json_boolean(json, "partial", view->core.missing_bytes != 0);
    json_integer(json, "signal", view->core.signal);
    core_info_json_gil(json, view);
    json_begin_array(json, "threads");
    for (size_t i = 0; i < view->thread_count; i++)
        core_info_json_thread(json, view, &view->threads[i]);
    json_end_array(json);
    core_info_json_files(json, view);
    json_end_object(json);
}

/* ----------------------------------------------------------------------- run */

struct error *core_info_run(const struct cli_options *options, struct json *json)
{
    struct core_view view = {.state_count = 0};
    struct error *error = session_open_target(&view.session, options);

    if (error)
        return error;
    core_info_read(&view);
    error = core_info_read_threads(&view);
    if (options->json)
        session_json_target(json, &view.session);
    if (!error && options->json) {
        core_info_print_json(json, &view);
    } else if (!error) {
        core_info_print_summary(&view);
        error = core_info_print_threads(&view, options);
        core_info_print_files(&view, options);
    }
    if (!error && view.core.missing_bytes)
        cli_note(options, "PARTIAL: the core is cut short");
    free(view.states);
    session_close(&view.session);
    return error;
}
