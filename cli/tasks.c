/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tasks: the asyncio tasks of a process, as a tree of who awaits whom. All of it is read; nothing is stopped or run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "attach/thread_group.h"
#include "cli/session.h"
#include "runtime/task_tree.h"
#include "runtime/tasks.h"

/* A tree that is deeper is a chain that nobody reads to its end: it goes on at the margin. */
#define DEPTH_MAX       100
#define GROUP_NAMES     3
#define HOLD_TIMEOUT_MS 1000

static const char *const state_names[] = {
    [TASK_PENDING] = "pending", [TASK_RUNNING] = "running", [TASK_CANCELLED] = "cancelled", [TASK_FINISHED] = "done"};

struct view_tasks {
    const struct cli_options *options;
    struct tasks tasks;
    struct task_tree tree;
    bool *shown;
};

/* Tasks whose stacks, states and waits are alike. */
struct task_group {
    const struct task *first;
    size_t count;
    const struct task *names[GROUP_NAMES];
};

/* ---------------------------------------------------------------------- text */

static void print_escaped(const char *text)
{
    scoped_free char *escaped = cli_escape_line(text);

    fputs(escaped ? escaped : "?", cli_output);
}

static void print_margin(unsigned depth)
{
    fprintf(cli_output, "%*s", (int)(2 * (depth % DEPTH_MAX)), "");
}

static void print_sleep(const struct task_wait *wait)
{
    char whole[32], left[32];

    if (wait->kind && !strcmp(wait->kind, "sleep") && wait->timed)
        fprintf(cli_output, " of %s, %s left", cli_format_duration(whole, sizeof(whole), wait->delay),
                cli_format_duration(left, sizeof(left), wait->left > 0 ? wait->left : 0));
}

/* "gather of 3 tasks", "lock asyncio.locks.Lock at 0x...", "sleep of 10 s, 7.2 s left". */
static void print_wait(const struct task *task, size_t awaited)
{
    const struct task_wait *wait = &task->wait;

    if (!wait->kind || task->state != TASK_PENDING) {
        if (task->state == TASK_PENDING && !wait->ready)
            fputs(", will go on in the loop's next turn", cli_output);
        return;
    }
    fprintf(cli_output, wait->ready ? ", goes on in the loop's next turn: %s is done" : ", waits: %s", wait->kind);
    if (awaited > 1)
        fprintf(cli_output, " of %zu tasks", awaited);
    print_sleep(wait);
    if (wait->descriptor >= 0)
        fprintf(cli_output, ", descriptor %d", wait->descriptor);
    if (!awaited && wait->object && strcmp(wait->kind, "sleep") != 0) {
        fputc(' ', cli_output);
        print_escaped(wait->type);
        fprintf(cli_output, " at %#" PRIx64, wait->object);
    }
}

/* Who has the lock that it waits for. */
static void print_holder(const struct view_tasks *view, size_t number)
{
    size_t holder = view->tree.holders[number];

    if (holder == SIZE_MAX)
        return;
    fputs(", held by ", cli_output);
    print_escaped(view->tasks.items[holder].name);
}

static void print_stack(const struct task *task, unsigned depth)
{
    for (size_t i = 0; i < task->frame_count; i++) {
        print_margin(depth + 2);
        print_escaped(task->frames[i].function);
        fputs("  ", cli_output);
        print_escaped(task->frames[i].file);
        fprintf(cli_output, ":%d\n", task->frames[i].line);
    }
    if (task->cut) {
        print_margin(depth + 2);
        fputs("...\n", cli_output);
    }
}

static void print_task_line(const struct view_tasks *view, size_t number, unsigned depth)
{
    const struct task *task = &view->tasks.items[number];

    print_margin(depth);
    fputs("- ", cli_output);
    print_escaped(task->name);
    fputs(" (", cli_output);
    print_escaped(task->coroutine);
    fprintf(cli_output, "): %s", state_names[task->state]);
    if (task->must_cancel)
        fputs(", to be cancelled", cli_output);
    else if (task->cancels && task->state == TASK_PENDING)
        fprintf(cli_output, ", cancel asked for %s", task->cancels == 1 ? "once" : "more than once");
    print_wait(task, view->tree.first[number + 1] - view->tree.first[number]);
    print_holder(view, number);
    if (task->changing)
        fputs(" (changing)", cli_output);
    fputc('\n', cli_output);
}

