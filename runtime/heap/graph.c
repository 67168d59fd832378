/* SPDX-License-Identifier: GPL-3.0-or-later */
/* References as arrays: built once, in order, and turned round. */
#include "runtime/heap/graph.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define GRAPH_NODES_PER_STEP 65536u
#define GRAPH_NAME_MAX 512

static struct error *graph_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
}

struct error *graph_init(struct graph *graph, const struct graph_nodes *nodes)
{
    *graph = (struct graph){.nodes = *nodes};
    if (nodes->count >= GRAPH_NODES_MAX)
        return error_create(ERROR_UNSUPPORTED, NULL, "a heap of more than 2^31 objects");
    graph->first = malloc(((size_t)nodes->count + 1) * sizeof(*graph->first));
    return graph->first ? NULL : graph_out_of_memory();
}

void graph_deinit(struct graph *graph)
{
    for (size_t i = 0; i < graph->root_count; i++)
        free(graph->roots[i].name);
    free(graph->roots);
    free(graph->first);
    free(graph->targets);
    *graph = (struct graph){.root_count = 0};
}

static struct error *graph_grow_edges(struct graph *graph)
{
    size_t room = graph->edge_room ? graph->edge_room + graph->edge_room / 2 : (size_t)graph->nodes.count * 2 + 1024;
    uint32_t *larger;

    if (graph->edge_count == UINT32_MAX)
        return error_create(ERROR_UNSUPPORTED, NULL, "a heap of more than 2^32 references");
    if (room > UINT32_MAX)
        room = UINT32_MAX;
    if (!(larger = reallocarray(graph->targets, room, sizeof(*graph->targets))))
        return graph_out_of_memory();
    graph->targets = larger;
    graph->edge_room = room;
    return NULL;
}

struct error *graph_add_edge(struct graph *graph, uint32_t from, uint32_t target, bool counted)
{
    if (graph->edge_count == graph->edge_room) {
        struct error *error = graph_grow_edges(graph);
        if (error)
            return error;
    }
    while (graph->done <= from)
        graph->first[graph->done++] = (uint32_t)graph->edge_count;
    graph->targets[graph->edge_count++] = target | (counted ? 0 : GRAPH_NODES_MAX);
    return NULL;
}

struct error *graph_finish(struct graph *graph)
{
    while (graph->done <= graph->nodes.count)
        graph->first[graph->done++] = (uint32_t)graph->edge_count;
    if (graph->edge_count && graph->edge_count < graph->edge_room) {
        uint32_t *less = reallocarray(graph->targets, graph->edge_count, sizeof(*graph->targets));
        if (less) {
            graph->targets = less;
            graph->edge_room = graph->edge_count;
        }
    }
    return NULL;
}

struct error *graph_add_root(struct graph *graph, const struct graph_root *root)
{
    if (graph->root_count == graph->root_room) {
        size_t room = graph->root_room ? graph->root_room * 2 : 1024;
        struct graph_root *larger = reallocarray(graph->roots, room, sizeof(*graph->roots));
        if (!larger)
            return graph_out_of_memory();
        graph->roots = larger;
        graph->root_room = room;
    }
    struct graph_root *added = &graph->roots[graph->root_count];
    *added = *root;
    if (root->name && !(added->name = strdup(root->name)))
        return graph_out_of_memory();
    graph->root_count++;
    return NULL;
}

void graph_read_sizes(const struct graph *graph, uint64_t *sizes)
{
    if (graph->nodes.sizes) {
        graph->nodes.sizes(graph->nodes.context, sizes);
        return;
    }
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        sizes[i] = graph_node(graph, i).size;
}

/* --------------------------------------------------------------- of a heap */

struct graph_reading {
    struct graph *graph;
    struct heap *heap;
    uint32_t from;
    struct error *error; /* the first */
};

static struct heap_node graph_heap_node(const void *context, uint32_t number)
{
    return heap_get_node(context, number);
}

static void graph_heap_sizes(const void *context, uint64_t *sizes)
{
    heap_read_sizes(context, sizes);
}

struct graph_nodes graph_nodes_of_heap(const struct heap *heap)
{
    return (struct graph_nodes){heap, heap_count(heap), graph_heap_node, graph_heap_sizes};
}

static void graph_take_target(void *context, uint32_t target, bool counted)
{
    struct graph_reading *reading = context;

    if (!reading->error)
        reading->error = graph_add_edge(reading->graph, reading->from, target, counted);
}

static void graph_take_root(void *context, const struct heap_root *from)
{
    struct graph_reading *reading = context;
    char name[GRAPH_NAME_MAX];
    struct graph_root root = {
        .kind = from->kind,
        .target = heap_find(reading->heap, from->target),
        .code = from->code ? heap_find(reading->heap, from->code) : HEAP_NONE,
        .holder = from->holder,
        .number = from->number,
        .name = (char *)from->label,
        .counted = from->counted,
    };

    if (reading->error || root.target == HEAP_NONE)
        return;
    if (!root.name && from->name && heap_read_name(reading->heap, from->name, name, sizeof(name)))
        root.name = name;
    reading->error = graph_add_root(reading->graph, &root);
}

static void graph_visit_nodes(struct graph_reading *reading, const struct heap_progress *progress)
{
    uint32_t count = reading->graph->nodes.count;

    for (uint32_t i = 0; i < count && !reading->error; i++) {
        reading->from = i;
        heap_visit_targets(reading->heap, i, graph_take_target, reading);
        if (progress && i % GRAPH_NODES_PER_STEP == 0 && !reading->error)
            reading->error = progress->step(progress->context, "following references", i, count);
    }
}

struct error *graph_read_heap(struct graph *graph, struct heap *heap, const struct heap_progress *progress)
{
    struct graph_reading reading = {.graph = graph, .heap = heap};
    bool taken;

    reading.error = heap_take_references(heap, graph->first, &graph->targets, &graph->edge_count, &taken);
    if (taken) {
        graph->edge_room = graph->edge_count;
        graph->done = graph->nodes.count + 1;
    } else {
        graph_visit_nodes(&reading, progress);
    }
    if (!reading.error)
        heap_visit_roots(heap, graph_take_root, &reading);
    return reading.error ? reading.error : graph_finish(graph);
}

/* --------------------------------------------------------------- backwards */

struct error *graph_reverse(const struct graph *graph, struct graph_sources *reverse)
{
    uint32_t count = graph->nodes.count;

    *reverse = (struct graph_sources){calloc((size_t)count + 2, sizeof(*reverse->first)),
                                      malloc(graph->edge_count * sizeof(*reverse->sources) + 1)};
    if (!reverse->first || !reverse->sources) {
        graph_sources_deinit(reverse);
        return graph_out_of_memory();
    }
    uint32_t *next = reverse->first + 1; /* while they are filled in, where each one's next goes */
    for (size_t e = 0; e < graph->edge_count; e++)
        next[graph_target(graph, (uint32_t)e) + 1]++;
    for (uint32_t i = 0; i < count; i++)
        next[i + 1] += next[i];
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++)
            reverse->sources[next[graph_target(graph, e)]++] = from;
    }
    return NULL;
}

void graph_sources_deinit(struct graph_sources *reverse)
{
    free(reverse->first);
    free(reverse->sources);
    *reverse = (struct graph_sources){NULL, NULL};
}
