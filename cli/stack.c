/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stack: the Python frames of every thread, and what each is doing. All of it is read; nothing is run. */
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/threads.h"
#include "runtime/values.h"

/* A frame that repeats this often in a row is folded, on paper. */
#define STACK_REPEATS 3

struct stack_view {
    struct session *session;
    const struct cli_options *options;
    struct thread_rows rows;
};

/* Is it one that was asked for (--thread)? */
static bool stack_is_wanted(const struct cli_options *options, const struct thread_row *row)
{
    if (!options->stack.one)
        return row->state || options->verbose;
    if (options->choice.kind == INJECT_THREAD_ANY)
        return row->state != NULL;
    if (options->choice.kind == INJECT_THREAD_MAIN)
        return row->state && row->state->main;
    return row->activity->tid == options->choice.tid;
}

/* A thread's id may be the target's own. */
static struct error *stack_find_thread(const struct session *session, struct cli_options *options)
{
    if (!options->stack.one || options->choice.kind != INJECT_THREAD_ID)
        return NULL;
    if (session->process.core)
        return NULL; /* its ids are those that it has */
    pid_t found = 0;
    scoped_free pid_t *tids = NULL;
    size_t count;
    struct error *error = process_list_threads(session->process.pid, &tids, &count);

    for (size_t i = 0; !error && i < count; i++)
        found = tids[i] == options->choice.tid ? tids[i] : found;
    if (!error && !found)
        found = process_find_thread(session->process.pid, options->choice.tid);
    if (!error && !found)
        return error_create(ERROR_USAGE, "safepoint info -v PID lists them", "process %d has no thread %d",
                            session->process.pid, options->choice.tid);
    options->choice.tid = found;
    return error;
}

/* ------------------------------------------------------------------ variables */

static void stack_print_variable(void *context, const char *name, uint64_t value)
{
    struct stack_view *view = context;
    scoped_free char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return;
    fprintf(memory, "%s = ", name);
    values_print(&view->rows.reader, value, view->options->values, memory);
    fclose(memory);
    scoped_free char *escaped = cli_escape_line(text);
    fprintf(cli_output, "          %s\n", escaped ? escaped : "?");
}

static void stack_visit_variables(struct stack_view *view, const struct stack_frame *frame, reader_variable_fn *fn,
                                  void *context)
{
    const struct frame of = {.at = frame->at, .code = frame->code->address};

    reader_visit_variables(&view->rows.reader, &of, fn, context);
}

static void stack_print_variables(struct stack_view *view, const struct stack_frame *frame)
{
    if (view->options->stack.locals && view->rows.objects_known)
        stack_visit_variables(view, frame, stack_print_variable, view);
}

struct stack_json {
    struct stack_view *view;
    struct json *json;
};

static void stack_json_variable(void *context, const char *name, uint64_t value)
{
    struct stack_json *to = context;
    const struct object_type *type = reader_object_type(&to->view->rows.reader, value);
    scoped_free char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return;
    values_print(&to->view->rows.reader, value, to->view->options->values, memory);
    fclose(memory);
    json_begin_object(to->json, NULL);
    json_string(to->json, "name", name);
    json_string(to->json, "type", type ? type->name : NULL);
    json_string(to->json, "value", text);
    json_end_object(to->json);
}

/* ----------------------------------------------------------------------- text */

static void stack_print_head(const struct thread_row *row)
{
    char doing[96], since[32];
    scoped_free char *name = cli_escape_line(row->name ? row->name : "");
    scoped_free char *kernel = cli_escape_line(row->activity->name);

    thread_row_since(row, since, sizeof(since));
    fprintf(cli_output, "thread %d", row->activity->tid);
    if (name && *name)
        fprintf(cli_output, " \"%s\"", name);
    if (!kernel || *kernel) /* a core has none */
        fprintf(cli_output, " (%s)", kernel ? kernel : "?");
    if (row->state && row->state->interpreter_id)
        fprintf(cli_output, " interpreter %lld", (long long)row->state->interpreter_id);
    fprintf(cli_output, ": %s", thread_row_describe(row, doing, sizeof(doing)));
    fprintf(cli_output, "%s%s", *since ? " for " : "", since);
    fprintf(cli_output, "%s\n", row->state && row->state->holds_gil ? ", holds the GIL" : "");
}

