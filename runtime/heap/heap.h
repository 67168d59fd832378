/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The heap of a CPython process, read from outside: every object (nodes) and
 * every reference (edges, each with its name).
 *
 * It is computation over a copy of memory (image.h). Where that comes from, a live
 * process, one that is stopped, a copy of it, a core or a file, makes no
 * difference; what changed while it was copied may be torn, and is then left
 * out rather than guessed. Nothing runs in the target.
 *
 * Nodes are numbered by rising address.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_HEAP_H
#define SAFEPOINT_RUNTIME_HEAP_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach/error.h"
#include "attach/memory.h"
#include "runtime/heap/image.h"
#include "runtime/runtime.h"

#define HEAP_NONE UINT32_MAX

struct heap; /* opaque */

/* Finds all objects in an image that has been read. `runtime` is that of the same
 * process; `memory` is asked for what the image lacks (names of types, which lie in
 * files' constants). All three must outlive the heap, and the image is its alone
 * meanwhile. ERROR_UNSUPPORTED, by name, when the structures don't check out. With `references` they are kept for
 * heap_take_references(): some 10 bytes an object. `progress` may be NULL. */
struct error *heap_create(struct heap **heap, const struct runtime *runtime, const struct memory *memory,
                          struct heap_image *image, bool references, const struct heap_progress *progress)
    __attribute__((warn_unused_result));
void heap_destroy(struct heap *heap); /* NULL is legal */

/* Is there a table for this version and build? NULL, or ERROR_UNSUPPORTED by name. Reads nothing. */
struct error *heap_check_supported(const struct runtime *runtime) __attribute__((warn_unused_result));

/* From now on asks this memory, of the same files, in place of the one that it was created with. */
void heap_use_memory(struct heap *heap, const struct memory *memory);

/* How it was found, and what couldn't be. */
struct heap_report {
    uint64_t objects;
    uint64_t bytes;         /* their shallow sizes together */
    uint64_t pools;         /* of pymalloc */
    uint64_t torn_pools;    /* whose counts disagreed: memory changed while it was copied */
    uint64_t tracked;       /* in the collector's lists */
    uint64_t broken_lists;  /* whose ends weren't found, or (heap_read_generations) that don't link both ways */
    uint64_t missing_bytes; /* of memory that was left out: the answer is partial where it isn't 0 */
    const char *allocator;  /* what most objects were found by: "pymalloc", or "malloc": lists and references alone */
    bool cut;               /* references made no end, as no sound heap's do: of each object only some were followed */
    bool collecting;        /* a collection was under way: generations are not what they seem */
};
const struct heap_report *heap_get_report(const struct heap *heap);

/* ------------------------------------------------------------- nodes */

#define HEAP_GENERATION_PERMANENT 3
#define HEAP_GENERATION_NONE      7 /* the collector doesn't track it, or its list was torn */

struct heap_node {
    uint64_t address;
    uint32_t type; /* number of its type: see heap_get_type() */
    uint64_t size; /* as sys.getsizeof() counts it */
    uint32_t refcount;
    bool immortal;
    bool tracked;       /* by the collector */
    uint8_t generation; /* 0 to 2, or one of the above */
};

/* How many nodes there are, and one of them. */
uint32_t heap_count(const struct heap *heap);
struct heap_node heap_get_node(const struct heap *heap, uint32_t number);

/* Of all nodes the type alone, by number: what many passes ask for. */
const uint32_t *heap_node_types(const struct heap *heap);
/* The same of sizes, into an array that has room for them. */
void heap_read_sizes(const struct heap *heap, uint64_t *sizes);

/* Fills in the nodes' generations: HEAP_GENERATION_NONE before. */
void heap_read_generations(struct heap *heap);
/* The same of the permanent one alone, which is empty in most processes; those of other generations have none still. */
void heap_read_permanent(struct heap *heap);

/* The number of the node at an address, or HEAP_NONE. */
uint32_t heap_find(const struct heap *heap, uint64_t address);

struct heap_type_info {
    uint64_t address;
    uint32_t node;      /* its own */
    const char *name;   /* "app.models.Order", "dict": qualified, without "builtins."; owned by the heap */
    const char *module; /* "app.models" */
};

/* Types are numbered from 0 on; those of the nodes and perhaps more. */
uint32_t heap_type_count(const struct heap *heap);
struct heap_type_info heap_get_type(struct heap *heap, uint32_t number);

/* ------------------------------------------------------------- edges */

enum heap_edge_kind {
    HEAP_EDGE_TYPE,      /* an instance's type */
    HEAP_EDGE_FIELD,     /* a field with a name: label */
    HEAP_EDGE_SLOT,      /* of __slots__: label */
    HEAP_EDGE_WORD,      /* a field without a name: number is its offset */
    HEAP_EDGE_INDEX,     /* of a list, tuple, deque: number */
    HEAP_EDGE_ELEMENT,   /* of a set */
    HEAP_EDGE_KEY,       /* a dict's key: number is its place */
    HEAP_EDGE_VALUE,     /* a dict's value: name is the key */
    HEAP_EDGE_ATTRIBUTE, /* of an instance that has no dict of its own: name is the key */
    HEAP_EDGE_LOCAL,     /* a frame's variable: name, a str */
    HEAP_EDGE_STACK,     /* a frame's value stack: number */
    HEAP_EDGE_STATE,     /* a module's C state: number is the offset */
};

