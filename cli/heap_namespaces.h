/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which dicts' keys are names (of a module, a class, an instance) and may be told: those of all others are people's data,
 * and go into no file unless that is asked for.
 */
#ifndef SAFEPOINT_CLI_HEAP_NAMESPACES_H
#define SAFEPOINT_CLI_HEAP_NAMESPACES_H

#include "runtime/heap/heap.h"

struct heap_namespaces {
    uint64_t *bits; /* one a node */
};

/* None of so many nodes, at first; then those that are marked. ERROR_SYSTEM. End it with heap_namespaces_deinit(). */
struct error *heap_namespaces_init(struct heap_namespaces *namespaces, uint32_t count) __attribute__((warn_unused_result));
void heap_namespaces_mark(struct heap_namespaces *namespaces, uint32_t node);

/* Does a field of this name (may be NULL) hold one? Is what roots of this kind hold one? */
bool heap_namespaces_by_field(const char *label);
bool heap_namespaces_by_root(enum heap_root_kind kind);

/* Looks through a heap for them. ERROR_INTERRUPTED by `progress` (may be NULL), ERROR_SYSTEM. End it with
 * heap_namespaces_deinit() in any case. */
struct error *heap_namespaces_find(struct heap_namespaces *namespaces, struct heap *heap,
                                   const struct heap_progress *progress) __attribute__((warn_unused_result));
void heap_namespaces_deinit(struct heap_namespaces *namespaces);

/* Is this node one? */
static inline bool heap_namespaces_has(const struct heap_namespaces *namespaces, uint32_t node)
{
    return namespaces->bits[node / 64] >> node % 64 & 1;
}

/* May the name of this reference of a node be told? Of any that isn't a dict's value it may. */
bool heap_namespaces_tell(const struct heap_namespaces *namespaces, struct heap *heap, uint32_t from,
                          const struct heap_edge *edge);

#endif