static void stack_print_frame(struct stack_view *view, const struct stack_frame *frame)
{
    scoped_free char *function = cli_escape_line(frame->code->function);
    scoped_free char *file = cli_escape_line(frame->code->file);

    fprintf(cli_output, "    %s  (%s:%d)\n", function ? function : "?", file ? file : "?", frame->line);
    stack_print_variables(view, frame);
}

/* How many frames from this one on are of the same function, at the same line. */
static size_t stack_count_repeats(const struct stack *stack, size_t from)
{
    size_t count = 1;

    while (from + count < stack->count && stack->frames[from + count].code == stack->frames[from].code &&
           stack->frames[from + count].line == stack->frames[from].line)
        count++;
    return count;
}

static void stack_print_frames(struct stack_view *view, const struct stack *stack)
{
    for (size_t i = 0; i < stack->count;) {
        size_t repeats = view->options->stack.locals ? 1 : stack_count_repeats(stack, i);
        size_t shown = repeats > STACK_REPEATS ? 1 : repeats;

        for (size_t j = 0; j < shown; j++)
            stack_print_frame(view, &stack->frames[i + j]);
        if (shown < repeats)
            fprintf(cli_output, "    ... the same %zu times more\n", repeats - shown);
        i += repeats;
    }
}

/* ---------------------------------------------------------------- C among Python */

/* Tells each frame of a thread in turn, from the innermost out: Python's where the eval loop ran them, C's else. */
struct stack_merge {
    void *context;
    void (*python)(void *context, const struct stack_frame *frame);
    void (*native)(void *context, const struct unwind_frame *frame);
};

/* Did this frame of C's run the Python frames from `next` on: is it their call of the eval loop? By where that keeps
 * the last of them, or where that isn't known by its name. */
static bool stack_is_loop(const struct thread_native *native, size_t index, const struct stack *stack, size_t next)
{
    const struct unwind_frame *frame = &native->frames[index];

    while (next + 1 < stack->count && !stack->frames[next].entry)
        next++;
    if (next == stack->count || !stack->frames[next].loop.value || !frame->stack || index + 1 == native->count)
        return next < stack->count && thread_native_is_loop(frame);
    return stack->frames[next].loop.value >= frame->stack && stack->frames[next].loop.value < frame[1].stack;
}

/* The frames that one call of the eval loop ran. */
static size_t stack_tell_loop(const struct stack_merge *merge, const struct stack *stack, size_t next)
{
    bool last = false;

    for (; next < stack->count && !last; next++) {
        merge->python(merge->context, &stack->frames[next]);
        last = stack->frames[next].entry;
    }
    return next;
}

/* The rows of one thread (of several interpreters, the inner first) follow each other from `row` on. */
static void stack_merge(const struct stack_merge *merge, const struct thread_rows *rows, const struct thread_row *row)
{
    const struct thread_row *end = rows->items + rows->count, *inner = row;
    size_t next = 0;

    for (size_t i = 0; i < row->native->count; i++) {
        const struct unwind_frame *frame = &row->native->frames[i];

        while (inner < end && inner->activity == row->activity && inner->stack && next == inner->stack->count) {
            inner++;
            next = 0;
        }
        bool more = inner < end && inner->activity == row->activity && inner->stack;
        if (more && stack_is_loop(row->native, i, inner->stack, next))
            next = stack_tell_loop(merge, inner->stack, next);
        else
            merge->native(merge->context, frame);
    }
    /* Where the way through C's frames ended early. */
    for (; inner < end && inner->activity == row->activity && inner->stack; inner++, next = 0) {
        while (next < inner->stack->count)
            next = stack_tell_loop(merge, inner->stack, next);
    }
}

static void stack_print_python(void *context, const struct stack_frame *frame)
{
    stack_print_frame(context, frame);
}

static void stack_print_native(void *context, const struct unwind_frame *frame)
{
    scoped_free char *function = cli_escape_line(frame->function ? frame->function : "?");
    scoped_free char *object = cli_escape_line(frame->object ? frame->object : "?");

    (void)context;
    if (frame->function)
        fprintf(cli_output, "    C %s+%#llx  (%s)\n", function ? function : "?", (unsigned long long)frame->offset,
                object ? object : "?");
    else
        fprintf(cli_output, "    C %#llx  (%s)\n", (unsigned long long)frame->offset, object ? object : "?");
}

