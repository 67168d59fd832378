/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The collector of each interpreter, as it says of itself; read from memory, of a process that runs. */
#ifndef SAFEPOINT_RUNTIME_GC_H
#define SAFEPOINT_RUNTIME_GC_H

#include "runtime/runtime.h"

#define GC_GENERATIONS 3

struct gc_generation {
    int64_t threshold, count; /* as gc.get_threshold() and gc.get_count() */
    int64_t collections, collected, uncollectable; /* as gc.get_stats() */
    int64_t candidates;       /* looked at in all collections; -1: this version doesn't keep it */
    double seconds;           /* that they took; negative: this version doesn't keep it */
};

struct gc_state {
    int64_t interpreter;
    bool enabled, collecting;
    uint32_t debug;          /* gc.get_debug() */
    int64_t frozen;          /* gc.get_freeze_count(); -1: the list changed while it was counted */
    bool frozen_more;        /* there are more than `frozen`: counting was given up */
    int64_t garbage;         /* len(gc.garbage); -1: it isn't there */
    int64_t long_lived;      /* objects that survived the last full collection */
    int64_t long_lived_pending; /* and those since, that survived the younger ones */
    struct gc_generation generations[GC_GENERATIONS];
};

/* Reads them: one for each interpreter, the main one last; in 3.8 all share one. free() them. ERROR_UNSUPPORTED, by
 * name, for a free-threaded build, and where the lists aren't where they should be. */
struct error *gc_read(const struct runtime *runtime, struct gc_state **states, size_t *count)
    __attribute__((warn_unused_result));

/* An object that the collector of an interpreter tracks, and its type; both as they stood there, unchecked. */
typedef void gc_visit_fn(void *context, struct address object, struct address type);

/*
 * Visits all of them, the younger ones first; one may come more than once. At most so many; `whole`: there were no more, and no
 * list changed so often under the walk that something of it was missed. Of 3.8's one collector all of every interpreter.
 * ERROR_UNSUPPORTED as above.
 */
struct error *gc_visit(const struct runtime *runtime, const struct interpreter *interpreter, uint64_t most,
                       gc_visit_fn *visit, void *context, bool *whole) __attribute__((warn_unused_result));

#endif