struct heap_edge {
    enum heap_edge_kind kind;
    uint64_t target; /* address */
    uint64_t name;   /* address of the object that names it, or 0 */
    uint64_t number;
    const char *label; /* or NULL; owned by the heap */
    bool counted;      /* the target's refcount has it in */
};

typedef void heap_edge_fn(void *context, const struct heap_edge *edge);

/* Calls back for every reference that an object holds to another of the heap. */
void heap_visit_edges(struct heap *heap, uint32_t number, heap_edge_fn *fn, void *context);

/* The same without names: which node each leads to, in the same order. */
typedef void heap_target_fn(void *context, uint32_t target, bool counted);
void heap_visit_targets(struct heap *heap, uint32_t number, heap_target_fn *fn, void *context);

/* All of these as arrays: node n refers to targets[e] for e from first[n] to first[n + 1] - 1, in the same order, with HEAP_UNCOUNTED
 * where the target's refcount hasn't it in. `first` has room for all nodes and one; free() `targets`. They are taken from what the
 * heap kept, and can be once; `taken` false: it has none, and objects must be visited. ERROR_SYSTEM; ERROR_UNSUPPORTED of 2^32 or more. */
#define HEAP_UNCOUNTED (UINT32_C(1) << 31)
struct error *heap_take_references(struct heap *heap, uint32_t *first, uint32_t **targets, size_t *count, bool *taken)
    __attribute__((warn_unused_result));

/* The edge's name as text for people: ".attribute", "[3]", "['key']". Cut to size. */
void heap_format_edge(struct heap *heap, const struct heap_edge *edge, char *text, size_t size);

/* A str that names something, as text; false where the object is no str. Cut to size, what can't be printed is '?'. */
bool heap_read_name(struct heap *heap, uint64_t object, char *text, size_t size);

/* A key in a few characters: 'text', 17, or <type at 0x...>. */
void heap_format_key(struct heap *heap, uint64_t object, char *text, size_t size);

/* ------------------------------------------------------------ values */

enum heap_value_kind { HEAP_VALUE_NONE, HEAP_VALUE_STR, HEAP_VALUE_INT, HEAP_VALUE_FLOAT, HEAP_VALUE_BYTES };

/* What a string or number is: a str as UTF-8, an int in decimal (of more than 60 bits in hexadecimal), a float with all
 * its digits, bytes as they are. `size` is how many bytes of `text` it takes; `cut`: it has more. */
enum heap_value_kind heap_read_value(struct heap *heap, uint32_t number, char *text, size_t room, size_t *size, bool *cut);

/* ---------------------------------------------------- weak references */

/* Are the instances of a type weak references or proxies? */
bool heap_is_weakref_type(struct heap *heap, uint32_t number);

/* The object that such a node watches with a callback; HEAP_NONE where it has none, or the object is gone. */
uint32_t heap_read_watched(struct heap *heap, uint32_t number);

/* ------------------------------------------------------------- roots */

enum heap_root_kind {
    HEAP_ROOT_FRAME,       /* a variable or value of a running frame */
    HEAP_ROOT_MODULE,      /* sys.modules */
    HEAP_ROOT_BUILTINS,    /* builtins and sys */
    HEAP_ROOT_INTERPRETER, /* another field of an interpreter */
    HEAP_ROOT_THREAD,      /* a field of a thread state */
    HEAP_ROOT_INTERNED,    /* the table of interned strings */
    HEAP_ROOT_STATIC,      /* a variable of a library or of the program */
    HEAP_ROOT_OBJECT,      /* an object that is itself a variable of a library */
};

struct heap_root {
    enum heap_root_kind kind;
    uint64_t target;
    uint64_t holder;   /* address of the frame, thread state, variable... */
    uint64_t code;     /* a frame's code object, or 0 */
    uint64_t name;     /* a frame's variable: its name, a str, or 0 */
    const char *label; /* another part of a frame; or NULL */
    uint64_t number;   /* offset in the holder, or place in the frame; of a labelled part: its thread's, from 1 on */
    bool counted;      /* a frame's: the target's refcount has it in. Of all else it can't be told: false */
};

typedef void heap_root_fn(void *context, const struct heap_root *root);

/* Calls back for every reference into the heap from outside it. An object may be named more than once. Threads come newest first,
 * their frames innermost first, and of each a labelled part first. */
void heap_visit_roots(struct heap *heap, heap_root_fn *fn, void *context);

/* The line at which a frame was, by its address (a root's holder) and the node of its code; 0 where it can't be told. */
int heap_read_frame_line(struct heap *heap, uint64_t frame, uint32_t code);

#endif
