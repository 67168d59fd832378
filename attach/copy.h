/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A copy of what a stopped target may write to, in memory of ours: where no copy-on-write child is to be
 * had. The pages that are copied are those of its private writable mappings that are in memory or swapped
 * out; all other memory (code, files, what is shared, what was never touched) is read from the target
 * itself whenever it is asked for.
 *
 * Memory that was never touched takes ten times as long to write to: ours is made ready before the
 * target is stopped.
 */
#ifndef SAFEPOINT_ATTACH_COPY_H
#define SAFEPOINT_ATTACH_COPY_H

#include "attach/maps.h"
#include "attach/process.h"

/* Pages that follow each other in the target, and where their copy is. */
struct copy_run {
    uint64_t start, size; /* bytes in the target */
    uint64_t offset;      /* of the copy, in `bytes` */
};

struct copy {
    struct memory memory;          /* of the target at copy_take(); don't move this struct */
    const struct process *process; /* not owned */
    unsigned char *bytes;
    size_t room;           /* of `bytes` */
    struct copy_run *runs; /* by rising address */
    size_t count, runs_room;
    struct maps maps;      /* of the instant of copy_take() */
};

/* Makes room for a copy of the process as it is now, and some more; nothing is stopped. ERROR_SYSTEM
 * where this machine hasn't got the memory, ERROR_UNSUPPORTED where the kernel doesn't tell what
 * pages there are. End it with copy_deinit(), also after an error. */
struct error *copy_prepare(struct copy *copy, const struct process *process) __attribute__((warn_unused_result));

/* Copies; all threads of the process are stopped and stay so. ERROR_BUSY when it has grown too much:
 * let it go, and begin again with copy_prepare(). */
struct error *copy_take(struct copy *copy) __attribute__((warn_unused_result));

/* Gives back what is whole pages of these bytes' copy: they won't be read again (and would be zeros). */
void copy_forget(struct copy *copy, struct address from, size_t size);

void copy_deinit(struct copy *copy);

#endif
