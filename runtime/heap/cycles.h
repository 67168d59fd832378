/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cyclic garbage that waits for the collector, found by its own rule: of each tracked object's refcount the references of
 * tracked objects are taken away; what has some left, and all that such objects lead to, lives. The rest is garbage,
 * in strongly connected components.
 *
 * What gc.collect() looks at are all generations, and not the permanent one (gc.freeze()). Immortals hold others as the
 * world outside does.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_CYCLES_H
#define SAFEPOINT_RUNTIME_HEAP_CYCLES_H

#include "runtime/heap/graph.h"

/* A reference that its holder doesn't tell the collector of. */
struct cycles_untold {
    uint32_t from, target;
};

/* By rising from. */
struct cycles_rule {
    const struct cycles_untold *untold;
    size_t untold_count;
};

struct cycles {
    /* What the collector would find. Component c has members[first[c]] to members[first[c + 1] - 1]; none refers to a
     * component of a higher number. Nodes by rising number in each. */
    uint32_t *members, *first;
    uint32_t member_count, component_count;
    /* What it doesn't track, and would go with them. */
    uint32_t *others;
    uint32_t other_count;
    uint64_t *garbage; /* a bit a node: a member */
};

/* The graph's nodes must tell those of the permanent generation from others. ERROR_SYSTEM. End it with cycles_deinit() in any case. */
struct error *cycles_find(struct cycles *cycles, const struct graph *graph, const struct cycles_rule *rule)
    __attribute__((warn_unused_result));
void cycles_deinit(struct cycles *cycles);

static inline bool cycles_is_garbage(const struct cycles *cycles, uint32_t node)
{
    return cycles->garbage[node / 64] >> node % 64 & 1;
}

#endif
