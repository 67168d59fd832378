/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The references of a view's heap, and what they are called: of a process's as of a file's. */
#ifndef SAFEPOINT_CLI_HEAP_GRAPH_H
#define SAFEPOINT_CLI_HEAP_GRAPH_H

#include "cli/heap_view.h"
#include "runtime/heap/graph.h"

/* Fills in the graph of an open view, which must outlive it. End it with graph_deinit() in any case. ERROR_INTERRUPTED by a
 * signal to us, ERROR_SYSTEM, ERROR_BAD_FILE. */
struct error *heap_graph_open(struct graph *graph, struct heap_view *view, const struct cli_options *options)
    __attribute__((warn_unused_result));

/* A reference with what it is called; texts end with the call. */
struct heap_graph_edge {
    uint32_t from, target; /* nodes */
    enum heap_edge_kind kind;
    bool counted;
    uint64_t number;  /* index, offset, place */
    uint32_t key;     /* of a VALUE: the key's node, or HEAP_NONE */
    const char *name; /* of a field, slot, attribute, local; of a VALUE the key as Python writes it; or NULL */
};

typedef void heap_graph_edge_fn(void *context, const struct heap_graph_edge *edge);

/* Calls back for all references that leave these nodes, whose numbers rise, in the graph's order. Of a file this reads it
 * once more: ask for all that is wanted in one go. ERROR_BAD_FILE; ERROR_SYSTEM. */
struct error *heap_graph_visit(struct heap_view *view, const uint32_t *nodes, size_t count, heap_graph_edge_fn *fn,
                               void *context) __attribute__((warn_unused_result));

/* What strings and numbers among these nodes (rising) are, as heap_read_value() has it; of a file that has values. A node that
 * is neither isn't called back for. */
typedef void heap_graph_value_fn(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size,
                                 bool cut);
struct error *heap_graph_values(struct heap_view *view, const uint32_t *nodes, size_t count, heap_graph_value_fn *fn,
                                void *context) __attribute__((warn_unused_result));

#endif
