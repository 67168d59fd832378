/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The shortest ways from where references start to an object: breadth first, along references that count.
 *
 * A search starts at seeds. Each has a level, as if so many references led to it already: what should be named first starts
 * nearer. A seed may have a parent, where a few references are known and said before the search begins.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_PATHS_H
#define SAFEPOINT_RUNTIME_HEAP_PATHS_H

#include "runtime/heap/graph.h"

#define PATHS_SEED (UINT32_C(1) << 31)

struct paths_seed {
    uint32_t node;
    uint32_t parent; /* a seed's node, or HEAP_NONE: what `origin` tells of holds it */
    uint32_t origin; /* the caller's */
    uint32_t level;
};

struct paths {
    const struct graph *graph;      /* not owned */
    const struct paths_seed *seeds; /* likewise */
    uint32_t *parents;              /* by node: PATHS_SEED | seed, the node it was reached from, or HEAP_NONE */
    uint32_t *order;                /* the nodes that were reached, the nearest first */
    uint32_t reached;
    uint32_t *level_ends; /* behind the last of each level in `order` */
    uint32_t level_count, level_room;
};

/* Searches until `until` is reached, or all that can be (HEAP_NONE). Seeds come by rising level, and of those of one node the
 * first counts. ERROR_SYSTEM. End it with paths_deinit() in any case; graph and seeds must outlive it. */
struct error *paths_find(struct paths *paths, const struct graph *graph, const struct paths_seed *seeds, size_t count,
                         uint32_t until) __attribute__((warn_unused_result));
void paths_deinit(struct paths *paths);

static inline bool paths_is_reached(const struct paths *paths, uint32_t node)
{
    return paths->parents[node] != HEAP_NONE;
}

/* The node before one that was reached; HEAP_NONE of one that a root holds. */
uint32_t paths_parent(const struct paths *paths, uint32_t node);

/* A path: its first node is a seed without a parent. */
struct paths_path {
    uint32_t origin;
    uint32_t *nodes; /* free() them */
    size_t count;
};

/* The shortest path to a node that was reached. ERROR_SYSTEM. */
struct error *paths_get(const struct paths *paths, uint32_t node, struct paths_path *path)
    __attribute__((warn_unused_result));

/* At most `most` paths to a node that was reached, the shortest first, of which no two come in by the same holder at the same
 * place, some dozens of steps before the node at most; after a search for all. `count` of them are given, also with an error. ERROR_SYSTEM. */
struct error *paths_get_several(const struct paths *paths, uint32_t node, struct paths_path *list, size_t most,
                                size_t *count) __attribute__((warn_unused_result));

#endif
