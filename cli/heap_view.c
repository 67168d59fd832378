/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process's memory is taken at its safe point (inject/freeze.h), copied, and given up as soon as the objects in the copy
 * are known: the copy-on-write child costs the process least when it lives shortly.
 */
#include "cli/heap_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/host.h"
#include "cli/progress.h"

/* Of --max-memory, the part that the copy may have: what is found in it takes at most 7 tenths as much again. */
#define VIEW_COPY_PERCENT 58
/* What everything starts from can be torn, in a few of a hundred copies of a busy process that runs meanwhile; in
 * more where the machine is busy too. */
#define VIEW_TRIES 6
#define VIEW_PATIENCE 3.0 /* seconds */

static double view_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct error *view_step(void *context, const char *what, uint64_t done, uint64_t all)
{
    return cli_progress_step(context, what, done, all);
}

/* ------------------------------------------------------------- reading */

/* Of a copy that is read once: what has been read is given back. */
static struct error *view_read_once(const struct memory *memory, struct address from, void *to, size_t size)
{
    struct copy *copy = memory->source;
    struct error *error = memory_read(&copy->memory, from, to, size);

    if (!error)
        copy_forget(copy, from, size);
    return error;
}

static const struct memory_ops view_once_ops = {view_read_once, NULL, true};

/* The mappings are those of the instant: of the child, of the copy; of a process that runs, as they are now. */
static struct error *view_find_spans(struct heap_view *view, struct heap_span **spans, size_t *count)
{
    const struct freeze *freeze = &view->freeze;
    struct maps maps;

    if (view->session.process.core)
        return heap_spans_find_core(view->session.process.core, &view->session.maps, spans, count, &view->unstored);
    if (freeze->way == FREEZE_COPY)
        return heap_spans_find_copied(&freeze->copy, spans, count);
    struct error *error = maps_read(&maps, freeze->process->pid);
    if (error)
        return error;
    error = heap_spans_find(&maps, freeze->process->pid, spans, count);
    maps_deinit(&maps);
    return error;
}

static struct error *view_take_room(struct heap_view *view, const struct cli_options *options)
{
    scoped_free struct heap_span *spans = NULL;
    uint64_t most = options->freeze.max_memory / 100 * VIEW_COPY_PERCENT;
    size_t count;
    struct error *error = view_find_spans(view, &spans, &count);

    if (!error)
        error = heap_image_init(&view->image, spans, count, most);
    if (!error)
        view->image.missing += view->unstored;
    return error;
}

static struct error *view_read(struct heap_view *view, const struct heap_progress *progress)
{
    const struct memory *memory = &view->freeze.process->memory;
    const struct memory once = {&view_once_ops, &view->freeze.copy};
    double start = view_now();
    struct error *error =
        heap_image_read(&view->image, view->freeze.way == FREEZE_COPY ? &once : memory, progress);
    double copied = view_now();

    if (!error && !view->no_objects)
        error = heap_create(&view->heap, &view->session.runtime, memory, &view->image,
                            view->hooks && view->hooks->references, progress);
    view->copied_s = copied - start;
    view->read_s = view_now() - copied;
    return error;
}

static void view_forget(struct heap_view *view)
{
    heap_destroy(view->heap);
    heap_image_deinit(&view->image);
    view->heap = NULL;
}

static struct error *view_try(struct heap_view *view, const struct cli_options *options,
                              const struct heap_progress *progress)
{
    struct error *error = view_take_room(view, options);

    if (error)
        return error;
    error = view_read(view, progress);
    if (error && view->image.missing && options->freeze.max_memory && error_code(error) == ERROR_UNSUPPORTED)
        error = error_with_hint(error, "give it more room: --max-memory");
    if (error)
        view_forget(view);
    return error;
}

static struct error *view_find_objects(struct heap_view *view, const struct cli_options *options)
{
    struct cli_progress line;
    const struct heap_progress progress = {view_step, &line};
    double start = view_now();
    bool again = true, core = view->session.process.core;
    struct error *error = NULL;

