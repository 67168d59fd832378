/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/heap/references.h"

#include <stdlib.h>

static void references_count_edges(struct references *references, const struct graph *graph)
{
    for (size_t e = 0; e < graph->edge_count; e++) {
        if (graph_is_counted(graph, (uint32_t)e))
            references->sure[graph_target(graph, (uint32_t)e)]++;
    }
}

/* A static object's references may be its initializer's, which counted none: a static type's base, a frozen code's
 * constants. Each such object is the target of one root. */
static void references_doubt_static(struct references *references, const struct graph *graph, uint32_t node)
{
    for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
        if (graph_is_counted(graph, e)) {
            references->sure[graph_target(graph, e)]--;
            references->possible[graph_target(graph, e)]++;
        }
    }
}

/* Is this root the first that leads to a table of interned strings? */
static bool references_is_table(const struct graph *graph, size_t number)
{
    const struct graph_root *root = &graph->roots[number];

    if (root->kind != HEAP_ROOT_INTERNED)
        return false;
    for (size_t i = 0; i < number; i++) {
        if (graph->roots[i].kind == HEAP_ROOT_INTERNED && graph->roots[i].target == root->target)
            return false;
    }
    return true;
}

static void references_forget_table(struct references *references, const struct graph *graph, uint32_t table)
{
    for (uint32_t e = graph->first[table]; e < graph->first[table + 1]; e++) {
        if (graph_is_counted(graph, e))
            references->sure[graph_target(graph, e)]--;
    }
}

static void references_count_root(struct references *references, const struct graph *graph, const struct graph_root *root)
{
    if (root->kind == HEAP_ROOT_OBJECT) /* it is a variable itself: nobody's reference */
        references_doubt_static(references, graph, root->target);
    else if (root->counted)
        references->sure[root->target]++;
    else if (root->kind != HEAP_ROOT_FRAME)
        references->possible[root->target]++;
}

struct error *references_count(struct references *references, const struct graph *graph)
{
    size_t room = (size_t)graph->nodes.count + 1;

    *references = (struct references){calloc(room, sizeof(uint32_t)), calloc(room, sizeof(uint32_t))};
    if (!references->sure || !references->possible)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
    references_count_edges(references, graph);
    for (size_t i = 0; i < graph->root_count; i++) {
        references_count_root(references, graph, &graph->roots[i]);
        if (references_is_table(graph, i))
            references_forget_table(references, graph, graph->roots[i].target);
    }
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
