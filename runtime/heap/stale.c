/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which roots are none: places of lists of free objects, say, keep the address of one that is in use again. */
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/heap/graph.h"

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the roots");
}

/* The others are read from structures whose fields are known. */
static bool is_guessed(const struct graph_root *root)
{
    return root->kind == HEAP_ROOT_INTERPRETER || root->kind == HEAP_ROOT_THREAD || root->kind == HEAP_ROOT_STATIC;
}

/* What guessed roots refer to, and how many references to it there are in the heap and in frames. */
struct suspects {
    uint64_t *bits;  /* one a node: a guessed root refers to it */
    uint32_t *ranks; /* of those before each word of bits */
    uint32_t *found;
    uint32_t count;
};

static uint32_t rank_of(const struct suspects *suspects, uint32_t node)
{
    uint64_t below = suspects->bits[node / 64] & ((UINT64_C(1) << node % 64) - 1);

    return suspects->ranks[node / 64] + (uint32_t)__builtin_popcountll(below);
}

static bool is_suspect(const struct suspects *suspects, uint32_t node)
{
    return suspects->bits[node / 64] >> node % 64 & 1;
}

static struct error *find_suspects(struct suspects *suspects, const struct graph *graph)
{
    size_t words = graph->nodes.count / 64 + 1;

    suspects->bits = calloc(words, sizeof(*suspects->bits));
    suspects->ranks = malloc(words * sizeof(*suspects->ranks));
    if (!suspects->bits || !suspects->ranks)
        return out_of_memory();
    for (size_t i = 0; i < graph->root_count; i++) {
        if (is_guessed(&graph->roots[i]))
            suspects->bits[graph->roots[i].target / 64] |= UINT64_C(1) << graph->roots[i].target % 64;
    }
    for (size_t i = 0; i < words; i++) {
        suspects->ranks[i] = suspects->count;
        suspects->count += (uint32_t)__builtin_popcountll(suspects->bits[i]);
    }
    suspects->found = calloc((size_t)suspects->count + 1, sizeof(*suspects->found));
    return suspects->found ? NULL : out_of_memory();
}

static void count_found(struct suspects *suspects, const struct graph *graph)
{
    for (size_t e = 0; e < graph->edge_count; e++) {
        uint32_t target = graph_target(graph, (uint32_t)e);
        if (is_suspect(suspects, target) && graph_is_counted(graph, (uint32_t)e))
            suspects->found[rank_of(suspects, target)]++;
    }
    for (size_t i = 0; i < graph->root_count; i++) { /* the memory of frames may lie behind a library's variables */
        const struct graph_root *root = &graph->roots[i];
        if (root->kind == HEAP_ROOT_FRAME && is_suspect(suspects, root->target))
            suspects->found[rank_of(suspects, root->target)]++;
    }
}

struct error *graph_check_roots(struct graph *graph)
{
    struct suspects suspects = {NULL, NULL, NULL, 0};
    struct error *error = find_suspects(&suspects, graph);

    if (!error)
        count_found(&suspects, graph);
    for (size_t i = 0; i < graph->root_count && !error; i++) {
        struct graph_root *root = &graph->roots[i];
        struct heap_node node = graph_node(graph, root->target);
        root->stale = is_guessed(root) && !node.immortal && node.refcount <= suspects.found[rank_of(&suspects, root->target)];
    }
    free(suspects.bits);
    free(suspects.ranks);
    free(suspects.found);
    return error;
}
