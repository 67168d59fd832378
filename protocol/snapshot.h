/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A snapshot file: a heap as data (facts about the target, types, nodes, edges with their names, roots, values), in a
 * container. Written one record after the other, in the order of the sections; read by callbacks, in the same order. What a
 * reader doesn't know is skipped. The format is described in docs/snapshot.md.
 */
#ifndef SAFEPOINT_PROTOCOL_SNAPSHOT_H
#define SAFEPOINT_PROTOCOL_SNAPSHOT_H

#include "protocol/container.h"

#define SNAPSHOT_NONE UINT32_MAX
#define SNAPSHOT_TEXT_MAX ((size_t)1 << 16)
/* Names that a section keeps for later records, at most: what a reader has in memory. */
#define SNAPSHOT_NAMES_MAX ((uint32_t)1 << 20)
#define SNAPSHOT_NAMES_BYTES ((uint64_t)64 << 20)

/* Kinds of section; the numbers are the file's. */
enum snapshot_section {
    SNAPSHOT_FACTS = 1,
    SNAPSHOT_TYPES = 2,
    SNAPSHOT_NODES = 3,
    SNAPSHOT_EDGES = 4,
    SNAPSHOT_ROOTS = 5,
    SNAPSHOT_VALUES = 6,
};

/* Types are numbered from 0 on in their order, nodes by rising address. */
struct snapshot_type {
    uint64_t address;
    const char *name, *module;
};

struct snapshot_node {
    uint64_t address, size;
    uint32_t type, refcount;
    bool immortal, tracked;
    uint8_t generation; /* 0 to 7 */
};

/* Of edges; the numbers are the file's. */
enum snapshot_edge_kind {
    SNAPSHOT_EDGE_TYPE, SNAPSHOT_EDGE_FIELD, SNAPSHOT_EDGE_SLOT, SNAPSHOT_EDGE_WORD, SNAPSHOT_EDGE_INDEX,
    SNAPSHOT_EDGE_ELEMENT, SNAPSHOT_EDGE_KEY, SNAPSHOT_EDGE_VALUE, SNAPSHOT_EDGE_ATTRIBUTE, SNAPSHOT_EDGE_LOCAL,
    SNAPSHOT_EDGE_STACK, SNAPSHOT_EDGE_STATE, SNAPSHOT_EDGE_KINDS
};

/* Of roots, the same. */
enum snapshot_root_kind {
    SNAPSHOT_ROOT_FRAME, SNAPSHOT_ROOT_MODULE, SNAPSHOT_ROOT_BUILTINS, SNAPSHOT_ROOT_INTERPRETER, SNAPSHOT_ROOT_THREAD,
    SNAPSHOT_ROOT_INTERNED, SNAPSHOT_ROOT_STATIC, SNAPSHOT_ROOT_OBJECT, SNAPSHOT_ROOT_KINDS
};

struct snapshot_edge {
    uint32_t from, target; /* nodes */
    uint8_t kind;
    bool counted;     /* the target's refcount has it in */
    uint64_t number;  /* index, offset, place; of a VALUE the key's node + 1, 0: none */
    const char *name; /* or NULL */
};

struct snapshot_root {
    uint8_t kind;
    uint32_t target, code; /* nodes; code of a frame, or SNAPSHOT_NONE */
    uint64_t holder, number;
    const char *name; /* or NULL */
    bool counted;     /* a frame's: the target's refcount has it in */
};

enum snapshot_value_kind { SNAPSHOT_STR = 1, SNAPSHOT_INT = 2, SNAPSHOT_FLOAT = 3, SNAPSHOT_BYTES = 4 };

struct snapshot_value {
    uint32_t node;
    uint8_t kind;
    bool cut; /* it is longer */
    const char *text;
    size_t size;
};

/* ----------------------------------------------------------------- writing */

struct snapshot_writer {
    struct container_writer container;
    uint32_t from; /* whose edges, or value, come next */
    uint64_t address;
    struct snapshot_names {
        uint64_t *ids; /* open addressing; 0: free */
        uint32_t *numbers;
        uint32_t count, room;
        uint64_t bytes;
    } names; /* that this section has so far */
};

/* As container_writer_init() and _deinit(). */
void snapshot_writer_init(struct snapshot_writer *writer, FILE *file);
void snapshot_writer_deinit(struct snapshot_writer *writer);

/* Sections are begun in the order of their numbers; those of nodes and types with how many records will come. */
void snapshot_begin(struct snapshot_writer *writer, enum snapshot_section section, uint64_t count);

/* Records, into the section that has been begun. Edges come by rising `from`, values by rising node. A name that has an id (not 0)
 * is written once: later records with that id may leave the text away when snapshot_knows_name(). */
void snapshot_put_fact(struct snapshot_writer *writer, const char *key, const char *value);
void snapshot_put_type(struct snapshot_writer *writer, const struct snapshot_type *type);
void snapshot_put_node(struct snapshot_writer *writer, const struct snapshot_node *node);
void snapshot_put_edge(struct snapshot_writer *writer, const struct snapshot_edge *edge, uint64_t name_id);
void snapshot_put_root(struct snapshot_writer *writer, const struct snapshot_root *root);
void snapshot_put_value(struct snapshot_writer *writer, const struct snapshot_value *value);
/* Has this section a name of that id already? */
bool snapshot_knows_name(const struct snapshot_writer *writer, uint64_t name_id);

/* As container_finish(). */
struct error *snapshot_finish(struct snapshot_writer *writer) __attribute__((warn_unused_result));

/* ----------------------------------------------------------------- reading */

/* Called back for each record; an error ends the reading and is its error. fact, edge, root and value may be NULL: then the
 * blocks of their sections are checked, and not what is in them. Texts are the reader's, and end with the call. A count
 * comes before its records, and is no promise. */
struct snapshot_events {
    void *context;
    struct error *(*fact)(void *context, const char *key, const char *value);
    struct error *(*types)(void *context, uint32_t count);
    struct error *(*type)(void *context, const struct snapshot_type *type);
    struct error *(*nodes)(void *context, uint32_t count);
    struct error *(*node)(void *context, const struct snapshot_node *node);
    struct error *(*edge)(void *context, const struct snapshot_edge *edge);
    struct error *(*root)(void *context, const struct snapshot_root *root);
    struct error *(*value)(void *context, const struct snapshot_value *value);
};

/* What a reading leaves for another one. */
struct snapshot_known {
    uint32_t types, nodes; /* how many */
    uint64_t digest;       /* of all that was read */
};

/* Reads a whole file. What is called back is sound: numbers of nodes and types are of ones that there are, addresses
 * rise. ERROR_BAD_FILE for all else; ERROR_SYSTEM. `known` may be NULL. */
struct error *snapshot_read(FILE *file, const struct snapshot_events *events, struct snapshot_known *known)
    __attribute__((warn_unused_result));

/* Reads a file once more that was read without an error: types and nodes are passed over. ERROR_BAD_FILE, at the end at the latest,
 * where it has changed since; what is called back is sound as to the nodes there were even then. */
struct error *snapshot_read_again(FILE *file, const struct snapshot_events *events, const struct snapshot_known *known)
    __attribute__((warn_unused_result));

#endif