static void print_task(struct view_tasks *view, size_t number, unsigned depth)
{
    const struct task_tree *tree = &view->tree;
    const struct task *task = &view->tasks.items[number];

    if (view->shown[number]) {
        print_margin(depth);
        fputs("- ", cli_output);
        print_escaped(task->name);
        fputs(" (see above)\n", cli_output);
        return;
    }
    view->shown[number] = true;
    print_task_line(view, number, depth);
    print_stack(task, depth);
    for (size_t i = tree->first[number]; i < tree->first[number + 1] && depth < DEPTH_MAX; i++)
        print_task(view, tree->children[i], depth + 1);
}

static void print_circles(const struct view_tasks *view)
{
    const struct task_tree *tree = &view->tree;

    for (size_t i = 0; i < tree->circle_count; i++) {
        fputs("deadlock: ", cli_output);
        for (size_t j = tree->circle_first[i]; j < tree->circle_first[i + 1]; j++) {
            const struct task *task = &view->tasks.items[tree->circles[j]];
            print_escaped(task->name);
            fputs(task->wait.holder ? " waits for a lock of " : " awaits ", cli_output);
        }
        print_escaped(view->tasks.items[tree->circles[tree->circle_first[i]]].name);
        fputc('\n', cli_output);
    }
}

static size_t count_of_loop(const struct tasks *tasks, uint64_t loop)
{
    size_t count = 0;

    for (size_t i = 0; i < tasks->count; i++)
        count += tasks->items[i].loop == loop;
    return count;
}

static void print_loop(const struct tasks *tasks, const struct task_loop *loop)
{
    size_t count = count_of_loop(tasks, loop->address);

    fputs("loop ", cli_output);
    print_escaped(loop->type);
    fprintf(cli_output, " at %#" PRIx64, loop->address);
    if (loop->interpreter)
        fprintf(cli_output, " of interpreter %" PRId64, loop->interpreter);
    if (loop->tid)
        fprintf(cli_output, ", run by thread %d", loop->tid);
    else
        fputs(", not known to run", cli_output);
    fprintf(cli_output, ": %zu task%s\n", count, count == 1 ? "" : "s");
}

static struct error *print_trees(struct view_tasks *view)
{
    const struct tasks *tasks = &view->tasks;

    if (!(view->shown = calloc(tasks->count + 1, sizeof(*view->shown))))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    for (size_t i = 0; i < tasks->loop_count; i++) {
        print_loop(tasks, &tasks->loops[i]);
        for (size_t j = 0; j < view->tree.root_count; j++) {
            size_t root = view->tree.roots[j];
            if (tasks->items[root].loop == tasks->loops[i].address)
                print_task(view, root, 1);
        }
        for (size_t j = 0; j < tasks->count; j++) /* what was too deep */
            if (!view->shown[j] && tasks->items[j].loop == tasks->loops[i].address)
                print_task(view, j, 1);
    }
    print_circles(view);
    return NULL;
}

/* -------------------------------------------------------------------- groups */

/* By what is the same of two tasks: 0 where all of it is. */
static int compare_likeness(const struct task *left, const struct task *right)
{
    int order = strcmp(left->coroutine, right->coroutine);

    if (!order)
        order = (left->state > right->state) - (left->state < right->state);
    if (!order)
        order = strcmp(left->wait.kind ? left->wait.kind : "", right->wait.kind ? right->wait.kind : "");
    if (!order)
        order = (left->frame_count > right->frame_count) - (left->frame_count < right->frame_count);
    for (size_t i = 0; !order && i < left->frame_count; i++) {
        order = strcmp(left->frames[i].function, right->frames[i].function);
        if (!order)
            order = strcmp(left->frames[i].file, right->frames[i].file);
        if (!order)
            order = left->frames[i].line - right->frames[i].line;
    }
    return order;
}

static int compare_pointers(const void *a, const void *b)
{
    const struct task *left = *(const struct task *const *)a, *right = *(const struct task *const *)b;
    int order = compare_likeness(left, right);

    return order ? order : (left > right) - (left < right);
}

static int compare_groups(const void *a, const void *b)
{
    const struct task_group *left = a, *right = b;

    if (left->count != right->count)
        return left->count < right->count ? 1 : -1;
    return (left->first > right->first) - (left->first < right->first);
}

/* The largest first; free() them. */
static struct error *make_groups(const struct tasks *tasks, struct task_group **groups, size_t *count)
{
    scoped_free const struct task **sorted = calloc(tasks->count + 1, sizeof(const struct task *));

