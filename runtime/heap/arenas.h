/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What pymalloc has taken of memory and what of it is in use: its arenas, pools and size classes, counted as
 * sys._debugmallocstats() does. An arena goes back to the system when all of its pools are free, and so one block
 * that is in use keeps it: the arena is pinned.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_ARENAS_H
#define SAFEPOINT_RUNTIME_HEAP_ARENAS_H

#include "runtime/heap/heap.h"

#define HEAP_SIZE_CLASSES 32
#define HEAP_CLASS_STEP   16 /* bytes from one class's blocks to the next's */

struct heap_size_class {
    uint64_t block; /* bytes */
    uint64_t pools, used, free; /* pools that have blocks in use, and their blocks */
};

struct heap_arena {
    uint64_t address, size;
    uint32_t pools, free_pools; /* that it has room for; without a block in use */
    uint64_t used, used_bytes;  /* blocks in use */
};

/* A pool with blocks in use: a head, blocks, and a rest. */
struct heap_pool {
    uint64_t address, size;
    uint64_t first;          /* the first block's address */
    uint32_t block, blocks;  /* bytes of one; how many there is room for */
    uint32_t used, carved;   /* so many in use; so many were ever handed out, the others lie behind these */
    const bool *is_free;     /* of each that was */
    size_t arena;            /* its number in the list */
};

typedef void heap_pool_fn(void *context, const struct heap_pool *pool);

struct heap_arenas {
    struct heap_size_class classes[HEAP_SIZE_CLASSES];
    struct heap_arena *list; /* by rising address */
    size_t count;
    uint64_t torn; /* pools whose fields disagree: memory changed while it was copied */
    bool found;    /* false: there is no list of arenas, as where pymalloc isn't used */
};

/* Reads them. End it with heap_arenas_deinit(), also after an error. */
struct error *heap_arenas_read(struct heap_arenas *arenas, struct heap *heap) __attribute__((warn_unused_result));
void heap_arenas_deinit(struct heap_arenas *arenas);

/* Calls back for each pool that has blocks in use, by rising address. */
void heap_arenas_visit(const struct heap_arenas *arenas, struct heap *heap, heap_pool_fn *fn, void *context);

/* The number of the arena that an address lies in, or arenas->count. */
size_t heap_arenas_find(const struct heap_arenas *arenas, uint64_t address);

#endif
