/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A process's references are read from its memory, a file's from the file, and both are asked the same. */
#include "cli/heap_graph.h"

#include <errno.h>
#include <stdlib.h>

#include "attach/scope.h"
#include "cli/progress.h"

#define GRAPH_NAME_MAX  512
#define GRAPH_VALUE_MAX 4096
#define GRAPH_EDGES_PER_STEP (UINT64_C(1) << 20)

/* --------------------------------------------------------- all of a file */

struct graph_filling {
    struct graph *graph;
    const struct heap_progress *progress;
    uint64_t edges;
};

static struct error *graph_fill_edge(void *context, const struct snapshot_edge *edge)
{
    struct graph_filling *filling = context;

    if (++filling->edges % GRAPH_EDGES_PER_STEP == 0) {
        struct error *error = filling->progress->step(filling->progress->context, "reading references", edge->from,
                                                      filling->graph->nodes.count);
        if (error)
            return error;
    }
    return graph_add_edge(filling->graph, edge->from, edge->target, edge->counted);
}

static struct error *graph_fill_root(void *context, const struct snapshot_root *root)
{
    struct graph_filling *filling = context;
    scoped_free char *name = root->name ? cli_escape_line(root->name) : NULL; /* a stranger's */
    const struct graph_root taken = {
        .kind = (enum heap_root_kind)root->kind,
        .target = root->target,
        .code = root->code,
        .holder = root->holder,
        .number = root->number,
        .name = name,
        .counted = root->counted,
    };

    if (root->name && !name)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
    return graph_add_root(filling->graph, &taken);
}

static struct error *graph_fill(struct graph *graph, struct heap_view *view, const struct heap_progress *progress)
{
    struct graph_filling filling = {.graph = graph, .progress = progress};
    const struct snapshot_events events = {.context = &filling, .edge = graph_fill_edge, .root = graph_fill_root};
    struct error *error = heap_file_read_again(&view->file, &events);

    return error ? error : graph_finish(graph);
}

/* ------------------------------------------------------------------ opening */

static struct heap_node graph_file_node(const void *context, uint32_t number)
{
    return heap_file_node(context, number);
}

static struct error *graph_step(void *context, const char *what, uint64_t done, uint64_t all)
{
    return cli_progress_step(context, what, done, all);
}

static void graph_file_sizes(const void *context, uint64_t *sizes)
{
    const struct heap_file *file = context;

    for (uint32_t i = 0; i < file->count; i++)
        sizes[i] = file->sizes[i];
}

struct error *heap_graph_open(struct graph *graph, struct heap_view *view, const struct cli_options *options)
{
    const struct graph_nodes of_file = {&view->file, view->file.count, graph_file_node, graph_file_sizes};
    const struct graph_nodes nodes = view->heap ? graph_nodes_of_heap(view->heap) : of_file;
    struct cli_progress line;
    const struct heap_progress progress = {graph_step, &line};
    struct error *error = graph_init(graph, &nodes);

    if (error)
        return error;
    cli_progress_begin(&line, options);
    error = view->heap ? graph_read_heap(graph, view->heap, &progress) : graph_fill(graph, view, &progress);
    cli_progress_end(&line);
    return error;
}

/* -------------------------------------------------------------------- names */

struct graph_visit {
    struct heap_view *view;
    const uint32_t *nodes; /* those that are still to come */
    size_t left;
    uint32_t from;
    heap_graph_edge_fn *edge;
    heap_graph_value_fn *value;
    void *context;
};

static void graph_pass_edge(void *context, const struct heap_edge *from)
{
    struct graph_visit *visit = context;
    struct heap *heap = visit->view->heap;
    char name[GRAPH_NAME_MAX];
    struct heap_graph_edge edge = {.from = visit->from,
                                   .target = heap_find(heap, from->target),
                                   .kind = from->kind,
                                   .counted = from->counted,
                                   .number = from->number,
                                   .key = HEAP_NONE,
                                   .name = from->label};

    if (edge.target == HEAP_NONE)
        return;
    if (from->kind == HEAP_EDGE_VALUE && from->name) {
        edge.key = heap_find(heap, from->name);
        heap_format_key(heap, from->name, name, sizeof(name));
        edge.name = name;
    } else if (!edge.name && from->name && heap_read_name(heap, from->name, name, sizeof(name)))
        edge.name = name;
    visit->edge(visit->context, &edge);
}

/* Is it among those that are asked for? They rise, and so do the records. */
static bool graph_is_wanted(struct graph_visit *visit, uint32_t node)
{
    while (visit->left && *visit->nodes < node) {
        visit->nodes++;
        visit->left--;
    }
    return visit->left && *visit->nodes == node;
}

static struct error *graph_pass_record(void *context, const struct snapshot_edge *from)
{
    struct graph_visit *visit = context;

    if (!graph_is_wanted(visit, from->from))
        return NULL;
    scoped_free char *name = from->name ? cli_escape_line(from->name) : NULL; /* a stranger's */
    bool value = from->kind == SNAPSHOT_EDGE_VALUE;
    const struct heap_graph_edge edge = {.from = from->from,
                                         .target = from->target,
                                         .kind = (enum heap_edge_kind)from->kind,
                                         .counted = from->counted,
                                         .number = value ? 0 : from->number,
                                         .key = value && from->number ? (uint32_t)(from->number - 1) : HEAP_NONE,
                                         .name = name};

    if (from->name && !name)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
    visit->edge(visit->context, &edge);
    return NULL;
}

struct error *heap_graph_visit(struct heap_view *view, const uint32_t *nodes, size_t count, heap_graph_edge_fn *fn,
                               void *context)
{
    struct graph_visit visit = {.view = view, .nodes = nodes, .left = count, .edge = fn, .context = context};
    const struct snapshot_events events = {.context = &visit, .edge = graph_pass_record};

    if (!view->heap)
        return count ? heap_file_read_again(&view->file, &events) : NULL;
    for (size_t i = 0; i < count; i++) {
        visit.from = nodes[i];
        heap_visit_edges(view->heap, nodes[i], graph_pass_edge, &visit);
    }
    return NULL;
}

/* ------------------------------------------------------------------- values */

static struct error *graph_pass_value(void *context, const struct snapshot_value *value)
{
    struct graph_visit *visit = context;

    if (graph_is_wanted(visit, value->node))
        visit->value(visit->context, value->node, (enum heap_value_kind)value->kind, value->text, value->size, value->cut);
    return NULL;
}

struct error *heap_graph_values(struct heap_view *view, const uint32_t *nodes, size_t count, heap_graph_value_fn *fn,
                                void *context)
{
    struct graph_visit visit = {.view = view, .nodes = nodes, .left = count, .value = fn, .context = context};
    const struct snapshot_events events = {.context = &visit, .value = graph_pass_value};
    char text[GRAPH_VALUE_MAX];

    if (!view->heap)
        return count && view->origin.values ? heap_file_read_again(&view->file, &events) : NULL;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        bool cut;
        enum heap_value_kind kind = heap_read_value(view->heap, nodes[i], text, sizeof(text), &size, &cut);
        if (kind != HEAP_VALUE_NONE)
            fn(context, nodes[i], kind, text, size, cut);
    }
    return NULL;
}
