/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: the objects that a frame is inside a `with` of. */
#ifndef SAFEPOINT_RUNTIME_WITHS_H
#define SAFEPOINT_RUNTIME_WITHS_H

#include "runtime/reader.h"

#define WITHS_MAX 32

/* The objects whose __exit__ (__aexit__) the frame, where it stands, keeps for later: outermost first; how many. Told by
 * what the interpreter itself would go by on an exception (block stack, exception table), so that what is left over in
 * the frame doesn't count. */
size_t frame_find_withs(struct object_reader *reader, const struct frame *frame, uint64_t objects[WITHS_MAX]);

#endif