    cli_progress_begin(&line, options);
    for (int tries = 1; again; tries++) {
        error_destroy(error);
        error = view_try(view, options, &progress);
        again = error && !core && error_code(error) == ERROR_UNSUPPORTED && view->freeze.way == FREEZE_LIVE &&
                (tries < VIEW_TRIES || (view_now() - start < VIEW_PATIENCE && !options->freeze.max_memory));
    }
    cli_progress_end(&line);
    if (error && !core && view->freeze.way == FREEZE_LIVE && error_code(error) == ERROR_UNSUPPORTED &&
        !options->freeze.max_memory)
        error = error_with_hint(error, "it may change faster than it can be read while it runs: do without --no-pause");
    return error;
}

/* ------------------------------------------------------------- opening */

static void view_thaw(struct heap_view *view, const struct cli_options *options)
{
    if (view->frozen)
        session_thaw(&view->session, options, &view->freeze);
    view->frozen = false;
    if (view->heap) /* what is asked for from now on lies in files, and is the same there */
        heap_use_memory(view->heap, &view->session.process.memory);
}

static struct error *view_open_heap(struct heap_view *view, const struct cli_options *options)
{
    const struct runtime *runtime = &view->session.runtime;
    struct error *error = heap_check_supported(runtime);

    if (error && (!view->hooks || !view->hooks->memory_alone))
        return error;
    view->no_objects = error;
    if (!runtime->initialized || runtime->finalizing)
        return error_create(ERROR_BUSY, NULL, "process %d is starting or ending", view->session.process.pid);
    if ((error = session_freeze(&view->session, options, &view->freeze)))
        return error;
    view->frozen = true;
    if (view->hooks && view->hooks->frozen)
        error = view->hooks->frozen(view, view->hooks->context);
    if (!error)
        error = view_find_objects(view, options);
    view_thaw(view, options);
    return error;
}

/* A core is frozen already. */
static struct error *view_open_core_heap(struct heap_view *view, const struct cli_options *options)
{
    const struct process *process = &view->session.process;
    const struct runtime *runtime = &view->session.runtime;
    struct error *error = heap_check_supported(runtime);

    if (error)
        return error;
    if (!runtime->initialized || runtime->finalizing)
        return error_create(ERROR_UNSUPPORTED, NULL, "in %s Python is starting or ending", options->words[0]);
    view->freeze = (struct freeze){.process = process, .way = FREEZE_LIVE};
    return session_explain_error(process, view_find_objects(view, options));
}

/* ------------------------------------------------------------- origin */

static void view_copy(char *to, size_t room, const char *from)
{
    snprintf(to, room, "%s", from ? from : "");
}

static void view_describe_python(struct heap_view *view)
{
    struct heap_origin *origin = &view->origin;
    const struct runtime *runtime = &view->session.runtime;

    origin->pid = (uint64_t)view->session.process.pid;
    origin->start_time = view->session.process.start_time;
    origin->identity = process_read_identity(&view->session.process);
    origin->free_threaded = runtime->free_threaded;
    origin->debug = runtime->debug_build;
    view_copy(origin->python, sizeof(origin->python), runtime->version);
}

static void view_describe_process(struct heap_view *view)
{
    scoped_free char *container = host_container(view->session.process.pid);

    view_describe_python(view);
    view_copy(view->origin.container, sizeof(view->origin.container), container);
    if (gethostname(view->origin.host, sizeof(view->origin.host) - 1) < 0)
        view->origin.host[0] = '\0';
    cli_format_time(view->origin.time, sizeof(view->origin.time));
}