static void stack_print_merged(struct stack_view *view, const struct thread_row *row)
{
    const struct stack_merge merge = {view, stack_print_python, stack_print_native};

    if (row->native->error)
        fprintf(cli_output, "    its C stack could not be read: %s\n", error_message(row->native->error));
    stack_merge(&merge, &view->rows, row);
}

static void stack_print_row(struct stack_view *view, const struct thread_row *row)
{
    const struct stack *stack = row->stack;

    stack_print_head(row);
    if (row->native) {
        stack_print_merged(view, row);
        return;
    }
    if (!stack)
        return;
    if (stack->error)
        fprintf(cli_output, "    could not be read: %s\n", error_message(stack->error));
    else if (stack->changing)
        fprintf(cli_output, "    ... changing all the time; what stayed:\n");
    else if (!stack->count)
        fprintf(cli_output, "    no Python frame\n");
    stack_print_frames(view, stack);
    if (stack->cut)
        fprintf(cli_output, "    ... and more\n");
}

/* ----------------------------------------------------------- greenlets, as text */

static const char *const greenlet_states[] = {"new", "suspended", "current", "ended"};

static void stack_print_greenlet_head(const struct greenlet *greenlet)
{
    scoped_free char *type = cli_escape_line(greenlet->type);

    fprintf(cli_output, "  greenlet %#llx (%s)", (unsigned long long)greenlet->address, type ? type : "?");
    if (greenlet->main)
        fprintf(cli_output, ", the thread's main one");
    else if (greenlet->parent)
        fprintf(cli_output, ", child of %#llx", (unsigned long long)greenlet->parent);
    if (greenlet->stack.changing)
        fprintf(cli_output, ": changing all the time\n");
    else if (greenlet->state == GREENLET_CURRENT)
        fprintf(cli_output, ": current, its stack is the thread's\n");
    else
        fprintf(cli_output, ": %s\n", greenlet->state == GREENLET_NEW ? "not started" : "suspended");
}

static void stack_print_greenlet(struct stack_view *view, const struct greenlet *greenlet)
{
    stack_print_greenlet_head(greenlet);
    if (greenlet->stack.error)
        fprintf(cli_output, "    could not be read: %s\n", error_message(greenlet->stack.error));
    stack_print_frames(view, &greenlet->stack);
    if (greenlet->stack.cut)
        fprintf(cli_output, "    ... and more\n");
}

/* Those of one thread; the ones that have ended are only counted. */
static void stack_print_greenlets(struct stack_view *view, size_t thread)
{
    const struct greenlets *greenlets = &view->rows.greenlets;
    size_t ended = 0;

    for (size_t i = 0; i < greenlets->count; i++) {
        const struct greenlet *greenlet = &greenlets->items[i];

        if (greenlet->thread != thread)
            continue;
        if (greenlet->state == GREENLET_ENDED && !greenlet->stack.changing)
            ended++;
        else
            stack_print_greenlet(view, greenlet);
    }
    if (ended)
        fprintf(cli_output, "  greenlets that have ended: %zu\n", ended);
}

/* Those of no thread that is known, and what is to be said of all. */
static void stack_print_greenlets_left(struct stack_view *view)
{
    const struct greenlets *greenlets = &view->rows.greenlets;
    bool any = greenlets->count && greenlets->items[greenlets->count - 1].thread == GREENLET_NO_THREAD;

    if (!greenlets->loaded)
        return;
    if (any && !view->options->stack.one) {
        fprintf(cli_output, "\ngreenlets of threads that have ended, or aren't known:\n");
        stack_print_greenlets(view, GREENLET_NO_THREAD);
    }
    if (greenlets->error)
        fprintf(cli_output, "\ngreenlets: not readable: %s\n", error_message(greenlets->error));
    else if (greenlets->incomplete)
        fprintf(cli_output, "\ngreenlets: some may be missing, as the process changed under the search\n");
}

