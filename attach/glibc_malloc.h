/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The heap of glibc's malloc (2.26 to 2.43 and those built like them, 64 bits), read from outside.
 *
 *   main_arena --next--> arena --next--> arena --next--> main_arena
 *       |                  |
 *   [heap], by brk()     heap <--prev-- heap         64 MiB of address space each, from mmap()
 *
 *   segment   |chunk|chunk|chunk|  ...  |top chunk|
 *   chunk     |(the one before's last 8 bytes)|size, flags|data ...|
 *
 * The arenas have no symbol in a stripped library: main_arena is the one place in its variables where 127 rings of free
 * chunks all close (an empty one points at itself), and where the ring of arenas closes. How large each structure is
 * follows from where its parts are, so that there is no table of versions.
 *
 * A segment is walked by its chunks' sizes. Is one free? Its neighbour's flag says so; but one in a thread's cache or a
 * fastbin has the flag of one in use, and is known by those lists. A cache (tcache) is itself a chunk, known by its size
 * and by all that it points to.
 *
 * The memory is a target's and may be anything: what doesn't add up is marked as not sound, and the work is bounded by
 * the size of the segments.
 */
#ifndef SAFEPOINT_ATTACH_GLIBC_MALLOC_H
#define SAFEPOINT_ATTACH_GLIBC_MALLOC_H

#include "attach/maps.h"
#include "attach/memory.h"

enum glibc_state {
    GLIBC_USED,   /* the program's */
    GLIBC_TCACHE, /* free, in a thread's cache */
    GLIBC_FAST,   /* free, in a fastbin */
    GLIBC_FREE,   /* free, in another bin */
    GLIBC_TOP,    /* the free end of an arena */
    GLIBC_STATES
};

struct glibc_chunk {
    uint64_t address, size; /* with its head of 16 bytes, which is 8 of its own */
    enum glibc_state state;
    size_t arena;
};

struct glibc_arena {
    uint64_t address;
    uint64_t top;
    uint64_t system_bytes; /* as it says; the sum of its segments */
    uint64_t threads;      /* that use it now */
    uint64_t count[GLIBC_STATES], bytes[GLIBC_STATES];
    bool sound; /* all of its segments could be walked, and its lists agree with that */
};

/* What an arena cuts into chunks. */
struct glibc_segment {
    uint64_t start, end, first; /* the first chunk's address */
    uint64_t walked;            /* where its chunks end; less than end in one that isn't sound */
    size_t arena;
    uint64_t *starts, *cached, *fast; /* a bit for 16 bytes each */
};

struct glibc_malloc {
    struct glibc_arena *arenas; /* the first is the main one */
    size_t arena_count;
    struct glibc_segment *segments; /* by rising address */
    size_t segment_count;
    size_t tcaches; /* that aren't empty */
    bool counted;   /* its own counts of blocks with a mapping each were found: */
    uint64_t mapped_count, mapped_bytes;

    const struct memory *memory; /* not owned */
    uint64_t bins, top, fast; /* offsets in an arena; fast 0: it has none */
    bool mangled;             /* links of lists are (2.32 and later) */
    uint64_t steps_left;      /* along lists: a bound on work, which the memory must not decide */
};

/* Finds the arenas and walks them. `memory` (of an instant, or what changed meanwhile isn't sound) must outlive it.
 * ERROR_UNSUPPORTED when there is no main arena, also where malloc() was never called. End it with
 * glibc_malloc_deinit(), also after an error. */
struct error *glibc_malloc_read(struct glibc_malloc *heap, const struct memory *memory, const struct maps *maps)
    __attribute__((warn_unused_result));
void glibc_malloc_deinit(struct glibc_malloc *heap);

typedef void glibc_chunk_fn(void *context, const struct glibc_chunk *chunk);

/* Calls back for each chunk of the segments, by rising address. */
void glibc_malloc_visit(struct glibc_malloc *heap, glibc_chunk_fn *fn, void *context);

/* Is there a block with a mapping of its own at this page? Its size in whole pages, else 0. At most `room` bytes. */
uint64_t glibc_malloc_mapped_size(const struct glibc_malloc *heap, uint64_t page, uint64_t room);

#endif
