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

/* Looks through a heap for them. ERROR_INTERRUPTED by `progress` (may be NULL), ERROR_SYSTEM. End it with
 * heap_namespaces_deinit() in any case. */
struct error *heap_namespaces_find(struct heap_namespaces *namespaces, struct heap *heap,
                                   const struct heap_progress *progress) __attribute__((warn_unused_result));
void heap_namespaces_deinit(struct heap_namespaces *namespaces);

/* May the name of this reference of a node be told? Of any that isn't a dict's value it may. */
bool heap_namespaces_tell(const struct heap_namespaces *namespaces, struct heap *heap, uint32_t from,
                          const struct heap_edge *edge);

#endif
