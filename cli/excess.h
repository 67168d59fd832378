/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Refcounts against the references that were found, by type: for leaks, diff and grow. */
#ifndef SAFEPOINT_CLI_EXCESS_H
#define SAFEPOINT_CLI_EXCESS_H

#include "cli/heap_graph.h"

struct excess_row {
    char *name; /* of the type; two of one name share a row */
    uint64_t count, bytes;
    uint64_t excess;  /* references in refcounts that were not found */
    uint64_t objects; /* that have such */
    uint64_t unheld;  /* of those: ones to which no reference at all was found */
    uint64_t example; /* address of one that has: the one that most is missing of */
    uint32_t example_excess;
};

/* An object with fewer references in its refcount than it has. */
struct excess_lack {
    char *name;
    uint64_t address;
    uint32_t node, refcount, found;
};

struct excess {
    struct excess_row *rows; /* by name */
    size_t count;
    struct excess_lack *lacks; /* by address */
    size_t lack_count;
    uint64_t objects, total; /* that have excess; all of it */
};

/* ERROR_SYSTEM, ERROR_BAD_FILE. End it with excess_deinit() in any case; it needs neither view nor graph then. */
struct error *excess_count(struct excess *excess, struct heap_view *view, const struct graph *graph)
    __attribute__((warn_unused_result));
void excess_deinit(struct excess *excess);

/* The row of a name, or NULL. */
const struct excess_row *excess_find(const struct excess *excess, const char *name);

#endif
