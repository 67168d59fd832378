/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The chain of a thread's frames as it lies in memory, one link at a time. Nothing here retries: a thread that runs
 * can change it between two reads, and stack.h is what makes sure of an answer.
 */
#ifndef SAFEPOINT_RUNTIME_FRAMES_H
#define SAFEPOINT_RUNTIME_FRAMES_H

#include "runtime/runtime.h"

/* One link: a frame, and where in its code it is. */
struct frame {
    struct address at;       /* PyFrameObject (3.8-3.10) or interpreter frame */
    struct address code;     /* its code object; unchecked */
    struct address previous; /* who called it; ADDRESS_NULL: nobody */
    int64_t instruction;     /* byte offset in its code; negative: before the first */
    bool shim;               /* C's entry into the eval loop: no function of Python's, the code means nothing */
    bool entry;              /* the eval loop that runs it was called from C for it (never with shims) */
    struct address loop;     /* 3.12+, of an entry: lies on the C stack in the eval loop's own frame; else ADDRESS_NULL */
};

/* Where a thread's chain starts: its innermost frame, or ADDRESS_NULL where it runs nothing. `cframe` (may be
 * NULL) is of the eval loop that runs it: 3.11 and 3.12; else ADDRESS_NULL. */
struct error *frames_find_first(const struct runtime *runtime, struct address thread, struct address *at,
                                struct address *cframe) __attribute__((warn_unused_result));

/* 3.11 and 3.12: goes from an eval loop, out of its entry frame, to the one that called it. ERROR_BUSY unless that one
 * stands at `caller`: the entry was half made, or over. Elsewhere (`cframe` is ADDRESS_NULL) nothing. */
struct error *frames_leave_loop(const struct runtime *runtime, struct address *cframe, struct address caller)
    __attribute__((warn_unused_result));

/* Reads one frame. ERROR_FAULT or ERROR_BUSY where there is none any more. */
struct error *frames_read(const struct runtime *runtime, struct address at, struct frame *frame)
    __attribute__((warn_unused_result));

#endif
