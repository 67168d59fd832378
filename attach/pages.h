/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process's memory, read in whole pages that are kept: what is read a second
 * time costs no call, and all that was ever read can be read anew by one call for
 * many pages, to see what has changed meanwhile.
 *
 *   memory.read --> page known? --yes--> our copy
 *                        |no
 *                        `--> process_vm_readv, a page --> our copy
 */
#ifndef SAFEPOINT_ATTACH_PAGES_H
#define SAFEPOINT_ATTACH_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "attach/process.h"

struct page;

struct pages {
    struct memory memory; /* reads through the kept pages, writes nothing; don't move this struct */
    const struct process *process; /* not owned */
    struct page *items;   /* an open hash table by number */
    size_t count, room;   /* room: a power of two */
    unsigned char **blocks; /* where the copies lie, in pieces that never move */
    size_t block_count;
    uint64_t calls;       /* to the kernel for memory, since pages_init() */
};

/* Nothing is read yet. The process must outlive it; its state doesn't matter. */
void pages_init(struct pages *pages, const struct process *process);
void pages_deinit(struct pages *pages);

/* Reads every kept page anew, many by a call, in the order of their addresses. One that can't be read any more
 * is forgotten: asking for it is then an error of its own. */
struct error *pages_refresh(struct pages *pages) __attribute__((warn_unused_result));

/* Forgets all pages: the next read of each is from the process. */
void pages_forget(struct pages *pages);

#endif
