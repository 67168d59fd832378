/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The references of a heap as arrays: from each node to the nodes that it refers to, and where the references into the
 * heap start. What a reference is called is not in it: that is asked for those few that are shown.
 *
 * It is built from records in rising order, whoever has them (a heap that was read, a snapshot file), and knows neither
 * addresses nor memory: the analyses over it are computation alone.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_GRAPH_H
#define SAFEPOINT_RUNTIME_HEAP_GRAPH_H

#include "runtime/heap/heap.h"

#define GRAPH_NODES_MAX HEAP_UNCOUNTED

/* What the analyses ask of a node. */
struct graph_nodes {
    const void *context;
    uint32_t count;
    struct heap_node (*node)(const void *context, uint32_t number);
    /* All of their sizes, by number; NULL: node() tells them. */
    void (*sizes)(const void *context, uint64_t *sizes);
};

struct graph_root {
    enum heap_root_kind kind;
    uint32_t target, code; /* nodes; code of a frame, or HEAP_NONE */
    uint64_t holder;       /* address of the frame, thread state, variable... */
    uint64_t number;       /* offset in the holder, or place in the frame; of its first root: the thread, from 1 on */
    char *name;            /* of a frame's variable, or of another part; or NULL */
    bool counted;          /* a frame's: the target's refcount has it in. Of all else it can't be told: false */
    bool stale;            /* graph_check_roots(): it is no reference */
};

/* Node n refers to graph_target(graph, e) for e from first[n] to first[n + 1] - 1. */
struct graph {
    struct graph_nodes nodes;
    uint32_t *first;   /* nodes.count + 1 */
    uint32_t *targets; /* bit 31: the target's refcount hasn't it in */
    size_t edge_count, edge_room;
    uint32_t done; /* nodes whose edges have begun to come */
    struct graph_root *roots;
    size_t root_count, root_room;
};

static inline uint32_t graph_target(const struct graph *graph, uint32_t edge)
{
    return graph->targets[edge] & (GRAPH_NODES_MAX - 1);
}

static inline bool graph_is_counted(const struct graph *graph, uint32_t edge)
{
    return !(graph->targets[edge] & GRAPH_NODES_MAX);
}

static inline struct heap_node graph_node(const struct graph *graph, uint32_t number)
{
    return graph->nodes.node(graph->nodes.context, number);
}

/* The sizes of all nodes, into an array that has room for them. */
void graph_read_sizes(const struct graph *graph, uint64_t *sizes);

/* Begins a graph without edges. ERROR_SYSTEM; ERROR_UNSUPPORTED of more nodes than can be numbered. End it with graph_deinit() in any case. */
struct error *graph_init(struct graph *graph, const struct graph_nodes *nodes) __attribute__((warn_unused_result));
void graph_deinit(struct graph *graph);

/* Edges come by rising `from`; then graph_finish(); roots at any time. The name is copied. */
struct error *graph_add_edge(struct graph *graph, uint32_t from, uint32_t target, bool counted)
    __attribute__((warn_unused_result));
struct error *graph_add_root(struct graph *graph, const struct graph_root *root) __attribute__((warn_unused_result));
struct error *graph_finish(struct graph *graph) __attribute__((warn_unused_result));

/* Words that look like references, in the interpreter's structures and in libraries' variables, may be what is left of one: a
 * root whose target has no more references than were found in the heap and in frames is stale. ERROR_SYSTEM. */
struct error *graph_check_roots(struct graph *graph) __attribute__((warn_unused_result));

/* All of a heap that was read; its nodes are graph_nodes_of_heap(). */
struct graph_nodes graph_nodes_of_heap(const struct heap *heap);
struct error *graph_read_heap(struct graph *graph, struct heap *heap, const struct heap_progress *progress)
    __attribute__((warn_unused_result));

/* The same the other way: node n is referred to by sources[e] for e from first[n] to first[n + 1] - 1, by rising source. */
struct graph_sources {
    uint32_t *first, *sources;
};
struct error *graph_reverse(const struct graph *graph, struct graph_sources *reverse) __attribute__((warn_unused_result));
void graph_sources_deinit(struct graph_sources *reverse);

#endif
