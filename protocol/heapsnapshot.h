/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A .heapsnapshot file, as Chrome's DevTools and memlab read it (docs/export.md). Written from its beginning to its end: how
 * many nodes and edges it has; all nodes; all edges, those of one node after those of the one before; the strings.
 *
 * Node 0 is the root. Nodes that aren't objects come first. All numbers in it have 32 bits; of an address this makes:
 *
 *    31              17 16                0
 *   | slot of 1 MiB    | in it, by 8 bytes |     slot: the address >> 20, modulo 2^15; or the next one that is free
 */
#ifndef SAFEPOINT_PROTOCOL_HEAPSNAPSHOT_H
#define SAFEPOINT_PROTOCOL_HEAPSNAPSHOT_H

#include "protocol/strings.h"

#define HEAPSNAPSHOT_SLOTS 32768u
/* Ids below this are of no object. */
#define HEAPSNAPSHOT_OWN_IDS (UINT32_C(1) << 21)

/* The numbers are those of the file's node_types and edge_types. */
enum heapsnapshot_node_type {
    HEAPSNAPSHOT_HIDDEN, HEAPSNAPSHOT_ARRAY, HEAPSNAPSHOT_STRING, HEAPSNAPSHOT_OBJECT, HEAPSNAPSHOT_CODE,
    HEAPSNAPSHOT_CLOSURE, HEAPSNAPSHOT_REGEXP, HEAPSNAPSHOT_NUMBER, HEAPSNAPSHOT_NATIVE, HEAPSNAPSHOT_SYNTHETIC
};
enum heapsnapshot_edge_type {
    HEAPSNAPSHOT_CONTEXT, HEAPSNAPSHOT_ELEMENT, HEAPSNAPSHOT_PROPERTY, HEAPSNAPSHOT_INTERNAL, HEAPSNAPSHOT_EDGE_HIDDEN,
    HEAPSNAPSHOT_SHORTCUT, HEAPSNAPSHOT_WEAK
};

struct heapsnapshot_node {
    enum heapsnapshot_node_type type;
    uint32_t name; /* a string */
    uint32_t id, edges;
    uint64_t size; /* what doesn't fit in 32 bits is cut */
};

struct heapsnapshot_edge {
    enum heapsnapshot_edge_type type;
    uint32_t name; /* a string; of an element its index */
    uint32_t target;
};

struct heapsnapshot {
    FILE *file; /* not owned; its errors are the caller's to look at */
    struct strings strings;
    uint32_t nodes, edges, nodes_left, edges_left;
    uint64_t chunk; /* of the last address */
    uint32_t slot;
    uint8_t slots[HEAPSNAPSHOT_SLOTS / 8]; /* a bit for each that is taken */
};

/* Begins the file. `strings` is an empty file for the strings to wait in. End it with heapsnapshot_deinit(); the files are the
 * caller's. */
void heapsnapshot_init(struct heapsnapshot *snapshot, FILE *file, FILE *strings, uint32_t nodes, uint32_t edges);
void heapsnapshot_deinit(struct heapsnapshot *snapshot);

/* The id of the object at an address; addresses rise. ERROR_UNSUPPORTED when objects are in more than 32 GiB. */
struct error *heapsnapshot_id(struct heapsnapshot *snapshot, uint64_t address, uint32_t *id)
    __attribute__((warn_unused_result));

/* The next node; the next edge, after all nodes. */
void heapsnapshot_put_node(struct heapsnapshot *snapshot, const struct heapsnapshot_node *node);
void heapsnapshot_put_edge(struct heapsnapshot *snapshot, const struct heapsnapshot_edge *edge);

/* Ends the file. ERROR_BUG when there were more or fewer than it said at its beginning; ERROR_SYSTEM. */
struct error *heapsnapshot_finish(struct heapsnapshot *snapshot) __attribute__((warn_unused_result));

#endif
