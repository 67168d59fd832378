/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * grow: what grows in a process from now on, and who keeps it. It is looked at in full at first and at the end; between,
 * with --every, its objects are counted by type. Of each look little is kept (cli/growth.h).
 */
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/growth.h"
#include "cli/period.h"

#define GROW_FOR_MS 60000

struct grow {
    struct growth_types types;
    struct growth_look before, after;
    struct growth growth;
    uint64_t *counts; /* by type: objects at the last look */
    uint32_t *rises;
    uint32_t room;    /* of both */
    uint32_t looks;
    double start, seconds;
    bool interrupted;
};

static struct error *grow_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the counts");
}

/* ------------------------------------------------------------------ counting */

static struct error *grow_make_room(struct grow *grow)
{
    uint32_t room = grow->types.count;

    if (room <= grow->room)
        return NULL;
    uint64_t *counts = reallocarray(grow->counts, room, sizeof(*counts));
    if (!counts)
        return grow_out_of_memory();
    grow->counts = counts;
    uint32_t *rises = reallocarray(grow->rises, room, sizeof(*rises));
    if (!rises)
        return grow_out_of_memory();
    grow->rises = rises;
    memset(counts + grow->room, 0, (room - grow->room) * sizeof(*counts));
    memset(rises + grow->room, 0, (room - grow->room) * sizeof(*rises));
    grow->room = room;
    return NULL;
}

/* Holds the counts of a look against those of the one before. */
static struct error *grow_count(struct grow *grow, const struct growth_look *look)
{
    scoped_free uint64_t *counts = calloc((size_t)grow->types.count + 1, sizeof(*counts));
    struct error *error = counts ? grow_make_room(grow) : grow_out_of_memory();

    if (error)
        return error;
    for (uint32_t i = 0; i < look->look.count; i++)
        counts[look->look.types[i]]++;
    for (uint32_t i = 0; i < grow->types.count; i++) {
        grow->rises[i] += grow->looks && counts[i] > grow->counts[i];
        grow->counts[i] = counts[i];
    }
    grow->looks++;
    return NULL;
}

/* --------------------------------------------------------------------- looks */

static struct error *grow_check_same(const struct grow *grow, const struct heap_origin *origin)
{
    if (grow->before.origin.start_time == origin->start_time)
        return NULL;
    return error_create(ERROR_TARGET_ENDED, NULL, "process %lu has ended meanwhile", (unsigned long)origin->pid);
}

static struct error *grow_look_first(struct grow *grow, const struct cli_options *options)
{
    struct error *error = growth_look_first(&grow->before, &grow->types, options);

    return error ? error : grow_count(grow, &grow->before);
}

/* What a look between counts; nothing of it is kept. */
static struct error *grow_look_between(struct grow *grow, const struct cli_options *options)
{
    struct growth_look look = {.bytes = 0};
    struct heap_view view;
    struct error *error = heap_view_open(&view, options, NULL);

    if (error)
        return error;
    if (!(error = grow_check_same(grow, &view.origin)) && !(error = growth_look_count(&look, &grow->types, &view)))
        error = grow_count(grow, &look);
    heap_view_close(&view);
    growth_look_deinit(&look);
    return error;
}

/* A signal in the middle of a look leaves the rest of the time out, too. */
static struct error *grow_take_interruption(struct grow *grow, struct error *error)
{
    if (!error || error_code(error) != ERROR_INTERRUPTED)
        return error;
    cli_signals_take();
    grow->interrupted = true;
    error_destroy(error);
    return NULL;
}

static struct error *grow_wait(struct grow *grow, const struct cli_options *options)
{
    double every = (double)options->period.every_ms / 1e3, next = grow->start + every;
    double end = grow->start + (double)(options->period.for_ms ? options->period.for_ms : GROW_FOR_MS) / 1e3;
    pid_t pid = (pid_t)grow->before.origin.pid;
    struct error *error = NULL;

    while (!error && !grow->interrupted && every > 0 && next < end) {
        if ((error = period_wait(pid, next, &grow->interrupted)) || grow->interrupted)
            break;
        error = grow_take_interruption(grow, grow_look_between(grow, options));
        while (next <= period_now())
            next += every;
    }
    return error || grow->interrupted ? error : period_wait(pid, end, &grow->interrupted);
}

/* -------------------------------------------------------------------- answer */

static void grow_json(const struct grow *grow, const struct heap_view *view, const struct cli_options *options, struct json *json)
{
    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    json_boolean(json, "interrupted", grow->interrupted);
    growth_json(&grow->growth, &grow->types, &grow->before, &grow->after, grow->seconds, grow->looks, options, json);
    heap_view_json(view, json);
    json_end_object(json);
}

static struct error *grow_answer(struct grow *grow, struct heap_view *view, const struct graph *graph,
                                 const struct cli_options *options, struct json *json)
{
    struct error *error = grow_count(grow, &grow->after);

    if (!error)
        error = growth_find(&grow->growth, &grow->types, &grow->before, &grow->after, view, graph,
                            growth_keepers_wanted(options));
    if (error)
        return error;
    for (size_t i = 0; i < grow->growth.row_count; i++)
        grow->growth.rows[i].rises = grow->rises[grow->growth.rows[i].type];
    if (options->json)
        grow_json(grow, view, options, json);
    else
        error = growth_print(&grow->growth, &grow->types, &grow->before, &grow->after, grow->seconds, grow->looks, options);
    if (!error)
        heap_view_note(view, options);
    return error;
}

static struct error *grow_look_last(struct grow *grow, const struct cli_options *options, struct json *json)
{
    struct graph graph = {.edge_count = 0};
    struct heap_view view;
    struct error *error = heap_view_open_graph(&view, options, json);

    if (error)
        return error;
    grow->seconds = period_now() - grow->start;
    if (!(error = grow_check_same(grow, &view.origin)) &&
        !(error = growth_look_take(&grow->after, &grow->types, &view, &graph, options)))
        error = grow_answer(grow, &view, &graph, options, json);
    graph_deinit(&graph);
    heap_view_close(&view);
    return error;
}

/* ----------------------------------------------------------------------- run */

static struct error *grow_run(const struct cli_options *options, struct json *json)
{
    struct grow grow = {.start = period_now()};
    struct error *error;

    if (heap_view_is_file(options))
        return error_create(ERROR_USAGE, "two snapshots: safepoint diff A B",
                            "%s is no process id: grow needs a live process", options->words[0]);
    error = grow_look_first(&grow, options);
    if (!error)
        error = grow_wait(&grow, options);
    if (!error)
        error = grow_look_last(&grow, options, json);
    growth_deinit(&grow.growth);
    growth_look_deinit(&grow.before);
    growth_look_deinit(&grow.after);
    growth_types_deinit(&grow.types);
    free(grow.counts);
    free(grow.rises);
    return error;
}

const struct cli_command cli_command_grow = {
    .name = "grow",
    .synopsis = "PID",
    .summary = "what grows in a process from now on, and who keeps it",
    .description = "Looks at it now and after --for (60s), and says of each type how many objects and bytes more, and who keeps the\n"
                   "new ones. With --every it is looked at between, too: ROSE tells how often a type's count rose. Ctrl-C ends\n"
                   "it early, with an answer. At each look the process is held for milliseconds at its safe point.",
    .example = "safepoint grow 4711 --for 60s --every 10s",
    .takes = CLI_TAKES_FOR | CLI_TAKES_EVERY | CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = grow_run,
};
