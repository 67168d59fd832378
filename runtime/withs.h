/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/: is a frame inside a `with` of an object? */
#ifndef SAFEPOINT_RUNTIME_WITHS_H
#define SAFEPOINT_RUNTIME_WITHS_H

#include "runtime/reader.h"

/* Does the frame, where it stands, keep the __exit__ of that object for later? Told by what the interpreter itself would
 * go by on an exception (block stack, exception table), so that what is left over in the frame doesn't count. */
bool frame_is_inside_with(struct object_reader *reader, const struct frame *frame, uint64_t object);

#endif
