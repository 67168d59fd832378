/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: the objects that a frame is inside a `with` of. */
#ifndef SAFEPOINT_RUNTIME_WITHS_H
#define SAFEPOINT_RUNTIME_WITHS_H

#include "runtime/reader.h"

#define WITHS_MAX 32

/* A walk through a stack, innermost frame first. Zero it at its begin. */
struct with_walk {
    uint64_t objects[WITHS_MAX]; /* of the last frame */
    size_t count;
    uint64_t released[WITHS_MAX]; /* locks that a Condition.wait() further in has let go meanwhile */
    size_t released_count;
};

/* Puts into walk->objects what the frame, where it stands, keeps the __exit__ (__aexit__) of, and of a condition its
 * lock too. Told by what the interpreter itself would go by on an exception (block stack, exception table), so that what
 * is left over in the frame doesn't count. */
void with_walk_frame(struct with_walk *walk, struct object_reader *reader, const struct frame *frame, bool awaits);

#endif