    *groups = calloc(tasks->count + 1, sizeof(**groups));
    *count = 0;
    if (!sorted || !*groups)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tasks");
    for (size_t i = 0; i < tasks->count; i++)
        sorted[i] = &tasks->items[i];
    if (tasks->count)
        qsort(sorted, tasks->count, sizeof(*sorted), compare_pointers);
    for (size_t i = 0; i < tasks->count; i++) {
        if (!i || compare_likeness(sorted[i - 1], sorted[i]) != 0)
            (*groups)[(*count)++].first = sorted[i];
        struct task_group *group = &(*groups)[*count - 1];
        if (group->count < GROUP_NAMES)
            group->names[group->count] = sorted[i];
        group->count++;
    }
    if (*count)
        qsort(*groups, *count, sizeof(**groups), compare_groups);
    return NULL;
}

static void print_group(const struct task_group *group)
{
    char count[32];

    fprintf(cli_output, "%s x ", cli_format_count(count, sizeof(count), group->count));
    print_escaped(group->first->coroutine);
    fprintf(cli_output, ": %s", state_names[group->first->state]);
    if (group->first->wait.kind)
        fprintf(cli_output, group->first->wait.ready ? ", %s is done" : ", waits: %s", group->first->wait.kind);
    fputs("  (", cli_output);
    for (size_t i = 0; i < GROUP_NAMES && group->names[i]; i++) {
        fputs(i ? ", " : "", cli_output);
        print_escaped(group->names[i]->name);
    }
    fputs(group->count > GROUP_NAMES ? ", ...)\n" : ")\n", cli_output);
    print_stack(group->first, 0);
}

/* ---------------------------------------------------------------------- JSON */

static void json_address(struct json *json, const char *name, uint64_t address)
{
    char text[24];

    snprintf(text, sizeof(text), "%#" PRIx64, address);
    json_string(json, name, address ? text : NULL);
}

static void json_stack(struct json *json, const struct task *task)
{
    json_begin_array(json, "stack");
    for (size_t i = 0; i < task->frame_count; i++) {
        json_begin_object(json, NULL);
        json_string(json, "function", task->frames[i].function);
        json_string(json, "file", task->frames[i].file);
        if (task->frames[i].line)
            json_integer(json, "line", task->frames[i].line);
        else
            json_null(json, "line");
        json_end_object(json);
    }
    json_end_array(json);
}

static void json_wait(struct json *json, const struct task_wait *wait)
{
    if (!wait->kind) {
        json_null(json, "waits_for");
        return;
    }
    json_begin_object(json, "waits_for");
    json_string(json, "kind", wait->kind);
    json_address(json, "address", wait->object);
    json_string(json, "type", wait->object ? wait->type : NULL);
    json_boolean(json, "ready", wait->ready);
    json_address(json, "held_by", wait->holder);
    if (wait->descriptor >= 0)
        json_integer(json, "descriptor", wait->descriptor);
    if (wait->timed) {
        json_decimal(json, "delay_s", wait->delay);
        json_decimal(json, "left_s", wait->left);
        json_decimal(json, "age_s", wait->delay - wait->left);
    }
    json_end_object(json);
}

static void json_task(struct json *json, const struct task *task)
{
    json_begin_object(json, NULL);
    json_address(json, "address", task->address);
    json_string(json, "name", task->name);
    json_address(json, "loop", task->loop);
    json_integer(json, "interpreter", task->interpreter);
    json_string(json, "coroutine", task->coroutine);
    json_string(json, "state", state_names[task->state]);
    json_boolean(json, "must_cancel", task->must_cancel);
    json_integer(json, "cancel_requests", task->cancels);
    json_string(json, "implementation", task->python ? "python" : "c");
    json_wait(json, &task->wait);
    json_stack(json, task);
    json_boolean(json, "changing", task->changing);
    json_begin_array(json, "awaited_by");
    for (size_t i = 0; i < task->awaiter_count; i++)
        json_address(json, NULL, task->awaited_by[i]);
    json_end_array(json);
    json_end_object(json);
}

static void json_loop(struct json *json, const struct task_loop *loop)
{
    json_begin_object(json, NULL);
    json_address(json, "address", loop->address);
    json_string(json, "type", loop->type);
    json_integer(json, "interpreter", loop->interpreter);
    if (loop->tid)
        json_integer(json, "thread", loop->tid);
    else
        json_null(json, "thread");
    json_end_object(json);
}

static void json_circles(struct json *json, const struct view_tasks *view)
{
    const struct task_tree *tree = &view->tree;

    json_begin_array(json, "deadlocks");
    for (size_t i = 0; i < tree->circle_count; i++) {
        json_begin_array(json, NULL);
        for (size_t j = tree->circle_first[i]; j < tree->circle_first[i + 1]; j++)
            json_address(json, NULL, view->tasks.items[tree->circles[j]].address);
        json_end_array(json);
    }
    json_end_array(json);
}

