/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/heap/references.h"

#include <stdlib.h>

#include "attach/scope.h"

static void references_count_edges(struct references *references, const struct graph *graph)
{
    for (size_t e = 0; e < graph->edge_count; e++) {
        if (graph_is_counted(graph, (uint32_t)e))
            references->sure[graph_target(graph, (uint32_t)e)]++;
    }
}

static bool references_mark(uint64_t *bits, uint32_t node)
{
    bool before = bits[node / 64] >> node % 64 & 1;

    bits[node / 64] |= UINT64_C(1) << node % 64;
    return !before;
}

static void references_withdraw(struct references *references, const struct graph *graph, uint32_t from, bool possible)
{
    for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++) {
        if (graph_is_counted(graph, e)) {
            references->sure[graph_target(graph, e)]--;
            references->possible[graph_target(graph, e)] += possible;
        }
    }
}

/* Those of the table of interned strings count for nothing. A static object's may be its initializer's, which counted none: a static
 * type's base, a frozen code's constants. */
static void references_doubt(struct references *references, const struct graph *graph, uint64_t *done)
{
    for (size_t i = 0; i < graph->root_count; i++) {
        const struct graph_root *root = &graph->roots[i];
        if (root->kind == HEAP_ROOT_INTERNED && references_mark(done, root->target))
            references_withdraw(references, graph, root->target, false);
    }
    for (size_t i = 0; i < graph->root_count; i++) {
        const struct graph_root *root = &graph->roots[i];
        if (root->kind == HEAP_ROOT_OBJECT && references_mark(done, root->target))
            references_withdraw(references, graph, root->target, true);
    }
}

/* A static object is a variable itself: nobody's reference. A frame's that isn't counted is borrowed from one that is. */
static void references_count_roots(struct references *references, const struct graph *graph)
{
    for (size_t i = 0; i < graph->root_count; i++) {
        const struct graph_root *root = &graph->roots[i];
        if (root->kind == HEAP_ROOT_OBJECT)
            continue;
        if (root->counted)
            references->sure[root->target]++;
        else if (root->kind != HEAP_ROOT_FRAME)
            references->possible[root->target]++;
    }
}

struct error *references_count(struct references *references, const struct graph *graph)
{
    size_t room = (size_t)graph->nodes.count + 1;
    scoped_free uint64_t *done = calloc(room / 64 + 1, sizeof(*done));

    *references = (struct references){calloc(room, sizeof(uint32_t)), calloc(room, sizeof(uint32_t))};
    if (!done || !references->sure || !references->possible)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
    references_count_edges(references, graph);
    references_doubt(references, graph, done);
    references_count_roots(references, graph);
    return NULL;
}

void references_deinit(struct references *references)
{
    free(references->sure);
    free(references->possible);
    *references = (struct references){NULL, NULL};
}

struct references_balance references_balance(const struct references *references, uint32_t number,
                                             const struct heap_node *node)
{
    uint64_t sure = references->sure[number], all = sure + references->possible[number];

    if (node->immortal)
        return (struct references_balance){0, 0};
    return (struct references_balance){
        .excess = node->refcount > all ? (uint32_t)(node->refcount - all) : 0,
        .lack = node->refcount < sure ? (uint32_t)(sure - node->refcount) : 0,
    };
}
