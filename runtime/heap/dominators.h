/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who keeps what: x dominates y when every path from a root to y leads through x; were x gone, y would be too. Each object's
 * immediate dominator makes a tree of them, and what hangs below an object is what it retains.
 *
 *   the whole -> groups of roots -> objects -> objects...
 *
 * Objects are numbered as in the graph; behind them come the groups of roots, then the group of what only the table of interned
 * strings holds, that of what nothing reaches, and the whole. References that aren't counted and stale roots keep nothing.
 * Of what nothing reaches, one object of each cycle that no other refers to stands first.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_DOMINATORS_H
#define SAFEPOINT_RUNTIME_HEAP_DOMINATORS_H

#include "runtime/heap/graph.h"

/* Which of the graph's roots belong together: what two groups hold is the whole's. Those of kind HEAP_ROOT_INTERNED are in
 * none, whatever is said of them here. */
struct dominators_groups {
    const uint32_t *of_root; /* of each of the graph's roots, below count */
    uint32_t count;
};

struct dominators {
    uint32_t node_count, group_count;
    uint32_t *parents;  /* by number: the immediate dominator; the whole's own is HEAP_NONE */
    uint64_t *retained; /* by number: bytes, its own among them; the whole's are the heap's */
};

static inline uint32_t dominators_group(const struct dominators *dominators, uint32_t group)
{
    return dominators->node_count + group;
}

static inline uint32_t dominators_interned(const struct dominators *dominators)
{
    return dominators->node_count + dominators->group_count;
}

static inline uint32_t dominators_unreachable(const struct dominators *dominators)
{
    return dominators_interned(dominators) + 1;
}

static inline uint32_t dominators_whole(const struct dominators *dominators)
{
    return dominators_unreachable(dominators) + 1;
}

/* Time and memory grow with the heap (semi-NCA; nothing is recursive). `groups` NULL: one for each enum heap_root_kind.
 * ERROR_SYSTEM. End it with dominators_deinit() in any case. */
struct error *dominators_find(struct dominators *dominators, const struct graph *graph,
                              const struct dominators_groups *groups) __attribute__((warn_unused_result));
void dominators_deinit(struct dominators *dominators);

/* The tree downwards, of all numbers: HEAP_NONE where there is no (further) one. Children come by rising number. */
struct dominators_tree {
    uint32_t *first, *next;
};
struct error *dominators_tree_init(struct dominators_tree *tree, const struct dominators *dominators)
    __attribute__((warn_unused_result));
void dominators_tree_deinit(struct dominators_tree *tree);

/* What all objects of a class retain together, by class: what one of them retains for another of the same class counts once.
 * `class_of` gives a node's class, below `count`, or HEAP_NONE. `sums` has room for `count`. ERROR_SYSTEM. */
struct error *dominators_sum_classes(const struct dominators *dominators, const struct dominators_tree *tree,
                                     uint32_t (*class_of)(const void *context, uint32_t node), const void *context,
                                     uint64_t *sums, uint32_t count) __attribute__((warn_unused_result));

#endif