static void json_groups(struct json *json, const struct task_group *groups, size_t count)
{
    json_begin_array(json, "groups");
    for (size_t i = 0; i < count; i++) {
        json_begin_object(json, NULL);
        json_unsigned(json, "count", groups[i].count);
        json_string(json, "coroutine", groups[i].first->coroutine);
        json_string(json, "state", state_names[groups[i].first->state]);
        json_string(json, "waits_for", groups[i].first->wait.kind);
        json_stack(json, groups[i].first);
        json_end_object(json);
    }
    json_end_array(json);
}

static void json_tasks(struct json *json, const struct view_tasks *view)
{
    json_begin_array(json, "tasks");
    for (size_t i = 0; i < view->tasks.count; i++)
        json_task(json, &view->tasks.items[i]);
    json_end_array(json);
    json_circles(json, view);
}

static void json_result(struct json *json, const struct view_tasks *view, const struct task_group *groups, size_t count)
{
    json_begin_object(json, "result");
    json_unsigned(json, "count", view->tasks.count);
    json_unsigned(json, "done", view->tasks.done);
    json_boolean(json, "changing", view->tasks.changing);
    json_boolean(json, "incomplete", view->tasks.incomplete);
    json_begin_array(json, "loops");
    for (size_t i = 0; i < view->tasks.loop_count; i++)
        json_loop(json, &view->tasks.loops[i]);
    json_end_array(json);
    if (view->options->tasks.group)
        json_groups(json, groups, count);
    else
        json_tasks(json, view);
    json_end_object(json);
}

/* ----------------------------------------------------------------------- run */

static struct error *show(struct view_tasks *view, struct json *json)
{
    scoped_free struct task_group *groups = NULL;
    size_t count = 0;
    struct error *error = view->options->tasks.group ? make_groups(&view->tasks, &groups, &count) : NULL;

    if (error)
        return error;
    if (view->options->json) {
        json_result(json, view, groups, count);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        print_group(&groups[i]);
    if (!view->tasks.count)
        fputs("no asyncio tasks\n", cli_output);
    if (view->tasks.changing)
        cli_note(view->options, "the process ran while it was read: tasks may be of different moments");
    if (view->tasks.incomplete)
        cli_note(view->options, "some of it changed while it was read and is left out");
    return view->options->tasks.group ? NULL : print_trees(view);
}

/* With every thread stopped for as long as it takes, where that was asked for. */
static struct error *read_tasks(struct view_tasks *view, const struct session *session)
{
    bool hold = view->options->stack.hold;
    /* A core is as if it was held. */
    struct tasks_wish wish = {.with_done = view->options->tasks.all, .held = hold || session->process.core};
    struct thread_group group;
    struct error *error = NULL;

    if (hold && (error = thread_group_stop(&group, &session->process, 0, HOLD_TIMEOUT_MS)))
        return error;
    error = tasks_read(&view->tasks, &session->runtime, &session->maps, &wish);
    if (hold)
        cli_note(view->options, "all threads were stopped for %llu us",
                 (unsigned long long)(thread_group_release(&group) / 1000));
    return session_explain_error(&session->process, error);
}

static struct error *tasks_run(const struct cli_options *options, struct json *json)
{
    struct view_tasks view = {.options = options};
    struct session session;
    struct error *error = session_open_target(&session, options);

    if (error)
        return error;
    if (options->json)
        session_json_target(json, &session);
    error = read_tasks(&view, &session);
    if (!error)
        error = process_check(&session.process);
    if (!error)
        error = task_tree_init(&view.tree, &view.tasks);
    if (!error)
        error = show(&view, json);
    free(view.shown);
    task_tree_deinit(&view.tree);
    tasks_deinit(&view.tasks);
    session_close(&session);
    return error;
}

const struct cli_command cli_command_tasks = {
    .name = "tasks",
    .synopsis = "PID or CORE [--group] [--all] [--stop]",
    .summary = "asyncio tasks: their stacks, what each waits for, and who awaits whom",
    .description = "Everything is read from outside: nothing is stopped, no code runs in the process. A task stands "
                   "under the one\n"
                   "that awaits it, its stack innermost first. --group counts tasks that are alike; --all lists "
                   "finished ones too.",
    .example = "safepoint tasks 4711 --group",
    .takes = CLI_TAKES_CORE | CLI_TAKES_TASKS | CLI_TAKES_STOP,
    .words_min = 1,
    .words_max = 1,
    .run = tasks_run,
};