static void stack_print_text(struct stack_view *view)
{
    bool any = false;

    for (size_t i = 0; i < view->rows.count; i++) {
        if (!stack_is_wanted(view->options, &view->rows.items[i]))
            continue;
        if (any)
            putc('\n', cli_output);
        any = true;
        stack_print_row(view, &view->rows.items[i]);
        if (view->rows.items[i].state)
            stack_print_greenlets(view, (size_t)(view->rows.items[i].state - view->rows.states));
    }
    stack_print_greenlets_left(view);
}

/* ----------------------------------------------------------------------- JSON */

static void stack_json_frame(struct json *json, struct stack_view *view, const struct stack_frame *frame)
{
    struct stack_json to = {view, json};

    json_begin_object(json, NULL);
    json_string(json, "kind", "python");
    json_string(json, "function", frame->code->function);
    json_string(json, "file", frame->code->file);
    if (frame->line)
        json_integer(json, "line", frame->line);
    else
        json_null(json, "line");
    if (view->options->stack.locals && view->rows.objects_known) {
        json_begin_array(json, "locals");
        stack_visit_variables(view, frame, stack_json_variable, &to);
        json_end_array(json);
    }
    json_end_object(json);
}

static void stack_json_python(void *context, const struct stack_frame *frame)
{
    const struct stack_json *to = context;

    stack_json_frame(to->json, to->view, frame);
}

static void stack_json_native(void *context, const struct unwind_frame *frame)
{
    struct json *json = ((struct stack_json *)context)->json;
    char address[24];

    snprintf(address, sizeof(address), "%#llx", (unsigned long long)frame->address);
    json_begin_object(json, NULL);
    json_string(json, "kind", "native");
    json_string(json, "function", frame->function);
    json_unsigned(json, "offset", frame->offset);
    json_string(json, "object", frame->object);
    json_string(json, "address", address);
    json_end_object(json);
}

static void stack_json_frames(struct json *json, struct stack_view *view, const struct thread_row *row)
{
    struct stack_json to = {view, json};
    const struct stack_merge merge = {&to, stack_json_python, stack_json_native};

    json_begin_array(json, "frames");
    if (row->native)
        stack_merge(&merge, &view->rows, row);
    for (size_t i = 0; !row->native && row->stack && i < row->stack->count; i++)
        stack_json_frame(json, view, &row->stack->frames[i]);
    json_end_array(json);
}

static void stack_json_address(struct json *json, const char *key, uint64_t address)
{
    char text[24];

    snprintf(text, sizeof(text), "%#llx", (unsigned long long)address);
    json_string(json, key, address ? text : NULL);
}

static void stack_json_greenlet(struct json *json, struct stack_view *view, const struct greenlet *greenlet)
{
    json_begin_object(json, NULL);
    stack_json_address(json, "address", greenlet->address);
    json_string(json, "type", greenlet->type);
    json_string(json, "state", greenlet->stack.changing ? NULL : greenlet_states[greenlet->state]);
    json_boolean(json, "main", greenlet->main);
    stack_json_address(json, "parent", greenlet->parent);
    json_boolean(json, "changing", greenlet->stack.changing);
    json_string(json, "error", greenlet->stack.error ? error_message(greenlet->stack.error) : NULL);
    json_begin_array(json, "frames");
    for (size_t i = 0; i < greenlet->stack.count; i++)
        stack_json_frame(json, view, &greenlet->stack.frames[i]);
    json_end_array(json);
    json_end_object(json);
}

static void stack_json_greenlets(struct json *json, struct stack_view *view, size_t thread)
{
    const struct greenlets *greenlets = &view->rows.greenlets;

    json_begin_array(json, "greenlets");
    for (size_t i = 0; i < greenlets->count; i++) {
        if (greenlets->items[i].thread == thread)
            stack_json_greenlet(json, view, &greenlets->items[i]);
    }
    json_end_array(json);
}