/* Where it was written isn't told; when, only by the file. */
static void view_describe_core(struct heap_view *view)
{
    struct heap_origin *origin = &view->origin;
    time_t written = (time_t)core_get_info(view->session.process.core).written;
    struct tm parts;

    view_describe_python(view);
    if (gmtime_r(&written, &parts))
        strftime(origin->time, sizeof(origin->time), "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* After the freeze, of which only this is kept. */
static void view_describe_freeze(struct heap_view *view)
{
    struct heap_origin *origin = &view->origin;
    const struct heap_report none = {.allocator = ""}, *report = view->heap ? heap_get_report(view->heap) : &none;

    view_copy(origin->method, sizeof(origin->method), freeze_way_name(view->freeze.way));
    origin->at_safe_point = view->freeze.at_safe_point;
    view_copy(origin->why, sizeof(origin->why), view->freeze.why);
    view_copy(origin->refused, sizeof(origin->refused), view->freeze.refused);
    view_copy(origin->allocator, sizeof(origin->allocator), report->allocator);
    origin->pause_us = (double)view->freeze.pause_ns / 1e3;
    origin->read_bytes = view->image.size;
    origin->missing_bytes = view->image.missing;
    origin->torn_pools = report->torn_pools;
    origin->broken_lists = report->broken_lists;
    origin->cut = report->cut;
}

/* Nobody ran Python code where nobody held the GIL: as good as a safe point. */
static void view_describe_instant(struct heap_view *view)
{
    struct heap_origin *origin = &view->origin;
    struct address holder;
    bool held = true;
    struct error *error = runtime_read_gil(&view->session.runtime, &held, &holder);

    error_destroy(error);
    view_copy(origin->method, sizeof(origin->method), "core");
    origin->at_safe_point = !held && !error && !view->session.runtime.free_threaded;
    view_copy(origin->why, sizeof(origin->why), origin->at_safe_point ? "" : "a core is of any instant, and a thread ran Python");
}

static void view_json_target(const struct heap_origin *origin, const char *path, struct json *json)
{
    json_begin_object(json, "target");
    json_unsigned(json, "pid", origin->pid);
    json_unsigned(json, "start_time", origin->start_time);
    json_string(json, "python", origin->python);
    json_boolean(json, "free_threaded", origin->free_threaded);
    json_boolean(json, "debug", origin->debug);
    json_string(json, "file", path);
    json_string(json, "host", origin->host);
    json_string(json, "time", origin->time);
    json_end_object(json);
}

/* ------------------------------------------------------------- public */

bool heap_view_is_file(const struct cli_options *options)
{
    const char *word = options->words[0];

    return !word[0] || word[strspn(word, "0123456789")] != '\0';
}

static struct error *view_open_file(struct heap_view *view, const struct cli_options *options, struct json *json)
{
    const char *path = options->words[0];

    if (options->freeze.no_fork || options->freeze.no_pause)
        return error_create(ERROR_USAGE, NULL, "%s is a file: --no-fork and --no-pause are for a process", path);
    struct error *error = heap_file_read(&view->file, path, options->freeze.max_memory);
    if (error)
        return error;
    view->origin = view->file.origin;
    if (options->json && json)
        view_json_target(&view->origin, path, json);
    return NULL;
}

static struct error *view_open_process(struct heap_view *view, const struct cli_options *options, struct json *json)
{
    pid_t pid;
    struct error *error = cli_parse_pid(options->words[0], &pid);

    if (error || (error = session_open(&view->session, pid)))
        return error;
    view->live = true;
    if (options->json && json)
        session_json_target(json, &view->session);
    view_describe_process(view);
    if (!(error = view_open_heap(view, options)))
        view_describe_freeze(view);
    return error;
}

static struct error *view_open_core(struct heap_view *view, const struct cli_options *options, struct json *json)
{
    if (options->freeze.no_fork || options->freeze.no_pause)
        return error_create(ERROR_USAGE, NULL, "%s is a core file: --no-fork and --no-pause are for a process",
                            options->words[0]);
    struct error *error = session_open_target(&view->session, options);
    if (error)
        return error;
    view->live = true;
    if (options->json && json)
        session_json_target(json, &view->session);
    view_describe_core(view);
    if (!(error = view_open_core_heap(view, options))) {
        view_describe_freeze(view);
        view_describe_instant(view);
    }
    return error;
}

struct error *heap_view_open_with(struct heap_view *view, const struct cli_options *options, struct json *json,
                                  const struct heap_view_hooks *hooks)
{
    struct error *error;

    *view = (struct heap_view){.hooks = hooks};
    if (core_is_core(options->words[0]))
        error = view_open_core(view, options, json);
    else if (heap_view_is_file(options))
        error = view_open_file(view, options, json);
    else
        error = view_open_process(view, options, json);
    if (error)
        heap_view_close(view);
    return error;
}

struct error *heap_view_open(struct heap_view *view, const struct cli_options *options, struct json *json)
{
    return heap_view_open_with(view, options, json, NULL);
}

struct error *heap_view_open_graph(struct heap_view *view, const struct cli_options *options, struct json *json)
{
    static const struct heap_view_hooks hooks = {.references = true};

    return heap_view_open_with(view, options, json, &hooks);
}

void heap_view_close(struct heap_view *view)
{
    view_forget(view);
    error_destroy(view->no_objects);
    heap_file_deinit(&view->file);
    if (view->live)
        session_close(&view->session);
}

uint32_t heap_view_count(const struct heap_view *view)
{
    return view->heap ? heap_count(view->heap) : view->file.count;
}

struct heap_node heap_view_node(const struct heap_view *view, uint32_t number)
{
    return view->heap ? heap_get_node(view->heap, number) : heap_file_node(&view->file, number);
}

const uint32_t *heap_view_types(const struct heap_view *view)
{
    return view->heap ? heap_node_types(view->heap) : view->file.types;
}

uint32_t heap_view_type_count(const struct heap_view *view)
{
    return view->heap ? heap_type_count(view->heap) : view->file.type_count;
}

const char *heap_view_type_name(const struct heap_view *view, uint32_t number)
{
    return view->heap ? heap_get_type(view->heap, number).name : view->file.type_list[number].name;
}

const char *heap_view_module_name(const struct heap_view *view, uint32_t number)
{
    return view->heap ? heap_get_type(view->heap, number).module : view->file.type_list[number].module;
}

/* ------------------------------------------------------------- saying how */

static void view_note_pause(const struct heap_view *view, const struct cli_options *options)
{
    char pause[32];

    snprintf(pause, sizeof(pause), "pause %.1f ms", view->origin.pause_us / 1e3);
    cli_note(options, "%s; copied in %.3f s, read in %.3f s",
             view->freeze.way == FREEZE_LIVE ? "read while it ran, which may tear what changed meanwhile" : pause,
             view->copied_s, view->read_s);
    if (view->freeze.way == FREEZE_COPY && !options->freeze.no_fork)
        cli_note(options, "copied while it was stopped, for want of a child: %s", view->origin.refused);
}

static void view_note_core(const struct heap_view *view, const struct cli_options *options)
{
    cli_note(options, "a core of process %" PRIu64 ", CPython %s, of %s; copied in %.3f s, read in %.3f s", view->origin.pid,
             view->origin.python, view->origin.time, view->copied_s, view->read_s);
}

static void view_note_file(const struct heap_view *view, const struct cli_options *options)
{
    const struct heap_origin *origin = &view->origin;

    cli_note(options, "a snapshot of process %" PRIu64 " on %s, CPython %s, of %s", origin->pid, origin->host, origin->python,
             origin->time);
}

void heap_view_note(const struct heap_view *view, const struct cli_options *options)
{
    const struct heap_origin *origin = &view->origin;
    char size[24];

    if (view->live && view->session.process.core)
        view_note_core(view, options);
    else if (view->live)
        view_note_pause(view, options);
    else
        view_note_file(view, options);
    if (!origin->at_safe_point && strcmp(origin->method, "live"))
        cli_note(options, "NOT AT A SAFE POINT, an object may be half changed: %s", origin->why);
    if (origin->missing_bytes)
        cli_note(options, "PARTIAL: %s of its memory were left out",
                 cli_format_size(size, sizeof(size), origin->missing_bytes));
    else if (origin->broken_lists || origin->torn_pools)
        cli_note(options, "torn: %" PRIu64 " pools, %" PRIu64 " lists of the collector", origin->torn_pools,
                 origin->broken_lists);
    if (origin->cut)
        cli_note(options, "PARTIAL: its references make no sense, and were followed no further");
}

void heap_view_json_pause(const struct heap_view *view, struct json *json)
{
    json_decimal(json, "pause_us", view->live ? view->origin.pause_us : 0);
}

static void view_json_text(struct json *json, const char *name, const char *text)
{
    if (text[0])
        json_string(json, name, text);
    else
        json_null(json, name);
}

void heap_view_json(const struct heap_view *view, struct json *json)
{
    const struct heap_origin *origin = &view->origin;

    json_string(json, "method", origin->method);
    json_boolean(json, "at_safe_point", origin->at_safe_point);
    view_json_text(json, "why_not", origin->why);
    view_json_text(json, "refused", origin->refused);
    json_boolean(json, "partial", origin->missing_bytes != 0);
    json_unsigned(json, "missing_bytes", origin->missing_bytes);
    json_unsigned(json, "read_bytes", origin->read_bytes);
    json_unsigned(json, "torn_pools", origin->torn_pools);
    json_boolean(json, "cut", origin->cut);
    json_string(json, "allocator", origin->allocator);
}
