/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Refcounts against the references that were found: what nobody accounts for, and what is found beyond the refcount.
 *
 * References of objects and of frames are sure. A word of a variable or of a state outside the heap that is an object's
 * address may be a reference or be borrowed: it may explain what a refcount has in, and accuses nobody.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_REFERENCES_H
#define SAFEPOINT_RUNTIME_HEAP_REFERENCES_H

#include "runtime/heap/graph.h"

struct references {
    uint32_t *sure;     /* by node */
    uint32_t *possible; /* the same, of those that may be borrowed */
};

/* Counts them in a finished graph. The table of interned strings is none of their holders: its two references
 * to each are in no refcount. ERROR_SYSTEM. End it with references_deinit() in any case. */
struct error *references_count(struct references *references, const struct graph *graph)
    __attribute__((warn_unused_result));
void references_deinit(struct references *references);

/* Of one node; both 0 of an immortal one. At most one isn't 0. */
struct references_balance {
    uint32_t excess; /* in the refcount, and not found */
    uint32_t lack;   /* surely there, and not in the refcount: when the last holder lets go, others hold dead memory */
};
struct references_balance references_balance(const struct references *references, uint32_t number,
                                             const struct heap_node *node);

#endif