/* What is to be said of all of them. */
static void stack_json_greenlets_found(struct json *json, struct stack_view *view)
{
    const struct greenlets *greenlets = &view->rows.greenlets;

    if (!greenlets->loaded) {
        json_null(json, "greenlet_module");
        return;
    }
    json_begin_object(json, "greenlet_module");
    json_string(json, "version", greenlets->version[0] ? greenlets->version : NULL);
    json_string(json, "error", greenlets->error ? error_message(greenlets->error) : NULL);
    json_boolean(json, "incomplete", greenlets->incomplete);
    json_integer(json, "search_us", (int64_t)(view->rows.search_ns / 1000));
    stack_json_greenlets(json, view, GREENLET_NO_THREAD);
    json_end_object(json);
}

static void stack_json_row(struct json *json, struct stack_view *view, const struct thread_row *row)
{
    const struct stack *stack = row->stack;

    json_begin_object(json, NULL);
    thread_row_json(json, row);
    json_boolean(json, "changing", stack && stack->changing);
    json_boolean(json, "steady", stack && stack->steady);
    json_string(json, "error", stack && stack->error ? error_message(stack->error) : NULL);
    json_string(json, "native_error", row->native && row->native->error ? error_message(row->native->error) : NULL);
    stack_json_frames(json, view, row);
    if (view->rows.greenlets.loaded && row->state)
        stack_json_greenlets(json, view, (size_t)(row->state - view->rows.states));
    json_end_object(json);
}

static void stack_print_json(struct json *json, struct stack_view *view)
{
    json_begin_object(json, "result");
    json_integer(json, "reading_us", (int64_t)(view->rows.reading_ns / 1000));
    if (view->options->stack.hold || view->options->stack.native)
        json_integer(json, "pause_us", (int64_t)(view->rows.pause_ns / 1000));
    else
        json_null(json, "pause_us");
    json_begin_array(json, "threads");
    for (size_t i = 0; i < view->rows.count; i++) {
        if (stack_is_wanted(view->options, &view->rows.items[i]) || !view->options->stack.one)
            stack_json_row(json, view, &view->rows.items[i]);
    }
    json_end_array(json);
    stack_json_greenlets_found(json, view);
    json_end_object(json);
}

/* ------------------------------------------------------------------------ run */

static struct error *stack_show(struct session *session, struct cli_options *options, struct json *json)
{
    struct stack_view view = {.session = session, .options = options};
    struct error *error = stack_find_thread(session, options);

    if (error)
        return error;
    const struct thread_request request = {
        .hold = options->stack.hold,
        .native = options->stack.native,
        .outsiders = options->verbose,
        .greenlets = true,
        .only = options->stack.one ? options->choice.tid : 0,
        .only_main = options->stack.one && options->choice.kind == INJECT_THREAD_MAIN,
    };
    error = thread_rows_read(&view.rows, session, &request);
    if (!error)
        error = process_check(&session->process);
    if (!error && options->json) {
        session_json_target(json, session);
        stack_print_json(json, &view);
    } else if (!error) {
        stack_print_text(&view);
    }
    if (!error && (options->stack.hold || options->stack.native) && !session->process.core)
        cli_note(options, options->stack.hold ? "all threads were stopped for %llu us" : "no thread was stopped for longer than %llu us",
                 (unsigned long long)(view.rows.pause_ns / 1000));
    thread_rows_deinit(&view.rows);
    return error;
}

static struct error *stack_run(const struct cli_options *options, struct json *json)
{
    struct cli_options own = *options;
    struct session session;
    struct error *error = session_open_target(&session, options);

    if (error)
        return error;
    error = stack_show(&session, &own, json);
    session_close(&session);
    return error;
}

const struct cli_command cli_command_stack = {
    .name = "stack",
    .synopsis = "PID or CORE [--locals [--values]] [--stop] [--thread main|TID]",
    .summary = "the Python stack of every thread, and what it is doing",
    .description =
        "Everything is read from outside. Nothing is stopped, unless --stop asks for it: a thread that runs is\n"
        "read again until its stack held still; where it never does, the frames that stayed are shown.\n"
        "--locals adds the variables, strings and numbers by type and length alone; --values, their contents.",
    .example = "safepoint stack 4711 --locals",
    .takes = CLI_TAKES_CORE | CLI_TAKES_STACK | CLI_TAKES_STOP | CLI_TAKES_THREAD | CLI_TAKES_VALUES,
    .words_min = 1,
    .words_max = 1,
    .run = stack_run,
};
