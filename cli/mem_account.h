/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where a process's memory goes: each byte of its RSS belongs to one part, so that the parts' sum is the RSS.
 *
 *   mapping   |      arena of pymalloc      |segment of malloc|block|   nobody's   |stack|
 *   page      |in memory|not|in memory|            ...
 *
 * A mapping is cut at what lies in it; what is nobody's is what the mapping is: a file's, shared, anonymous. Of each
 * piece the resident bytes count (attach/residency.h). In a piece of an allocator they are told apart further, by block.
 */
#ifndef SAFEPOINT_CLI_MEM_ACCOUNT_H
#define SAFEPOINT_CLI_MEM_ACCOUNT_H

#include "attach/glibc_malloc.h"
#include "attach/residency.h"
#include "cli/heap_view.h"
#include "runtime/heap/arenas.h"

enum mem_part {
    MEM_PYMALLOC_LIVE,
    MEM_PYMALLOC_BLOCKS, /* free, in pools that have others in use */
    MEM_PYMALLOC_POOLS,  /* free, in arenas that have others in use */
    MEM_PYMALLOC_HEADS,  /* of pools, and what no block fits in */
    MEM_MALLOC_LIVE,
    MEM_MALLOC_MAPPED,
    MEM_MALLOC_FREE,
    MEM_MALLOC_UNREAD, /* what makes no sense, or was changing */
    MEM_ANONYMOUS,
    MEM_STACKS,
    MEM_INTERPRETER,
    MEM_LIBRARIES,
    MEM_FILES,
    MEM_SHARED,
    MEM_OTHER,
    MEM_PARTS
};

/* How a part is called: in JSON, and for people. */
const char *mem_part_key(enum mem_part part);
const char *mem_part_name(enum mem_part part);

struct mem_malloc_arena {
    uint64_t resident, resident_free;
};

struct mem_stack {
    pid_t tid;
    bool main;
    uint64_t pointer, thread; /* the stack pointer, pthread_self(); 0: not known */
    uint64_t start, end, resident;
};

/* A type whose objects lie in arenas that are nearly empty. */
struct mem_pin {
    const char *type; /* owned by the view's heap */
    uint64_t objects, bytes;
    uint64_t arenas, alone; /* in so many of these arenas; in so many of them there are no other objects */
};

struct mem_account {
    struct residency residency; /* of the instant */
    uint64_t resident[MEM_PARTS];

    struct heap_arenas arenas;
    uint64_t sparse_arenas, sparse_resident, sparse_used; /* arenas of which less than a tenth is in use */
    struct mem_pin *pins;                                 /* most arenas first */
    size_t pin_count;

    struct glibc_malloc glibc;
    struct error *no_glibc;           /* why malloc's heap wasn't read */
    struct mem_malloc_arena *per_arena; /* of glibc.arenas */
    uint64_t malloc_free[GLIBC_STATES]; /* resident, by where it is kept */
    uint64_t trimmable;               /* what malloc_trim(0) would give back, about */
    uint64_t mapped_blocks;
    const char *allocator;            /* "glibc", "musl", or of a library that takes malloc's place: "jemalloc" */
    char allocator_path[256];

    struct mem_stack *stacks;
    size_t stack_count;
    uint64_t stack_size; /* of a thread, usually */
    struct memory memory; /* of the view's image */
};

/* To be called while the view is frozen: what is resident, and the threads' stacks. */
struct error *mem_account_freeze(struct mem_account *account, const struct heap_view *view)
    __attribute__((warn_unused_result));

/* Fills in the rest, when the view is open. */
struct error *mem_account_read(struct mem_account *account, struct heap_view *view) __attribute__((warn_unused_result));
void mem_account_deinit(struct mem_account *account);

#endif
