/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is known of pymalloc's structures (pymalloc.c): for the enumeration of objects, and for arenas.c. */
#ifndef SAFEPOINT_RUNTIME_HEAP_PYMALLOC_H
#define SAFEPOINT_RUNTIME_HEAP_PYMALLOC_H

#include "runtime/heap/internal.h"

#define PYMALLOC_HEADER       48u
#define PYMALLOC_ALIGNMENT    16u
#define PYMALLOC_CLASSES      32u
#define PYMALLOC_BLOCKS_MAX   ((16384 - PYMALLOC_HEADER) / PYMALLOC_ALIGNMENT)
#define PYMALLOC_POOL_MAX     16384u
#define PYMALLOC_ARENAS_MAX   (1u << 22)
#define PYMALLOC_ARENA_OBJECT 48u

struct pymalloc_header {
    uint32_t used;
    uint32_t unused;
    uint64_t freeblock;
    uint64_t next, previous;
    uint32_t arena;
    uint32_t size_class;
    uint32_t next_offset;
    uint32_t max_next_offset;
};

struct pymalloc_list {
    uint64_t objects; /* address of struct arena_object[count]; 0: not found */
    uint32_t count;
};

/* The lists of arenas: one of the process up to 3.11, later of each interpreter. */
struct pymalloc {
    struct heap *heap;
    struct pymalloc_list *lists;
    size_t list_count;
};

/* Fills in the lists (free() them); none where they aren't found. */
struct error *pymalloc_find_lists(struct pymalloc *work) __attribute__((warn_unused_result));

/* Is there a pool with blocks in use? */
bool pymalloc_is_pool(const struct pymalloc *work, uint64_t address, const struct pymalloc_header *header);

/* Marks the blocks in the pool's free list; their number, or UINT32_MAX where the list makes no sense. */
uint32_t pymalloc_mark_free(const unsigned char *pool, uint64_t address, const struct pymalloc_header *header,
                            bool *is_free);

#endif
