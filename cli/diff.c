/* SPDX-License-Identifier: GPL-3.0-or-later */
/* diff: what grew between two snapshots, or between one and a process as it is now, and who keeps it. */
#include "cli/growth.h"

struct diff {
    struct growth_types types;
    struct growth_look before, after;
    struct growth growth;
};

static void diff_json(const struct diff *diff, const struct heap_view *view, const struct cli_options *options, struct json *json)
{
    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    growth_json(&diff->growth, &diff->types, &diff->before, &diff->after, 0, 2, options, json);
    heap_view_json(view, json);
    json_end_object(json);
}

/* A core has no start time, an older file no identity. */
static void diff_note_processes(const struct diff *diff, const struct cli_options *options)
{
    const struct heap_origin *a = &diff->before.origin, *b = &diff->after.origin;
    bool timed = a->start_time && b->start_time, known = a->identity && b->identity;
    unsigned long before = (unsigned long)a->pid, after = (unsigned long)b->pid;

    if (known ? a->identity != b->identity : a->pid != b->pid || (timed && a->start_time != b->start_time))
        cli_note(options, "TWO PROCESSES, %lu and %lu: only counts and bytes by type mean something", before, after);
    else if (known && a->pid != b->pid && (!timed || a->start_time != b->start_time))
        cli_note(options, "PERHAPS TWO PROCESSES, %lu and %lu: one may be a fork of the other; else it has two numbers", before, after);
    else if (!known && !timed)
        cli_note(options, "PERHAPS TWO PROCESSES: both had the number %lu, more isn't known", before);
}

static struct error *diff_answer(struct diff *diff, struct heap_view *view, const struct graph *graph,
                                 const struct cli_options *options, struct json *json)
{
    struct error *error = growth_find(&diff->growth, &diff->types, &diff->before, &diff->after, view, graph,
                                      growth_keepers_wanted(options));

    if (error)
        return error;
    diff_note_processes(diff, options);
    if (options->json)
        diff_json(diff, view, options, json);
    else
        error = growth_print(&diff->growth, &diff->types, &diff->before, &diff->after, 0, 2, options);
    if (!error)
        heap_view_note(view, options);
    return error;
}

static struct error *diff_ask(struct diff *diff, const struct cli_options *options, struct json *json)
{
    struct cli_options second = *options;
    struct graph graph = {.edge_count = 0};
    struct heap_view view;
    struct error *error = growth_look_first(&diff->before, &diff->types, options);

    second.words++;
    if (error || (error = heap_view_open_graph(&view, &second, json)))
        return error;
    error = growth_look_take(&diff->after, &diff->types, &view, &graph, options);
    if (!error)
        error = diff_answer(diff, &view, &graph, options, json);
    graph_deinit(&graph);
    heap_view_close(&view);
    return error;
}

static struct error *diff_run(const struct cli_options *options, struct json *json)
{
    struct diff diff = {.types = {.count = 0}};
    struct error *error = diff_ask(&diff, options, json);

    growth_deinit(&diff.growth);
    growth_look_deinit(&diff.before);
    growth_look_deinit(&diff.after);
    growth_types_deinit(&diff.types);
    return error;
}

const struct cli_command cli_command_diff = {
    .name = "diff",
    .synopsis = "FILE (FILE or PID)",
    .summary = "what grew between two snapshots, and who keeps it",
    .description = "Of each type how many objects and bytes more, which are new and which gone, and references that nobody accounts\n"
                   "for; then who keeps the new ones: the nearest object that was there before, by its name. The second may be\n"
                   "the process itself.",
    .example = "safepoint diff before.sps after.sps",
    .takes = CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 2,
    .words_max = 2,
    .run = diff_run,
};
