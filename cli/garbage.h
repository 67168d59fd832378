/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cyclic garbage that waits for the collector, as leaks tells of it. */
#ifndef SAFEPOINT_CLI_GARBAGE_H
#define SAFEPOINT_CLI_GARBAGE_H

#include "cli/heap_graph.h"
#include "runtime/heap/cycles.h"

/* What the collector would find, by type. */
struct garbage_row {
    char *name;
    uint64_t objects, bytes;
    uint64_t finalizers; /* that have a __del__ */
    uint64_t callbacks;  /* whose weak references, not garbage themselves, have a callback */
    uint64_t example;    /* address of one */
};

/* Cycles that are made of the same: components with as many objects of each type. */
struct garbage_group {
    char *makeup; /* "Node x2, dict x2" */
    uint64_t components, objects, bytes, finalizers, callbacks;
    uint64_t example; /* address of an object of one */
};

struct garbage {
    struct garbage_row *rows; /* by name */
    size_t row_count;
    struct garbage_group *groups;
    size_t group_count;
    uint64_t objects, bytes;             /* what the collector would find */
    uint64_t other_objects, other_bytes; /* what would go with it: strings, numbers, what isn't tracked */
    uint64_t components, cyclic;         /* cycles, and objects that are in one */
    uint64_t finalizers, callbacks;
    bool callbacks_known; /* of a file they aren't */
};

/* Generations are asked for. ERROR_SYSTEM, ERROR_BAD_FILE. End it with garbage_deinit() in any case; it needs
 * neither view nor graph then. */
struct error *garbage_find(struct garbage *garbage, struct heap_view *view, const struct graph *graph)
    __attribute__((warn_unused_result));
void garbage_deinit(struct garbage *garbage);

#endif
